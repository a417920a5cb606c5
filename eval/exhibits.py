"""What a report shows, put into words, tables and pictures: the same for the page and for Markdown.

A section has exhibits, an exhibit a table, and where it helps a picture or a mark for each row. The pictures are of
``plots.py``; every figure in them stands in the table too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragapp.eval import plots
from ragapp.eval.captions import Language, say
from ragapp.eval.measures import Mean

_FIGURE = re.compile(r"[-−+]?\d[\d.,]*\s?(?:%|ms|s|毫秒|秒)?$|–$")
SPEEDS = ("tokens_per_s",)  # measures that are neither shares nor times
MEASURED = ("", "num", "num reach", "num n")  # the columns of a table of measures
EXCERPT = 200  # characters of a passage


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A table, ``head`` over ``rows`` of texts, and what makes it plain at a glance.

    ``plot`` is a picture of the whole; ``marks`` are one for each row, to stand behind its first cell. ``sides`` are
    classes of the rows ("better"), ``roles`` of the columns ("num"), told from the cells where there are none.
    """

    id: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    plot: str = ""
    marks: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What each column holds: "num" where all its cells are figures."""
        return self.roles or tuple("num" if self.is_numeric(n) else "" for n in range(len(self.head)))

    def is_numeric(self, column: int) -> bool:
        return bool(self.rows) and all(_FIGURE.match(row[column]) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Section:
    """Exhibits that belong together. ``layout`` is how they stand: "columns", "wide". ``notes`` are sentences apart."""

    id: str
    title: str
    text: str
    exhibits: tuple[Exhibit, ...]
    layout: str = "columns"
    notes: tuple[str, ...] = ()


def is_share(name: str) -> bool:
    """Whether a measure is a share of 0 to 1, by its name."""
    return not name.startswith("latency.") and name not in ("answer.length", *SPEEDS)


def percent(value: float, digits: int = 1) -> str:
    """A share in percent without the sign, as columns have it; never "-0.0"."""
    return f"{round(value * 100, digits) + 0.0:.{digits}f}"


def points(value: float) -> str:
    """A difference of shares in points of percent, always with its sign."""
    return signed(value * 100, 1)


def signed(value: float, digits: int) -> str:
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def seconds(language: Language, value: float) -> str:
    """A time as people read it: in milliseconds, from ten seconds on in seconds."""
    if value >= 10:
        return say(language, "seconds", value=f"{value:,.1f}")
    digits = 0 if value >= 0.01 else 1
    return say(language, "milliseconds", value=f"{value * 1000:,.{digits}f}")


def written(language: Language, name: str, value: float, digits: int = 1) -> str:
    """A measure's value by itself, with its unit."""
    if name.startswith("latency."):
        return seconds(language, value)
    return f"{percent(value, digits)}%" if is_share(name) else f"{value:,.1f}"


def digits_of(n: int) -> int:
    """How many decimals of a percent so many questions can bear: below a thousand the interval is points wide."""
    return 0 if n < 1000 else 1


def cell(language: Language, name: str, value: float) -> str:
    """A measure's value in a column whose head says percent."""
    return percent(value) if is_share(name) else written(language, name, value)


def _range(language: Language, name: str, mean: Mean) -> str:
    """An interval, with its unit once."""
    if is_share(name):
        return f"{percent(mean.low, digits_of(mean.n))}–{percent(mean.high, digits_of(mean.n))}"
    low, high = (cell(language, name, x) for x in (mean.low, mean.high))
    unit = high[len(high.rstrip("ms毫秒 ")) :]
    return f"{low.removesuffix(unit)}–{high}" if unit and low.endswith(unit) else f"{low}–{high}"


def span_of(name: str, mean: Mean, before: Mean | None) -> str:
    """A measure's interval as a mark for its row; none for what is no share."""
    if not is_share(name):
        return ""
    return plots.span(mean.low, mean.value, mean.high, other=before.value if before else None)


def joined(language: Language, sentences: Sequence[str]) -> str:
    """Sentences after each other; Chinese ones need no space."""
    return (" " if language == "en" else "").join(sentences)


def of_means(
    language: Language,
    means: Mapping[str, Mean],
    before: Mapping[str, Mean],
    *,
    id: str,
    title: str,
    labels: Mapping[str, str],
    metric: str = "",
) -> Exhibit:
    """A table of means, one drawn a row. How many questions they are of stands above where it is the same for all.

    The keys are measures, or, where a ``metric`` is named, what else the rows stand for.
    """
    counts = {mean.n for mean in means.values()}
    columns = 4 if len(counts) > 1 else 3
    head = (" ", *(say(language, key) for key in ("mean", "interval.head", "n")))
    rows = (
        (labels[key], cell(language, metric or key, m.value), _range(language, metric or key, m), f"{m.n:,}")
        for key, m in means.items()
    )
    marks = tuple(span_of(metric or key, mean, before.get(key)) for key, mean in means.items())
    return Exhibit(
        id,
        say(language, "group.n", group=title, n=f"{counts.pop():,}") if columns == 3 else title,
        head[:columns],
        tuple(row[:columns] for row in rows),
        marks=marks if any(marks) else (),
        roles=MEASURED[:columns],
    )


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]


def shortened(text: str, most: int = EXCERPT) -> str:
    """A text on one line, cut at a word where it is long."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    cut = line[:most]
    at_word = cut.rpartition(" ")[0]
    return f"{at_word if len(at_word) > most * 0.8 else cut} …"
