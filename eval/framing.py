"""What stands around the sections of a report: its title, the figures told first, its doubts, how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragapp.eval.captions import LEVELS, Language, measure_label, measure_meaning, reason, say
from ragapp.eval.differences import verdict
from ragapp.eval.exhibits import Exhibit, digits_of, joined, span_of, written
from ragapp.eval.findings import Report, Side

LEADING = 4  # measures that are told first: of each of these kinds the first that the run has
TOLD: Sequence[Sequence[str]] = (
    ("pages.success@5", "passages.success@5", "documents.success@5"),
    ("answer.contains", "answer.holds", "answer.f1"),
    ("citation.page_precision", "citation.precision"),
    ("refusal.right",),
    ("pages.success@1", "passages.success@1", "documents.success@1"),
    ("pages.mrr@10", "passages.mrr@10", "documents.mrr@10"),
    ("pages.ndcg@10", "passages.ndcg@10", "documents.ndcg@10"),
)
FACTS = (
    "name", "set", "kind", "flow", "k", "seed", "workers", "library", "documents", "chunker", "embedder", "model",
    "version", "machine", "started", "ended", "fingerprint",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure that is told first: its value in large, and what is to be known of it."""

    label: str
    value: str
    detail: str
    change: str
    mark: str


def title(report: Report, language: Language) -> str:
    """The finding, in a sentence: of the run, or of what has changed."""
    if report.comparison:
        return verdict(report.comparison, report.headline, language)
    means = report.run.summary.means
    name = next((name for name in TOLD[0] if name in means), "")
    if name:
        mean, k = means[name], name.rpartition("@")[2]
        thing = say(language, f"thing.{name.partition('.')[0]}")
        return say(language, "title.success", thing=thing, k=k, right=round(mean.value * mean.n), n=mean.n)
    if not report.metric:
        return say(language, "title.empty")
    label = measure_label(language, report.metric, is_long=True)
    return say(
        language, "title.metric", metric=label, value=written(language, report.metric, means[report.metric].value)
    )


def standing(report: Report, language: Language) -> str:
    """The sentences below the title: which questions, to which library, compared with what."""
    side = report.run
    n = side.manifest.questions
    said = [say(language, "stand", n=n, set=side.manifest.set, library=side.manifest.library)]
    if side.done < n:
        said.append(say(language, "stand.partial", done=side.done, n=n))
    if side.summary.errors:
        said.append(say(language, "stand.errors", n=len(side.summary.errors)))
    if report.other:
        said.append(say(language, "stand.other", other=report.other.manifest.name))
    said.append(say(language, "stand.interval"))
    return joined(language, said)


def figures(report: Report, language: Language) -> tuple[Figure, ...]:
    """The measures that are told first, a figure each."""
    means = report.run.summary.means
    names = [next((name for name in kind if name in means), "") for kind in TOLD]
    return tuple(_figure(report, language, name) for name in [name for name in names if name][:LEADING])


def _figure(report: Report, language: Language, name: str) -> Figure:
    mean = report.run.summary.means[name]
    before = report.other.summary.means.get(name) if report.other else None
    difference = (
        next((d for d in report.comparison.differences if d.metric == name), None) if report.comparison else None
    )
    # What is compared may differ by less than a point.
    digits = 1 if before else digits_of(mean.n)
    low, high = (written(language, name, x, digits_of(mean.n)) for x in (mean.low, mean.high))
    change = say(language, "was", value=written(language, name, before.value, digits)) if before else ""
    if difference:
        change += f" · {say(language, difference.verdict)}"
    return Figure(
        _figure_label(language, name), written(language, name, mean.value, digits),
        f"{say(language, 'interval', low=low, high=high)}, n = {mean.n:,}", change, span_of(name, mean, before),
    )  # fmt: skip


def _figure_label(language: Language, name: str) -> str:
    level, _, measure = name.partition(".")
    if not measure.startswith("success@"):
        return measure_label(language, name, is_long=True)
    return say(language, "figure.success", thing=say(language, f"thing.{level}"), k=measure.rpartition("@")[2])


def warnings(report: Report, language: Language) -> tuple[str, ...]:
    """All that makes the figures less sure than they look: of the set, the runs, the judge, and what does not apply."""
    side = report.run
    said = list(dict.fromkeys([*report.dataset.warnings, *side.manifest.warnings]))
    left = side.manifest.questions - side.done
    if left > 0:
        said.append(say(language, "warnings.partial", left=left))
    judged = side.summary.disagreements
    if judged and (judged.only_judge or judged.only_measure):
        said.append(say(language, "warnings.judge", n=len(judged.only_judge) + len(judged.only_measure)))
    said += [f"{question}: {sentence}" for question, sentence in side.summary.errors.items()]
    return tuple(said)


def left_out(report: Report, language: Language) -> Exhibit:
    """For how many questions measures do not apply, and why. Those of found pages and the like count as one."""
    names: dict[tuple[str, int], dict[str, None]] = {}
    for name, reasons in report.run.summary.not_applicable.items():
        level = name.partition(".")[0]
        told = say(language, f"group.{level}") if level in LEVELS else measure_label(language, name)
        for why, count in reasons.items():
            names.setdefault((why, count), {})[told] = None
    rows = tuple(
        (reason(language, why), f"{count:,}", say(language, "comma").join(told)) for (why, count), told in names.items()
    )
    head = tuple(say(language, key) for key in ("why", "questions", "measures"))
    return Exhibit("left-out", say(language, "warnings.na.head"), head, rows, roles=("", "num", ""))


def meanings(report: Report, language: Language) -> dict[str, str]:
    """What each measure of the report means, by what it is called; cut-offs are left out."""
    return {
        measure_label(language, name).partition("@")[0]: meaning
        for name in report.run.summary.means
        if (meaning := measure_meaning(language, name))
    }


def made(report: Report, language: Language) -> Exhibit:
    """How the runs were made, a column each."""
    sides = [report.run, *([report.other] if report.other else [])]
    rows = [(say(language, f"fact.{name}"), *(_fact(side, name, language) for side in sides)) for name in FACTS]
    keys = sorted({key for side in sides for key in side.manifest.settings})
    rows += [(key, *(_setting(side, key, language) for side in sides)) for key in keys]
    head = ("", say(language, "this"), *([say(language, "before")] if report.other else []))
    return Exhibit("made", "", head, tuple(rows))


def _setting(side: Side, key: str, language: Language) -> str:
    settings = side.manifest.settings
    return str(settings[key]) if key in settings else say(language, "default")


def _fact(side: Side, name: str, language: Language) -> str:
    value = getattr(side.manifest, name)
    if name == "kind":
        return say(language, f"kind.{value}")
    if name == "model" and not value:
        return say(language, "model.none")
    return f"{value:,}" if isinstance(value, int) and name != "seed" else str(value) or "–"
