"""What each component is worth: the shipped settings with one thing changed, on several sets of questions.

    python -m ragapp.eval.ablation SET=LIBRARY… [--out FILE.md] [--most N] [--llm MODEL] [--folder DIR]

SET is a question file (or a BEIR folder), LIBRARY the folder of a library that holds its documents. For every component
the change of success@1, success@5 and mrr@10 against the shipped settings is printed, with its 95 % interval over the
same questions and a verdict: better, worse, or noise. They count passages, or documents where the gold of a set names
no more than those. "gold text" is the share of the questions whose gold quote (or the words an answer must contain)
stands whole in a passage that an answer is given: what joining neighbours is for. The library's own settings file plays
no part.

Rows are kept in a file beside FILE.md as they are made, so that a run that was stopped goes on; indexes are made once,
in ``--folder``, and shared. Nothing is written to the libraries.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from ragapp.config import load as settings_in_force
from ragapp.errors import ConfigError, RagappError
from ragapp.eval import dataset as sets
from ragapp.eval.dataset import Question
from ragapp.eval.stats import Difference, holm, paired
from ragapp.eval.trials import Trials, returned
from ragapp.eval.tuned import cell
from ragapp.eval.variants import Variants
from ragapp.finder import find
from ragapp.rag import Rag
from ragapp.steps import gather
from ragapp.types import Query

METRICS = ("success@1", "success@5", "mrr@10")
GOLD_TEXT = "gold text"
MOST = 300  # questions of a set, drawn by chance
SEED = 0
ALL = "all sets"

Settings = Mapping[str, object]
Scores = Mapping[str, Mapping[str, float]]  # metric, question


@dataclass(frozen=True, slots=True)
class Component:
    """One line of the ablation: what it is called, what is set, and what is measured."""

    name: str
    settings: Settings
    metrics: tuple[str, ...] = METRICS


SHIPPED = Component("shipped", {"chunker.name": "tokens"}, (*METRICS, GOLD_TEXT))
COMPONENTS = (
    *(Component(f"chunker: {name}", {"chunker.name": name}) for name in ("sentences", "headings", "semantic")),
    Component("chunker: parent-child", {"chunker.name": "parent-child"}, (*METRICS, GOLD_TEXT)),
    Component("no header line", {"chunker.header": False}),
    Component("dense only", {"search.dense_weight": 1.0, "search.dense_weight_cjk": 1.0}),
    Component("lexical only", {"search.dense_weight": 0.0, "search.dense_weight_cjk": 0.0}),
    Component("fusion: rrf", {"search.fusion": "rrf"}),
    Component("reranker: keep", {"reranker.name": "keep"}),
    Component("no routing", {"search.route_weight": 0.0}),
    Component("no neighbours", {"answer.context_tokens": 0}, (GOLD_TEXT,)),
)
HYDE = Component("HyDE", {"search.hyde": "on"})


@dataclass(frozen=True, slots=True)
class Row:
    """What one component gave on one set: scores by metric and question. ``key`` tells what it was made of."""

    key: str
    set: str
    component: str
    scores: Scores


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: a component on a set, or on all of them, against the shipped settings."""

    component: str
    set: str
    differences: Mapping[str, Difference]


