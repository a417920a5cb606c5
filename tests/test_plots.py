"""Pictures of numbers: every point stands where its numbers say, labels keep apart, and texts stay texts."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.eval import plots
from ragapp.eval.plots import Axis, Line, Mark, Words, apart, binned, fractions

WORDS = Words("one", "A title", "What it shows")
SHARE = st.floats(0, 1)
DEPTH = Axis(1.0, 20.0, ((1.0, "1"), (20.0, "20")), "k", True)


def drawn(svg: str) -> ET.Element:
    """The picture, parsed as XML: anything that is not well formed raises."""
    return ET.fromstring(svg)


def places(svg: str, tag: str, style: str) -> list[tuple[float, float]]:
    found = [e for e in drawn(svg).iter(tag) if style in (e.get("class") or "").split()]
    return [(float(e.get("cx", e.get("x", "0"))), float(e.get("cy", e.get("y", "0")))) for e in found]


# -- axes --------------------------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_an_axis_keeps_the_order_and_its_ends(one: float, other: float) -> None:
    axis = Axis(-5.0, 12.0, ())
    low, high = sorted((one, other))
    assert 0 <= axis.share(low) <= axis.share(high) <= 1
    assert (axis.share(-5.0), axis.share(12.0), axis.share(3.5)) == (0, 1, 0.5)


def test_a_logarithmic_axis_gives_each_doubling_the_same_room() -> None:
    axis = Axis(1.0, 16.0, (), is_log=True)
    assert [axis.share(x) for x in (1, 2, 4, 8, 16)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert axis.share(0) == 0


def test_an_axis_without_width_puts_everything_in_the_middle() -> None:
    assert Axis(1.0, 1.0, ()).share(1.0) == 0.5


def test_shares_are_labelled_in_percent_once() -> None:
    assert [label for _, label in fractions().ticks] == ["0", "50", "100%"]


# -- lines -------------------------------------------------------------------------------------------------------------


def test_a_line_goes_through_its_points() -> None:
    svg = plots.lines(WORDS, [Line(((1.0, 0.0), (20.0, 1.0)), "end")], DEPTH, fractions())
    (start, end) = places(svg, "circle", "main")
    assert start[0] < end[0]
    assert start[1] > end[1]
    (rule,) = [e for e in drawn(svg).iter("line") if e.get("class") == "axis"]
    assert start[1] == float(rule.get("y1", "")), "a value of 0 stands on the axis"
    (label,) = [e for e in drawn(svg).iter("text") if e.text == "end"]
    assert float(label.get("x", "")) > end[0]


def test_labels_at_the_ends_of_lines_do_not_touch() -> None:
    pair = [Line(((1.0, 0.2), (20.0, 0.50)), "was", "other"), Line(((1.0, 0.2), (20.0, 0.51)), "is")]
    svg = plots.lines(WORDS, pair, DEPTH, fractions())
    heights = {e.text: float(e.get("y", "0")) for e in drawn(svg).iter("text") if e.text in ("was", "is")}
    assert heights["was"] - heights["is"] >= plots.LINE - 0.2


@given(st.lists(st.floats(0, 100), max_size=8), st.floats(1, 12))
def test_places_that_are_moved_apart_stay_in_order_and_inside(wanted: list[float], gap: float) -> None:
    placed = apart(sorted(wanted), gap, 0.0, 100.0)
    assert all(after - before >= gap - 1e-9 for before, after in pairwise(placed))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in placed)


def test_places_that_are_apart_are_not_moved() -> None:
    assert apart([10.0, 30.0, 60.0], 13.0, 0.0, 100.0) == [10.0, 30.0, 60.0]


def test_a_mark_stands_on_its_point_with_its_label() -> None:
    svg = plots.lines(WORDS, [Line(((0.0, 0.5), (1.0, 0.5)))], fractions(), fractions(), Mark((1.0, 0.5), "as set"))
    (mark,), ends = places(svg, "circle", "mark"), places(svg, "circle", "main")
    assert mark == ends[1]
    assert any(e.text == "as set" for e in drawn(svg).iter("text"))


# -- counted -----------------------------------------------------------------------------------------------------------


@given(st.lists(SHARE))
def test_every_value_is_in_a_bin(values: list[float]) -> None:
    assert sum(binned(values)) == len(values)


def test_bins_are_tenths() -> None:
    assert binned([0.0, 0.1, 0.3, 0.7, 0.99, 1.0]) == [1, 1, 0, 1, 0, 0, 0, 1, 0, 2]


def test_bars_above_and_below_have_one_scale() -> None:
    svg = plots.mirrored(WORDS, ([0.95] * 8, [0.05] * 4), ("8 with", "4 without"), fractions())
    bars = {e.get("class"): float(e.get("height", "0")) for e in drawn(svg).iter("rect")}
    assert bars["bar main"] == pytest.approx(2 * bars["bar other"], abs=0.2)
    counts = [e.text for e in drawn(svg).iter("text")]
    assert {"8", "4", "8 with", "4 without"} <= set(counts)


@pytest.mark.parametrize("at", [0.02, 0.5, 0.98])
def test_the_label_of_a_cut_stays_inside_and_off_the_name(at: float) -> None:
    across = Axis(0.0, 1.0, ())
    svg = plots.mirrored(
        WORDS, ([0.9], [0.1]), ("50 with an answer", "2 without"), across, cut=Mark((at, 0.0), "refused below")
    )
    texts = {e.text: e for e in drawn(svg).iter("text")}
    label, name = texts["refused below"], texts["50 with an answer"]
    x, wide = float(label.get("x", "0")), plots.length("refused below")
    left = x if label.get("text-anchor") == "start" else x - wide
    assert left >= 0
    assert left + wide <= plots.WIDTH
    on_one_line = label.get("y") == name.get("y")
    assert not on_one_line or left > float(name.get("x", "0")) + plots.length("50 with an answer")


# -- pairs -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(SHARE, SHARE), max_size=30))
def test_dots_stand_on_their_side_of_the_diagonal(values: list[tuple[float, float]]) -> None:
    values = [(round(x, 3), round(y, 3)) for x, y in values]
    svg = plots.pairs(WORDS, values, fractions(), fractions(), ("up", "down"))
    for style, holds in (("main", lambda x, y: y > x), ("worse", lambda x, y: y < x), ("other", lambda x, y: y == x)):
        assert len(places(svg, "circle", style)) == len({pair for pair in values if holds(*pair)})
    assert len(drawn(svg).findall("circle")) == len(set(values))


def test_equal_pairs_are_one_larger_dot_with_their_number() -> None:
    svg = plots.pairs(WORDS, [(0.0, 1.0)] * 20 + [(1.0, 0.0)], fractions(), fractions(), ("", ""))
    sizes = {e.get("class"): float(e.get("r", "0")) for e in drawn(svg).iter("circle")}
    assert sizes["dot main"] > 2 * sizes["dot worse"]
    assert "20" in [e.text for e in drawn(svg).iter("text")]


# -- marks for rows ----------------------------------------------------------------------------------------------------


@given(SHARE, SHARE, SHARE)
def test_an_interval_is_drawn_in_percent_of_its_row(one: float, two: float, three: float) -> None:
    low, value, high = sorted((one, two, three))
    svg = drawn(plots.span(low, value, high, other=value))
    (reach,) = [e for e in svg.iter("line") if "reach" in (e.get("class") or "")]
    (dot,) = [e for e in svg.iter("circle") if "dot" in (e.get("class") or "")]
    ends = [float((e.get(name) or "").rstrip("%")) for e, name in ((reach, "x1"), (dot, "cx"), (reach, "x2"))]
    assert ends == pytest.approx([low * 100, value * 100, high * 100], abs=0.051)
    assert svg.get("aria-hidden") == "true"


def test_what_lies_beyond_the_scale_ends_at_its_end() -> None:
    svg = drawn(plots.span(-9.0, 0.0, 9.0, ends=(-1.0, 1.0), zero=0.0))
    (reach,) = [e for e in svg.iter("line") if "reach" in (e.get("class") or "")]
    assert (reach.get("x1"), reach.get("x2")) == ("0%", "100%")
    (zero,) = [e for e in svg.iter("line") if e.get("class") == "zero"]
    assert zero.get("x1") == "50%"


def test_a_stage_begins_where_the_last_one_ended() -> None:
    svg = drawn(plots.stage(0.2, 0.3, 0.6, 1.0))
    (bar,) = svg.findall("rect")
    assert (bar.get("x"), bar.get("width")) == ("20%", "30%")
    (reach,) = [e for e in svg.iter("line") if "reach" in (e.get("class") or "")]
    assert reach.get("x2") == "80%"


def test_a_bar_is_a_share_of_the_most() -> None:
    (bar,) = drawn(plots.bar(3, most=12)).findall("rect")
    assert bar.get("width") == "25%"
    assert drawn(plots.bar(0, most=0)).find("rect") is not None


# -- words -------------------------------------------------------------------------------------------------------------


def test_a_picture_says_in_words_what_it_shows() -> None:
    svg = drawn(plots.lines(WORDS, [], DEPTH, fractions()))
    assert svg.get("role") == "img"
    named = {e.get("id"): e.text for e in svg if e.tag in ("title", "desc")}
    assert [named[name] for name in (svg.get("aria-labelledby") or "").split()] == ["A title", "What it shows"]


HOSTILE = '"><script>alert(1)</script><img src=x onerror="1">&'


def test_texts_stay_texts() -> None:
    words, axis = Words("a", HOSTILE, HOSTILE), fractions(HOSTILE)
    for svg in (
        plots.lines(words, [Line(((0.0, 0.0), (1.0, 1.0)), HOSTILE)], axis, axis, Mark((0.5, 0.5), HOSTILE)),
        plots.pairs(words, [(0.0, 1.0)], axis, axis, (HOSTILE, HOSTILE)),
        plots.mirrored(words, ([0.5], [0.5]), (HOSTILE, HOSTILE), axis, cut=Mark((0.5, 0.0), HOSTILE)),
    ):
        tags = {e.tag for e in drawn(svg).iter()}
        assert tags <= {"svg", "title", "desc", "text", "line", "polyline", "circle", "rect"}
        assert any(e.text == HOSTILE for e in drawn(svg).iter("text"))


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_no_coordinate_is_anything_but_a_number(x: float, y: float) -> None:
    svg = plots.pairs(WORDS, [(x, y)], fractions(), fractions(), ("", ""))
    for value in re.findall(r' (?:cx|cy|r|x|y)="([^"]*)"', svg):
        assert re.fullmatch(r"-?\d+(\.\d)?", value), value
