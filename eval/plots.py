"""Pictures of numbers, as SVG that stands in a page: lines, mirrored bars, pairs, and marks for the rows of a table.

Nothing here knows what is measured, or a colour: classes (``main``, ``other``, ``worse``, ``axis``, ``faint``) are
coloured by the page, which knows whether it is light, dark or printed. Whole pictures are ``WIDTH`` units wide and are
meant to be shown at about that many pixels, so that their letters have the size of the page's. Marks for rows have no
size of their own: their places are percents, and they fill what they stand in.

Every text is escaped. A picture carries what it shows in words (``Words``); marks for rows are hidden from readers of
the page that cannot see them, because the row says the same in figures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

WIDTH = 320
HEIGHT = 212
LEFT, RIGHT, TOP, BOTTOM = 40, 42, 14, 40  # room for the labels of the axes and at the ends of lines
LETTER = 6.2  # width of a letter of a label, roughly
CJK_LETTER = 11.5
LINE = 13.0  # labels nearer to each other than this would touch
BINS = 10
SMALLEST, LARGEST = 3.5, 15.0  # radius of a dot of a pair
MID = "50%"

Point = tuple[float, float]
Style = Literal["main", "other"]


@dataclass(frozen=True, slots=True)
class Words:
    """A picture in words: an id that is unique in its page, what it is, and what it shows."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """``ticks`` are (value, label). A logarithmic axis begins above 0."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    label: str = ""
    is_log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a value is, 0 to 1; what lies beyond an end is put there."""
        low, high, at = (math.log(x) if self.is_log else x for x in (self.low, self.high, max(value, self.low)))
        return min(1.0, (at - low) / (high - low)) if high > low else 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points that are sorted by their first number; ``label`` stands at its end."""

    points: tuple[Point, ...]
    label: str = ""
    style: Style = "main"
    has_dots: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A point that is pointed out, with what is said of it."""

    at: Point
    label: str


def lines(words: Words, drawn: Sequence[Line], across: Axis, up: Axis, mark: Mark | None = None) -> str:
    """Lines over two axes, each with its label at its end; ``drawn`` last lies on top."""
    plane = _Plane(across, up)
    body = [*plane.frame()]
    for line in drawn:
        body += _one_line(plane, line)
    body += _end_labels(plane, drawn)
    if mark:
        body += _marked(plane, mark, drawn)
    return _picture(words, HEIGHT, body)


def mirrored(
    words: Words,
    kinds: tuple[Sequence[float], Sequence[float]],
    labels: tuple[str, str],
    across: Axis,
    *,
    cut: Mark | None = None,
) -> str:
    """How often values of 0 to 1 occur: those of the first kind upwards, of the second downwards, in ten bins.

    ``labels`` name the two; ``cut`` is a value (its first number) at which a line is drawn.
    """
    counts = binned(kinds[0]), binned(kinds[1])
    tallest = max(*counts[0], *counts[1], 1)
    left, right, top, bottom = 8.0, WIDTH - 8.0, 30.0, HEIGHT - 48.0
    height = HEIGHT + LINE
    # The two share the height by what they need, so that one dot more is as high above as it is below.
    share = max(max(counts[0]) / tallest, 0.2), max(max(counts[1]) / tallest, 0.2)
    middle = top + (bottom - top) * share[0] / sum(share)
    unit = (bottom - top) / sum(share) / tallest
    width = (right - left) / BINS
    body = []
    for place, direction, style in ((0, -1, "main"), (1, 1, "other")):
        for n, count in enumerate(counts[place]):
            if count:
                body.append(_bar(left + n * width, middle, (width, direction * count * unit), count, style))
    body.append(_rule(left, middle, right, middle, "axis"))
    body.append(_label(left, 12, labels[0], "start", "main strong"))
    body.append(_label(left, bottom + 28, labels[1], "start", "other strong"))
    for value, text in across.ticks:
        x = left + across.share(value) * (right - left)
        body.append(_label(x, height - 16, text, _side(x), "soft"))
    body.append(_label((left + right) / 2, height - 2, across.label, "middle", "soft"))
    if cut:
        body += _cut(left + across.share(cut.at[0]) * (right - left), cut.label, top, bottom, left + length(labels[0]))
    return _picture(words, height, body)


def pairs(words: Words, values: Sequence[Point], across: Axis, up: Axis, sides: tuple[str, str]) -> str:
    """Each pair a dot, equal pairs one larger dot; ``sides`` name what lies above and below the diagonal."""
    height = WIDTH
    plane = _Plane(across, up, height)
    body = [*plane.frame(), _rule(*plane.place((across.low, up.low)), *plane.place((across.high, up.high)), "track")]
    counts = Counter((round(x, 3), round(y, 3)) for x, y in values)
    most = max(counts.values(), default=1)
    for (x, y), count in sorted(counts.items(), key=lambda item: -item[1]):
        style = "main" if y > x else "worse" if y < x else "other"
        at = plane.place((x, y))
        radius = max(SMALLEST, LARGEST * math.sqrt(count / most) if most > 3 else SMALLEST * math.sqrt(count))
        body.append(f'<circle class="dot {style}" cx="{_n(at[0])}" cy="{_n(at[1])}" r="{_n(radius)}"/>')
        if radius > 9:
            body.append(_label(at[0], at[1] + 4, str(count), "middle", f"in {style}"))
    # Reciprocal ranks leave the rows between a half and 1 empty, and the columns.
    low, high = plane.place((across.low, up.low)), plane.place((across.high, up.high))
    quarter = (high[0] - low[0]) / 4, (low[1] - high[1]) / 4
    body.append(_label(plane.left + 8, high[1] + quarter[1], sides[0], "start", "main strong"))
    body.append(_label(high[0] - quarter[0], low[1] - quarter[1], sides[1], "middle", "worse strong"))
    return _picture(words, height, body)


def span(low: float, value: float, high: float, *, other: float | None = None, style: str = "main",
         ends: Point = (0.0, 1.0), zero: float | None = None) -> str:  # fmt: skip
    """A mark for a row: an interval as a line, its middle as a dot, another run's middle as a ring."""
    at = [_percent(x, ends) for x in (low, value, high)]
    body = [f'<line class="track" x1="0%" x2="100%" y1="{MID}" y2="{MID}"/>']
    if zero is not None:
        place = _percent(zero, ends)
        body.append(f'<line class="zero" x1="{place}" x2="{place}" y1="0" y2="100%"/>')
    body.append(f'<line class="reach {style}" x1="{at[0]}" x2="{at[2]}" y1="{MID}" y2="{MID}"/>')
    if other is not None:
        body.append(f'<circle class="ring" cx="{_percent(other, ends)}" cy="{MID}" r="3.5"/>')
    body.append(f'<circle class="dot {style}" cx="{at[1]}" cy="{MID}" r="4"/>')
    return _row_mark(body)