class Rows:
    """The rows made so far, in a file, a line each; a torn last line is made again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows = {row.key: row for row in _read(path)}

    def keep(self, row: Row) -> None:
        """Add a row to the file, at once. Raises ConfigError where it cannot be written."""
        self.rows[row.key] = row
        line = json.dumps({"key": row.key, "set": row.set, "component": row.component, "scores": row.scores})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")
                file.write(f"{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error.strerror or error}.") from error


def _read(path: Path) -> Iterator[Row]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield Row(**json.loads(line))
        except (ValueError, TypeError):
            continue  # torn: made again


def ablate(
    source: Path,
    library: Path,
    rows: Rows,
    folder: Path,
    *,
    llm: str = "",
    most: int = MOST,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """The rows of one set, those that are kept already as they are. Raises what opening and searching raises."""
    given = sets.load(source)
    config = settings_in_force({"chat.model": llm} if llm else {}, Path(os.devnull), {})
    with Rag.open(library, config=config, create=False, any_embedder=True) as rag:
        asked = sets.placed(given, [entry.document for entry in rag.documents()])
        questions = sampled(asked.questions, most)
        generation = rag.catalog.generation()
        about = [asked.name, asked.fingerprint, generation.stamp, most, llm, _version(), *METRICS]
        found: list[Row] = []
        with Variants(rag, folder) as variants:
            metrics = [f"{level_of(questions)}.{metric}" for metric in METRICS]
            trials = Trials(variants, questions, seed=SEED, metrics=metrics)
            for component in (SHIPPED, *COMPONENTS, *([HYDE] if llm else [])):
                settings = {**SHIPPED.settings, **component.settings}
                key = json.dumps([*about, component.name, settings], ensure_ascii=False)
                if key not in rows.rows:
                    progress(f"{asked.name}: {component.name}")
                    scores = measured(component, settings, trials, variants, questions)
                    rows.keep(Row(key, asked.name, component.name, scores))
                found.append(rows.rows[key])
            trials.close()
    return found


def sampled(questions: Sequence[Question], most: int) -> list[Question]:
    """At most so many questions, drawn by chance, in their order; those that cannot be answered are left out."""
    answerable = [question for question in questions if question.answerable]
    if len(answerable) <= most:
        return answerable
    kept = set(random.Random(SEED).sample([question.id for question in answerable], most))
    return [question for question in answerable if question.id in kept]


def level_of(questions: Sequence[Question]) -> Literal["passages", "documents"]:
    """What the gold of a set can tell apart: passages, by a page or a quote, or documents only."""
    return (
        "passages" if any(gold.pages or gold.quote for question in questions for gold in question.gold) else "documents"
    )


def measured(
    component: Component, settings: Settings, trials: Trials, variants: Variants, questions: Sequence[Question]
) -> Scores:
    """The metrics of a component, for every question that they apply to."""
    names = [question.id for question in questions]
    wanted = [metric for metric in component.metrics if metric != GOLD_TEXT]
    found = {metric: trials.scores(settings, names, f"{level_of(questions)}.{metric}") for metric in wanted}
    if GOLD_TEXT in component.metrics:
        found[GOLD_TEXT] = gold_text(variants, settings, questions)
    return found


def gold_text(variants: Variants, settings: Settings, questions: Sequence[Question]) -> dict[str, float]:
    """Whether the gold words of a question stand whole in one of the passages that an answer is given, by id.

    Questions that have neither a gold quote nor words that an answer must contain are left out.
    """
    found: dict[str, float] = {}
    variant = variants.open(settings)
    try:
        tools = variant.tools
        for question in questions:
            quotes = [gold.quote for gold in question.gold if gold.quote.strip()]
            wanted = quotes or question.must_contain
            if not wanted:
                continue
            query = Query(question.text, question.history, question.where)
            passages = returned(gather(tools, query, variant.search(query, tools.depth)))
            texts = [passage.chunk.text for passage in passages]
            held = [any(find([text], words, 1).total for text in texts) for words in wanted]
            found[question.id] = float(all(held) if question.match == "all" and not quotes else any(held))
    finally:
        variant.close()
    return found


# -- the table -------------------------------------------------------------------------------------------------------


def lines_of(rows: Sequence[Row]) -> list[Line]:
    """Every component against the shipped settings, on each set and on all questions of all sets."""
    by_place = {(row.component, row.set): row for row in rows}
    names = list(dict.fromkeys(row.component for row in rows if row.component != SHIPPED.name))
    places = list(dict.fromkeys(row.set for row in rows))
    found: list[Line] = []
    for component in names:
        pairs = [
            (place, by_place[SHIPPED.name, place].scores, by_place[component, place].scores)
            for place in places
            if (component, place) in by_place and (SHIPPED.name, place) in by_place
        ]
        found += [Line(component, place, _differences(before, after)) for place, before, after in pairs]
        if len(pairs) > 1:
            before, after = ({place: pair[side] for place, *pair in pairs} for side in (0, 1))
            found.append(Line(component, ALL, _differences(_joined(before), _joined(after))))
    return found


def _joined(scores: Mapping[str, Scores]) -> Scores:
    """The scores of several sets as those of one."""
    found: dict[str, dict[str, float]] = {}
    for place, held in scores.items():
        for metric, values in held.items():
            found.setdefault(metric, {}).update({f"{place}\n{name}": value for name, value in values.items()})
    return found


def _differences(before: Scores, after: Scores) -> dict[str, Difference]:
    metrics = [metric for metric in (*METRICS, GOLD_TEXT) if before.get(metric) and after.get(metric)]
    return {metric: paired(before[metric], after[metric], metric=metric, seed=SEED) for metric in metrics}


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, with the shipped settings' own means first."""
    shown = (*METRICS, GOLD_TEXT)
    heads = ("component", "set", "questions", *shown)
    body: list[tuple[str, ...]] = []
    for row in rows:
        if row.component == SHIPPED.name:
            count = max((len(values) for values in row.scores.values()), default=0)
            body.append((f"{SHIPPED.name} (means)", row.set, str(count), *(_mean(row, metric) for metric in shown)))
    lines = lines_of(rows)
    kept = _surviving(lines)
    for line in lines:
        count = max((each.n for each in line.differences.values()), default=0)
        cells = (_change(line, metric, kept) for metric in shown)
        body.append((line.component, line.set, str(count), *cells))
    table = [heads, ("---",) * len(heads), *body]
    said = "\n".join(f"| {' | '.join(cell(each) for each in row)} |" for row in table)
    return (
        f"{said}\n\nChanges against the shipped settings, with their 95 % intervals over the same questions (paired "
        "bootstrap); noise is a change whose interval holds 0, or that turning the signs of the questions' changes at "
        f"random gives too often (p of .05 and more). The lines of {ALL} count every question once, so large sets "
        f"weigh more. Of {len(kept)} comparisons about "
        f"{0.05 * len(kept):.0f} would be called a change by chance; those marked * stay one after Holm's correction.\n"
    )


