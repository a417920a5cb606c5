"""Two runs side by side, as exhibits: which measures moved, by how much, and for which questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ragapp.eval import plots
from ragapp.eval.captions import Language, measure_label, say
from ragapp.eval.compare import Changed, Comparison
from ragapp.eval.exhibits import Exhibit, Section, cell, is_share, joined, points, shortened, written
from ragapp.eval.findings import Report, Side
from ragapp.eval.measures import higher_is_better
from ragapp.eval.plots import Words
from ragapp.eval.stats import Difference, surviving

CHANGED = 12  # questions that are listed as changed
ASKED = 160  # characters of their texts
DIFFERING = ("", "num only-wide", "num only-wide", "num", "num reach only-wide", "verdict")


def verdict(comparison: Comparison, headline: Sequence[str], language: Language) -> str:
    """How many of the leading measures are better and worse; those that did not move at all are noise too."""
    leading = Counter(d.verdict for d in comparison.differences if d.metric in headline)
    better, worse = leading["better"], leading["worse"]
    key = "title.changed" if better or worse else "title.noise"
    noise = leading.total() - better - worse
    return say(language, key, a=comparison.a, b=comparison.b, better=better, worse=worse, noise=noise)


def compared(report: Report, language: Language) -> Section:
    exhibits: list[Exhibit] = []
    if report.comparison and report.other:
        exhibits += _differences(report.comparison, report.headline, language)
        if report.pairs:
            exhibits.append(_pairs(report, language, report.other))
        if report.comparison.changed:
            exhibits.append(_changed(report.comparison.changed, language))
    notes = report.comparison.notes if report.comparison else ()
    return Section("compare", say(language, "compare"), say(language, "compare.text"), tuple(exhibits), "wide", notes)


def _differences(comparison: Comparison, headline: Sequence[str], language: Language) -> Iterator[Exhibit]:
    """The leading measures that moved and all others that are no noise; the rest is counted."""
    given = comparison.differences
    shown = [d for d in given if d.verdict != "noise" or (d.metric in headline and d.changed)]
    if not shown:
        return
    reach = max((max(abs(d.low), abs(d.high)) for d in shown if is_share(d.metric)), default=0.0) or 1.0
    yield Exhibit(
        "differences", say(language, "differences", a=comparison.a, b=comparison.b),
        tuple(say(language, key) for key in ("measure", "before", "after", "difference", "interval.head", "verdict")),
        tuple(_difference_row(language, d) for d in shown), _differences_note(given, len(given) - len(shown), language),
        marks=tuple(_difference_mark(d, reach) for d in shown), sides=tuple(d.verdict for d in shown), roles=DIFFERING,
    )  # fmt: skip


def _differences_note(given: Sequence[Difference], hidden: int, language: Language) -> str:
    """What the table leaves out, and what is left of it when it is looked at as many comparisons."""
    said = [say(language, "differences.note")]
    if hidden:
        said.append(say(language, "differences.noise", n=hidden))
    if any(d.verdict != "noise" for d in given) and any(d.adjusted is not None for d in given):
        left = say(language, "comma").join(measure_label(language, d.metric, is_long=True) for d in surviving(given))
        said.append(say(language, "differences.holm", names=left) if left else say(language, "differences.no_holm"))
    return joined(language, said)


def _difference_row(language: Language, d: Difference) -> tuple[str, ...]:
    change = [
        points(x) if is_share(d.metric) else _signed(language, d.metric, x) for x in (d.difference, d.low, d.high)
    ]
    return (
        measure_label(language, d.metric, is_long=True), cell(language, d.metric, d.mean_a),
        cell(language, d.metric, d.mean_b), change[0], f"{change[1]} … {change[2]}",
        say(language, d.verdict),
    )  # fmt: skip


def _signed(language: Language, name: str, value: float) -> str:
    sign = "−" if value < 0 else "+"
    return sign + written(language, name, abs(value)) if value else written(language, name, 0.0)


def _difference_mark(d: Difference, reach: float) -> str:
    if not is_share(d.metric):
        return ""
    style = {"better": "main", "worse": "worse"}.get(d.verdict, "other")
    return plots.span(d.low, d.difference, d.high, style=style, ends=(-reach, reach), zero=0.0)


def _pairs(report: Report, language: Language, other: Side) -> Exhibit:
    up, down = (sum(sign * (y - x) > 0 for x, y in report.pairs) for sign in (1, -1))
    counts = {"better": up, "worse": down, "same": len(report.pairs) - up - down}
    title = say(language, "pairs", metric=measure_label(language, report.metric, is_long=True))
    words = Words("pairs-plot", title, say(language, "pairs.text", up=up, down=down, same=counts["same"]))
    a, b = other.manifest.name, report.run.manifest.name
    across, upwards = (
        plots.fractions(say(language, key, name=name)) for key, name in (("pairs.across", a), ("pairs.up", b))
    )
    sides = say(language, "pairs.better", up=up), say(language, "pairs.worse", down=down)
    return Exhibit(
        "pairs",
        title,
        (say(language, "verdict"), say(language, "questions")),
        tuple((say(language, key), str(count)) for key, count in counts.items()),
        say(language, "pairs.note", a=a, b=b),
        plots.pairs(words, report.pairs, across, upwards, sides),
    )


def _changed(changed: Sequence[Changed], language: Language) -> Exhibit:
    shown = changed[:CHANGED]
    return Exhibit(
        "changed", say(language, "changed"),
        tuple(say(language, key) for key in ("question", "measure", "before", "after")),
        tuple((shortened(c.text, ASKED), measure_label(language, c.metric, is_long=True),
               *("–" if x is None else cell(language, c.metric, x) for x in (c.before, c.after))) for c in shown),
        say(language, "changed.note", n=len(shown), all=len(changed)), sides=tuple(_direction(c) for c in shown),
        roles=("", "what", "num", "num"),
    )  # fmt: skip


def _direction(changed: Changed) -> str:
    """The class of a row: whether the question is better off; "noise" where that cannot be told."""
    better = higher_is_better(changed.metric)
    if changed.before is None or changed.after is None or better is None:
        return "noise"
    return "up" if (changed.after > changed.before) == better else "down"