def bar(value: float, *, most: float = 1.0, style: str = "main") -> str:
    """A mark for a row: how much of ``most`` this is."""
    width = _percent(value, (0.0, most))
    return _row_mark([f'<rect class="bar {style}" x="0" y="25%" width="{width}" height="50%"/>'])


def stage(start: float, usual: float, slow: float, end: float) -> str:
    """A mark for a row of a waterfall: a bar from ``start`` of length ``usual``, and how far it reaches when slow."""
    x, width, reach = (_percent(v, (0.0, end)) for v in (start, usual, start + max(slow, usual)))
    return _row_mark(
        [
            f'<line class="track" x1="0%" x2="100%" y1="{MID}" y2="{MID}"/>',
            f'<line class="reach main" x1="{x}" x2="{reach}" y1="{MID}" y2="{MID}"/>',
            f'<line class="end main" x1="{reach}" x2="{reach}" y1="30%" y2="70%"/>',
            f'<rect class="bar main" x="{x}" y="20%" width="{width}" height="60%"/>',
        ]
    )


class _Plane:
    """Two axes, and where a pair of values lies between them."""

    def __init__(self, across: Axis, up: Axis, height: float = HEIGHT) -> None:
        self.across, self.up = across, up
        self.left, self.right = float(LEFT), float(WIDTH - RIGHT)
        self.top, self.bottom = float(TOP), height - BOTTOM
        self.inset = 0.0
        if up.label:
            self.top += LINE
        if height == WIDTH:
            self.right, self.inset = WIDTH - 4.0, LARGEST + 2

    def place(self, point: Point) -> Point:
        width, height = self.right - self.left - 2 * self.inset, self.bottom - self.top - 2 * self.inset
        x = self.left + self.inset + self.across.share(point[0]) * width
        return x, self.bottom - self.inset - self.up.share(point[1]) * height

    def frame(self) -> Iterator[str]:
        """The rules across with their values, the values below, and what the axes mean."""
        for value, text in self.up.ticks:
            y = self.place((self.across.low, value))[1]
            yield _rule(self.left, y, self.right, y, "axis" if y == self.bottom else "faint")
            yield _label(self.left - 6, y + 4, text, "end", "soft")
        if self.inset:
            yield _rule(self.left, self.bottom, self.right, self.bottom, "axis")
        for value, text in self.across.ticks:
            x = self.place((value, self.up.low))[0]
            yield _label(x, self.bottom + 16, text, "middle", "soft")
        yield _label((self.left + self.right) / 2, self.bottom + 32, self.across.label, "middle", "soft")
        yield _label(0, 10, self.up.label, "start", "soft")


def _one_line(plane: _Plane, line: Line) -> Iterator[str]:
    places = [plane.place(point) for point in line.points]
    if len(places) > 1:
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in places)
        yield f'<polyline class="line {line.style}" points="{path}"/>'
    if line.has_dots or len(places) == 1:
        for x, y in places:
            yield f'<circle class="dot {line.style}" cx="{_n(x)}" cy="{_n(y)}" r="3"/>'