def _surviving(lines: Sequence[Line]) -> dict[tuple[str, str, str], bool]:
    """Whether each comparison of the table is a change when all of them are looked at, by line and metric."""
    places = [(line.component, line.set, metric) for line in lines for metric in line.differences]
    given = [line.differences[metric] for line in lines for metric in line.differences]
    return {
        place: each.verdict != "noise" and (each.adjusted or 0.0) < 0.05
        for place, each in zip(places, holm(given), strict=True)
    }


def _mean(row: Row, metric: str) -> str:
    values = row.scores.get(metric)
    return f"{sum(values.values()) / len(values):.3f}" if values else "–"


def _change(line: Line, metric: str, kept: Mapping[tuple[str, str, str], bool]) -> str:
    each = line.differences.get(metric)
    if each is None:
        return "–"
    mark = " *" if kept[line.component, line.set, metric] else ""
    return f"{each.difference:+.3f} ({each.low:+.3f} to {each.high:+.3f}) {each.verdict}{mark}"


def _version() -> str:
    try:
        return version("ragapp")
    except PackageNotFoundError:
        return ""


# -- the command -----------------------------------------------------------------------------------------------------


def pair_of(text: str) -> tuple[Path, Path]:
    """A set and its library. Raises ConfigError for what is no pair."""
    source, _, library = text.partition("=")
    if not source or not library:
        raise ConfigError(f"{text!r} is no SET=LIBRARY.", "For example: questions.jsonl=.ragapp")
    return Path(source).expanduser(), Path(library).expanduser()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="ragapp.eval.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="SET=LIBRARY")
    parser.add_argument("--out", type=Path, default=Path("ablation.md"), help="the table (default: ablation.md)")
    parser.add_argument("--most", type=int, default=MOST, help=f"questions of a set at most (default: {MOST})")
    parser.add_argument("--llm", default="", help="a Llama, as in [chat] model: then HyDE is measured too")
    parser.add_argument("--folder", type=Path, help="where indexes are made and kept (default: beside the table)")
    given = parser.parse_args(arguments)
    begun = time.monotonic()

    def tell(what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - begun:7.0f} s  {what}\n")
        sys.stderr.flush()

    try:
        rows = Rows(given.out.with_suffix(".rows.jsonl"))
        folder = given.folder or given.out.with_suffix(".indexes")
        made: list[Row] = []
        for source, library in map(pair_of, given.sets):
            made += ablate(source, library, rows, folder, llm=given.llm, most=given.most, progress=tell)
        table = as_markdown(made)
        given.out.write_text(table, encoding="utf-8")
    except RagappError as error:
        sys.stderr.write(f"{error.message} {error.hint}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"{given.out} cannot be written: {error.strerror or error}.\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. What was measured is kept; the same command goes on from there.\n")
        return 130
    sys.stdout.write(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
