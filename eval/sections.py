"""The sections of a report in the order in which they are read, each with its tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from ragapp.config import AnswerTable
from ragapp.eval import plots
from ragapp.eval.captions import LEVELS, MEASURES, RANKED, Language, measure_label, say, step_label
from ragapp.eval.differences import compared
from ragapp.eval.exhibits import SPEEDS, Exhibit, Section, joined, of_means, percent, seconds, spread
from ragapp.eval.findings import METRICS, NOT_STAGES, Report
from ragapp.eval.measures import Mean, Refusals, Risk
from ragapp.eval.plots import Axis, Line, Mark, Style, Words

GROUPS = (*LEVELS, "answer", "citation", "refusal", "latency")
ORDER = tuple(RANKED)
KNOWN = tuple(MEASURES)
CITATIONS = ("verbatim",)
CURVE = 11  # points of a curve that its table has
NOT_TAGS = 24  # values of a tag above which it is no kind of question but a name
SCALES = ((0.1, (0, 0.05, 0.1)), (0.2, (0, 0.1, 0.2)), (0.4, (0, 0.2, 0.4)), (0.6, (0, 0.3, 0.6)), (1.0, (0, 0.5, 1.0)))


def sections(report: Report, language: Language) -> tuple[Section, ...]:
    """All sections that have something to show, in the order in which they are read."""
    made: Sequence[Callable[[Report, Language], Section]] = (compared, _measured, _recall, _refusing, _timed, _tagged)
    return tuple(section for make in made if (section := make(report, language)).exhibits)


def _measured(report: Report, language: Language) -> Section:
    """A table for each group of measures, one row a measure, its interval drawn."""
    means = report.run.summary.means
    before: Mapping[str, Mean] = report.other.summary.means if report.other else {}
    exhibits = []
    for group in (*GROUPS, "rest"):
        names = sorted((name for name in means if group_of(name) == group), key=_place_in_group)
        if names:
            exhibits.append(_group(language, group, {name: means[name] for name in names}, before))
    text = [say(language, "measures.text")]
    if report.other:
        text.append(say(language, "measures.other", other=report.other.manifest.name))
    return Section("measures", say(language, "measures"), joined(language, text), tuple(exhibits))


def group_of(name: str) -> str:
    """The table that a measure stands in."""
    if name in CITATIONS or name in SPEEDS:
        return "citation" if name in CITATIONS else "latency"
    return next((group for group in GROUPS if name.startswith(f"{group}.")), "rest")


def _place_in_group(name: str) -> tuple[int, int]:
    """Where a measure stands in its table: by what it measures, then by its cut-off; unknown ones come last."""
    measure, _, k = name.partition(".")[2].partition("@")
    if name.startswith(LEVELS):
        return (ORDER.index(measure), int(k or 0)) if measure in ORDER else (len(ORDER), 0)
    return (KNOWN.index(name), 0) if name in KNOWN else (len(KNOWN), 0)


def _group(language: Language, group: str, means: Mapping[str, Mean], before: Mapping[str, Mean]) -> Exhibit:
    labels = {name: measure_label(language, name) for name in means}
    title = say(language, f"group.{group}")
    return of_means(language, means, before, id=f"measures-{group}", title=title, labels=labels)


def _recall(report: Report, language: Language) -> Section:
    """Recall by depth, a picture a level."""
    exhibits = []
    for level in LEVELS:
        curve = report.run.summary.recall_at.get(level, {})
        if len(curve) > 1:
            before = report.other.summary.recall_at.get(level, {}) if report.other else {}
            exhibits.append(_recall_of(language, level, curve, before))
    return Section("recall", say(language, "recall"), say(language, "recall.text"), tuple(exhibits))


def _recall_of(language: Language, level: str, curve: Mapping[int, float], before: Mapping[int, float]) -> Exhibit:
    ks = sorted(curve)
    values = ", ".join(f"{k}: {percent(curve[k])}%" for k in ks)
    words = Words(f"recall-{level}", say(language, f"group.{level}"), say(language, "recall.alt", values=values))
    drawn = [_by_depth(curve, "main")]
    if before:
        earlier = _by_depth(before, "other")
        # Twice the same figure at the end of two lines that meet says no more than once.
        drawn.insert(0, replace(earlier, label="") if earlier.label == drawn[0].label else earlier)
    across = Axis(float(ks[0]), float(ks[-1]), tuple((float(k), str(k)) for k in ks), say(language, "recall.x"), True)
    head = ("k", say(language, "this"), *([say(language, "before")] if before else []))
    rows = tuple((str(k), percent(curve[k]), *([_maybe(before.get(k))] if before else [])) for k in ks)
    return Exhibit(
        f"recall-{level}",
        say(language, f"group.{level}"),
        head,
        rows,
        plot=plots.lines(words, drawn, across, plots.fractions()),
    )


def _by_depth(curve: Mapping[int, float], style: Style) -> Line:
    points = tuple((float(k), curve[k]) for k in sorted(curve))
    return Line(points, f"{percent(points[-1][1], 0)}%", style)


def _maybe(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _refusing(report: Report, language: Language) -> Section:
    """Refusals in numbers, the risk of answering, and how sure the judge was."""
    refusals, risk = report.run.summary.refusals, report.run.summary.risk
    text, exhibits = "", []
    if refusals and refusals.unanswerable:
        text = say(
            language, "refusal.text", answerable=refusals.answerable, unanswerable=refusals.unanswerable,
            right=refusals.right, false=refusals.false,
        )  # fmt: skip
        exhibits.append(_refused(refusals, language))
    if risk and len(risk.points) > 1 and report.run.confidences.unanswerable:
        exhibits.append(_risk(report, language, risk))
    if report.run.confidences.count > 1:
        exhibits.append(_sureness(report, language))
    return Section("refusal", say(language, "refusal"), text, tuple(exhibits))


def _refused(refusals: Refusals, language: Language) -> Exhibit:
    """Who was refused: what can be answered and what cannot, against what happened."""
    note = say(language, "refused.none")
    if refusals.precision is not None and refusals.recall is not None:
        precision, recall = (f"{percent(x, 0)}%" for x in (refusals.precision, refusals.recall))
        note = say(language, "refused.note", precision=precision, recall=recall)
    kinds = (
        ("with", refusals.answerable, refusals.false), ("without", refusals.unanswerable, refusals.right)
    )  # fmt: skip
    return Exhibit(
        "refused", say(language, "refused"), ("", say(language, "answered.head"), say(language, "refused.head")),
        tuple((say(language, key), str(n - refused), str(refused)) for key, n, refused in kinds), note,
    )  # fmt: skip


def _risk(report: Report, language: Language, risk: Risk) -> Exhibit:
    side, before = report.run.confidences, report.other and report.other.summary.risk
    few = spread(risk.points, CURVE)
    values = ", ".join(f"{percent(p.coverage, 0)}%: {percent(p.risk)}%" for p in few)
    words = Words(
        "risk-plot", say(language, "risk"),
        say(language, "risk.alt", values=values, coverage=f"{percent(side.coverage)}%", risk=f"{percent(side.risk)}%"),
    )  # fmt: skip
    drawn = [*([_by_coverage(before, "other")] if before else []), _by_coverage(risk, "main")]
    top = max(risk for line in drawn for _, risk in line.points)
    high, steps = next((pair for pair in SCALES if pair[0] >= top), SCALES[-1])
    up = plots.fractions(say(language, "risk.y"), high=high, steps=steps)
    plot = plots.lines(
        words, drawn, plots.fractions(say(language, "risk.x")), up,
        Mark((side.coverage, side.risk), say(language, "risk.mark")),
    )  # fmt: skip
    return Exhibit(
        "risk", say(language, "risk"), tuple(say(language, key) for key in ("threshold", "coverage", "risk.head")),
        tuple((f"{p.threshold:.2f}", percent(p.coverage), percent(p.risk)) for p in few),
        f"{say(language, 'risk.note')} AURC {risk.aurc:.3f}.", plot,
    )  # fmt: skip


def _by_coverage(risk: Risk, style: Style) -> Line:
    return Line(tuple(sorted((p.coverage, p.risk) for p in risk.points)), "", style, has_dots=False)


def _sureness(report: Report, language: Language) -> Exhibit:
    """How sure the judge was, for each kind of question."""
    kinds = report.run.confidences.answerable, report.run.confidences.unanswerable
    counts = [plots.binned(held) for held in kinds]
    told = [", ".join(f"{n / 10:.1f}: {count}" for n, count in enumerate(held) if count) or "0" for held in counts]
    title = say(language, "confidence")
    words = Words("confidence-plot", title, say(language, "confidence.alt", above=told[0], below=told[1]))
    labels = say(language, "confidence.above", n=len(kinds[0])), say(language, "confidence.below", n=len(kinds[1]))
    across = Axis(0.0, 1.0, ((0.0, "0"), (0.5, "0.5"), (1.0, "1")), say(language, "confidence.x"))
    brier = f" Brier {report.run.summary.risk.brier:.3f}." if report.run.summary.risk else ""
    return Exhibit(
        "confidence",
        title,
        tuple(say(language, key) for key in ("confidence.x", "with", "without")),
        tuple(
            (f"{n / 10:.1f}–{(n + 1) / 10:.1f}", str(a), str(b)) for n, (a, b) in enumerate(zip(*counts, strict=True))
        ),
        say(language, "confidence.note") + brier,
        plots.mirrored(words, kinds, labels, across, cut=_threshold(report, language)),
    )


def _threshold(report: Report, language: Language) -> Mark | None:
    """Where answers begin, as the run was set; None where everything was answered."""
    held = report.run.manifest.settings.get("answer.threshold", AnswerTable().threshold)
    at = float(held) if isinstance(held, int | float) else 0.0
    return Mark((at, 0.0), say(language, "confidence.cut", value=f"{at:g}")) if at else None


def _timed(report: Report, language: Language) -> Section:
    """The stages one after the other, then what is measured over all of them."""
    latency = report.run.summary.latency
    stages = [name for name in report.run.stages if name in latency]
    alone = [name for name in NOT_STAGES if name in latency]
    starts = dict(zip(stages, accumulate((latency[name].p50 for name in stages), initial=0.0), strict=False))
    end = max((starts.get(name, 0.0) + latency[name].p95 for name in (*stages, *alone)), default=0.0)
    rows, marks = [], []
    for name in (*stages, *alone):
        p = latency[name]
        label = say(language, f"stage.{name}") if name in alone else step_label(language, name)
        rows.append((label, seconds(language, p.p50), seconds(language, p.p95), f"{p.n:,}"))
        marks.append(plots.stage(starts.get(name, 0.0), p.p50, p.p95, end))
    head = tuple(say(language, key) for key in ("stage", "p50", "p95", "n"))
    sides = (*["stage"] * len(stages), *["sum"] * len(alone))
    exhibits = (Exhibit("stages", "", head, tuple(rows), marks=tuple(marks), sides=sides),) if rows else ()
    return Section("time", say(language, "time"), say(language, "time.text"), exhibits, "wide")


def _tagged(report: Report, language: Language) -> Section:
    """One measure by each tag's values: the first of those that stand for a run and are known by tag."""
    by_tag = report.run.summary.by_tag
    known = {name for values in by_tag.values() for means in values.values() for name in means}
    metric = next((name for name in METRICS if name in known), "")
    exhibits = []
    before = report.other.summary.by_tag if report.other else {}
    for place, (tag, values) in enumerate(by_tag.items()):
        held = _with(metric, values)
        if 1 < len(held) <= NOT_TAGS:
            labels = {value: value for value in held}
            earlier = _with(metric, before.get(tag, {}))
            exhibits.append(
                of_means(language, held, earlier, id=f"tag-{place}", title=tag, labels=labels, metric=metric)
            )
    label = measure_label(language, metric, is_long=True)
    return Section("tags", say(language, "tags"), say(language, "tags.text", metric=label), tuple(exhibits))


def _with(metric: str, values: Mapping[str, Mapping[str, Mean]]) -> dict[str, Mean]:
    return {value: means[metric] for value, means in values.items() if metric in means}
