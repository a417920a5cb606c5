"""What the commands that measure print: progress, tables of measures, one question with all that was found for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ragapp import console

if TYPE_CHECKING:
    from ragapp.eval.compare import Comparison
    from ragapp.eval.dataset import Gold, Question
    from ragapp.eval.measures import Disagreements, Summary
    from ragapp.eval.records import Manifest, Record, RunFolder
    from ragapp.eval.stats import Difference

LINE_SECONDS = 5.0  # between two lines of progress where there is no terminal
HITS = 10  # shown of one question
CHANGED = 10  # questions shown of a comparison
TEXT = 200  # characters of a passage
NOT_STEPS = ("total", "first_token")  # of the latencies: they are no parts of the others

Tell = Callable[[str, int, int, str], None]
"""``tell(what, done, total, note)``: what is done of how much, and what there is to say about it."""


# -- progress ----------------------------------------------------------------------------------------------------------


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Tell]:
    """Progress on standard error: a bar with the time left on a terminal, a line every few seconds elsewhere."""
    from rich.console import Console

    screen = Console(file=sys.stderr)
    if quiet:
        yield lambda what, done, total, note: None
    elif not screen.is_terminal:
        yield _lines()
    else:
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[note]}"),
        )
        clock = _Clock()
        with Progress(*columns, console=screen, transient=True) as bar:
            task = bar.add_task("", total=None, left="", note="")

            def tell(what: str, done: int, total: int, note: str) -> None:
                left = clock.left(done, total)
                bar.update(task, total=total, completed=done, description=escape(what), left=left, note=escape(note))

            yield tell


def _lines() -> Tell:
    clock, last = _Clock(), time.monotonic()

    def tell(what: str, done: int, total: int, note: str) -> None:
        nonlocal last
        left = clock.left(done, total)
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            console.talk(", ".join(part for part in (f"{done:,} of {total:,} {what}", left, note) if part))

    return tell


class _Clock:
    """The time left, from what was done since it began: what an earlier run has done took no time of this one."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: int | None = None

    def left(self, done: int, total: int) -> str:
        if self._first is None:
            self._first = done - 1
        new = done - self._first
        if new < 1 or done >= total:
            return ""
        seconds = (time.monotonic() - self._began) / new * (total - done)
        return f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


# -- a run -------------------------------------------------------------------------------------------------------------


def run_end(run: RunFolder, summary: Summary) -> None:
    """The end of a run: its headline measures with their intervals, its times, what there is to be told."""
    from ragapp.eval.measures import HEADLINE
    from ragapp.eval.values import counted

    others = [name for name in summary.means if name.startswith("ragas.")]
    means = [(name, summary.means[name]) for name in (*HEADLINE, *others) if name in summary.means]
    shown = [(name, mean) for name, mean in means if not name.startswith("latency.")]
    rows = [(name, f"{m.value:.3f}", f"{m.low:.3f} to {m.high:.3f}", m.n) for name, m in shown]
    if rows:
        console.table(("measure", "mean", "95 % interval", "questions"), rows)
    elif not summary.errors:
        console.talk("No measure applies to these questions: they have no gold places and no answers.")
    if summary.refusals is not None:
        said = summary.refusals
        console.out(
            f"Refused: {said.right:,} of {counted(said.unanswerable, 'question')} without an answer, "
            f"{said.false:,} of {said.answerable:,} with one."
        )
    if summary.disagreements is not None:
        judged(summary.disagreements)
    latencies(summary)
    notes(run, summary)


def judged(found: Disagreements) -> None:
    """What a model judge said beside the measure that tells whether an answer is right."""
    from ragapp.eval.values import counted

    told = f"{found.judge} judged {counted(found.judged, 'answer')}, {found.unsure:,} of them without a verdict."
    console.out(f"{told} With {found.measure} it agrees on {found.agreed:,}.")
    for ids, what in ((found.only_judge, "only the judge"), (found.only_measure, "only the measure")):
        if ids:
            console.out(f"Right for {what}: {_listed(ids)}.")


def latencies(summary: Summary) -> None:
    """Milliseconds by step, those of the whole last."""
    steps = sorted(summary.latency.items(), key=lambda item: item[0] in NOT_STEPS)
    rows = [(name, _ms(p.p50), _ms(p.p95), _ms(p.mean), p.n) for name, p in steps]
    if rows:
        console.table(("step", "p50 ms", "p95 ms", "mean ms", "questions"), rows)


def notes(run: RunFolder, summary: Summary) -> None:
    """Warnings, and questions that failed or have no measure, with their counts."""
    from ragapp.eval.values import counted

    for warning in run.manifest.warnings:
        console.talk(f"warning: {warning}")
    if summary.errors:
        key, error = next(iter(summary.errors.items()))
        console.talk(f"warning: {counted(len(summary.errors), 'question')} failed, the first of them {key}: {error}")
    for reason, (metrics, count) in reasons(summary.not_applicable).items():
        console.talk(f"note: {counted(count, 'question')} not in {_listed(metrics)}: {reason}.")


def reasons(not_applicable: Mapping[str, Mapping[str, int]]) -> dict[str, tuple[list[str], int]]:
    """For each reason the headline measures that do not apply for it, and to how many questions at the most."""
    from ragapp.eval.measures import HEADLINE

    found: dict[str, tuple[list[str], int]] = {}
    for metric in HEADLINE:
        for reason, count in not_applicable.get(metric, {}).items():
            metrics, most = found.get(reason, ([], 0))
            found[reason] = [*metrics, metric], max(count, most)
    return found