def _end_labels(plane: _Plane, drawn: Sequence[Line]) -> Iterator[str]:
    """Labels right of the lines' last points, moved apart where they would touch."""
    labelled = [(*plane.place(line.points[-1]), line) for line in drawn if line.points and line.label]
    labelled.sort(key=lambda end: end[1])
    heights = apart([y for _, y, _ in labelled], LINE, plane.top, plane.bottom)
    for y, (x, _, line) in zip(heights, labelled, strict=True):
        yield _label(x + 7, y + 4, line.label, "start", f"{line.style} strong")


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Sorted places moved as little as needed to be ``gap`` from each other within ``low`` to ``high``.

    Where there is no room for all they stand ``gap`` from each other and reach below ``low``.
    """
    placed: list[float] = []
    for place in wanted:
        placed.append(max(place, placed[-1] + gap) if placed else max(place, low))
    limit = high
    for n in range(len(placed) - 1, -1, -1):
        placed[n] = min(placed[n], limit)
        limit = placed[n] - gap
    return placed


def _marked(plane: _Plane, mark: Mark, drawn: Sequence[Line]) -> Iterator[str]:
    """A ring on the point; its label stands beside it where the lines leave it most room."""
    x, y = plane.place(mark.at)
    yield f'<circle class="mark" cx="{_n(x)}" cy="{_n(y)}" r="5"/>'
    wide, points = length(mark.label), [plane.place(point) for line in drawn for point in line.points]

    def crowd(corner: Point) -> float:
        left, base = x + corner[0] - (wide if corner[0] < 0 else 0), y + corner[1]
        is_out = left < plane.left or left + wide > WIDTH or base - LINE < plane.top or base > plane.bottom
        return sum(left <= px <= left + wide and base - LINE <= py <= base + 3 for px, py in points) + 1000 * is_out

    dx, dy = min(((-8.0, -9.0), (8.0, -9.0), (8.0, 19.0), (-8.0, 19.0)), key=crowd)
    yield _label(x + dx, y + dy, mark.label, "end" if dx < 0 else "start", "strong")


def _cut(x: float, label: str, top: float, bottom: float, taken: float) -> Iterator[str]:
    """A line down a picture with its label at its upper end, a line lower where ``taken`` reaches as far as it."""
    side = "start" if x + length(label) + 4 < WIDTH else "end"
    starts = x + 4 if side == "start" else x - 4 - length(label)
    yield _rule(x, 4, x, bottom, "cut")
    yield _label(x + (4 if side == "start" else -4), 12 if starts > taken + 8 else top - 4, label, side, "soft")


def _bar(x: float, base: float, size: Point, count: int, style: str) -> str:
    """A bar on its base with its count beyond its end; it hangs where the height is above 0."""
    width, height = size
    top = base + min(height, 0.0)
    rectangle = (
        f'<rect class="bar {style}" x="{_n(x + 1)}" y="{_n(top)}" width="{_n(width - 2)}" height="{_n(abs(height))}"/>'
    )
    beyond = top - 4 if height < 0 else top + height + 12
    return rectangle + _label(x + width / 2, beyond, str(count), "middle", "soft")


def binned(values: Sequence[float]) -> list[int]:
    """How many of the values are in each tenth of 0 to 1; 1 is in the last."""
    counts = Counter(min(BINS - 1, max(0, int(value * BINS + 1e-9))) for value in values)
    return [counts[n] for n in range(BINS)]


def _picture(words: Words, height: float, body: Sequence[str]) -> str:
    title, text = f"{words.id}-title", f"{words.id}-text"
    head = (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-labelledby="{escape(title)} '
        f'{escape(text)}"><title id="{escape(title)}">{escape(words.title)}</title>'
        f'<desc id="{escape(text)}">{escape(words.text)}</desc>'
    )
    return head + "".join(body) + "</svg>"


def _row_mark(body: Sequence[str]) -> str:
    return f'<svg class="mark-row" aria-hidden="true" focusable="false">{"".join(body)}</svg>'


def _rule(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _label(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> str:
    if not text:
        return ""
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def length(text: str) -> float:
    """About how wide a label is drawn."""
    return sum(CJK_LETTER if ord(letter) > 0x2E7F else LETTER for letter in text)


def _side(x: float) -> str:
    return "start" if x < 20 else "end" if x > WIDTH - 20 else "middle"


def _percent(value: float, ends: Point) -> str:
    low, high = ends
    share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.0
    return f"{_n(share * 100)}%"


def _n(value: float) -> str:
    """A coordinate, as short as a tenth of a unit allows; one that is no number is 0."""
    return f"{round(value, 1) + 0.0:g}" if math.isfinite(value) else "0"


def fractions(label: str = "", *, high: float = 1.0, steps: Sequence[float] = (0, 0.5, 1)) -> Axis:
    """An axis of shares, labelled in percent."""
    ticks: Mapping[float, str] = {
        step: f"{step * 100:g}%" if step == max(steps) else f"{step * 100:g}" for step in steps
    }
    return Axis(0.0, high, tuple(ticks.items()), label)