def _listed(names: Sequence[str]) -> str:
    """At most three names, and how many more there are."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def run_rows(runs: Sequence[tuple[Manifest, int | None]]) -> list[tuple[str, str, str, str, str, str]]:
    """Lines of ``ragapp eval list``: manifests with how many questions are done, None where nobody can tell."""
    return [
        (m.name, m.set, m.kind if not m.flow else f"{m.kind} ({m.flow})", _progress(m, done),
         m.started[:16].replace("T", " "), ", ".join(f"{key}={value}" for key, value in m.settings.items()))
        for m, done in runs
    ]  # fmt: skip


def _progress(manifest: Manifest, done: int | None) -> str:
    return f"damaged, of {manifest.questions:,}" if done is None else f"{done:,} of {manifest.questions:,}"


# -- two runs ----------------------------------------------------------------------------------------------------------


def comparison(found: Comparison) -> None:
    """What differs between two runs, and whether that is more than noise."""
    from ragapp.eval.values import counted

    for note in found.notes:
        console.talk(f"note: {note}")
    console.out(f"A: {found.a}\nB: {found.b}")
    rows = [
        (d.metric, d.n, _value(d.metric, d.mean_a), _value(d.metric, d.mean_b), _signed(d.metric, d.difference),
         f"{_signed(d.metric, d.low)} to {_signed(d.metric, d.high)}", f"{d.p:.3f}", _verdict(d))
        for d in found.differences
    ]  # fmt: skip
    if rows:
        console.table(("measure", "questions", "A", "B", "B - A", "95 % interval", "p", "B is"), rows)
    else:
        console.out("No measure applies to both.")
    if not found.changed:
        console.out("No question changed.")
        return
    console.out(f"{len(found.changed):,} of {counted(found.questions, 'question')} changed; most of all:")
    changed = [
        (c.id, c.metric, _or_none(c.before), _or_none(c.after), _short(c.text, 80)) for c in found.changed[:CHANGED]
    ]
    console.table(("question", "measure", "A", "B", "text"), changed)


def _verdict(difference: Difference) -> str:
    """The verdict; one that so many comparisons give by chance is marked."""
    by_chance = difference.verdict != "noise" and (difference.adjusted or 0.0) >= 0.05
    return f"{difference.verdict}, or chance among so many" if by_chance else difference.verdict


def _value(metric: str, value: float) -> str:
    return f"{value * 1000:.0f} ms" if metric.startswith("latency.") else f"{value:.3f}"


def _signed(metric: str, value: float) -> str:
    return f"{value * 1000:+.0f} ms" if metric.startswith("latency.") else f"{value:+.3f}"


def _or_none(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


# -- one question ------------------------------------------------------------------------------------------------------


def question(asked: Question, record: Record, scores: Mapping[str, float]) -> None:
    """A question, what is known of its answer, and what was found and said."""
    from ragapp.eval.measures import HEADLINE
    from ragapp.eval.retrieval import is_right

    console.out(f"{asked.id}: {asked.text}")
    for turn in asked.history:
        console.out(f"   {turn.role}: {_short(turn.text)}")
    if not asked.answerable:
        console.out("The documents do not answer it.")
    for gold in asked.gold:
        console.out(f"gold: {_gold(gold)}")
    for text in asked.answers:
        console.out(f"right answer: {_short(text)}")
    if record.error:
        console.out(f"\nIt failed: {record.error}")
        return
    if record.answer is not None:
        _answer(record)
    console.out(f"\nFound ({len(record.hits):,}, * holds gold):")
    for rank, hit in enumerate(record.hits[:HITS], 1):
        by = ", ".join(f"{name} {place.rank}" for name, place in hit.found_by.items())
        console.out(f"{rank:3}.{'*' if is_right(asked.gold, hit) else ' '} {hit.document}, page {hit.page}  ({by})")
        console.out(f"      {_short(hit.text)}")
    times = ", ".join(f"{name} {_ms(seconds)} ms" for name, seconds in record.timings.items())
    console.out(f"\ntimes: {times}")
    rows = [(name, _value(name, scores[name])) for name in HEADLINE if name in scores]
    if rows:
        console.table(("measure", "value"), rows)


def _answer(record: Record) -> None:
    sure = "" if record.confidence is None else f", confidence {record.confidence:.2f}"
    console.out(f"\nanswer ({record.finish_reason}{sure}):\n{record.answer}")
    for cite in record.citations:
        mark = {True: "the gold quote", False: "not the gold quote", None: "no quote to compare with"}[cite.gold]
        console.out(f"[{cite.marker}] {cite.document}, page {cite.page} ({cite.state}; {mark})")


def _gold(gold: Gold) -> str:
    pages = f", page {console.pages(gold.pages)}" if gold.pages else ""
    quote = f": “{_short(gold.quote)}”" if gold.quote else ""
    return f"{gold.document}{pages}{quote}"


def _short(text: str, limit: int = TEXT) -> str:
    from ragapp.text import collapse

    line = collapse(text)
    return line if len(line) <= limit else line[:limit].rsplit(" ", 1)[0] + " …"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}" if seconds >= 0.01 else f"{seconds * 1000:.1f}"
