"""Boxes of pages that were read by OCR."""

from __future__ import annotations

from ragapp.ingest.boxes import joined, word_boxes
from ragapp.types import Box, Page

WORDS = ((0, 3, 10.0, 10.0, 30.0, 20.0), (4, 7, 34.0, 11.0, 60.0, 21.0), (8, 11, 10.0, 30.0, 30.0, 40.0))
PAGE = Page(4, 100, 112, read_by="ocr", words=WORDS)


def test_words_of_a_line_are_one_box() -> None:
    assert word_boxes(PAGE, 0, 11) == [Box(4, 10.0, 10.0, 60.0, 21.0), Box(4, 10.0, 30.0, 30.0, 40.0)]


def test_only_words_of_the_span() -> None:
    assert word_boxes(PAGE, 4, 7) == [Box(4, 34.0, 11.0, 60.0, 21.0)]
    assert word_boxes(PAGE, 5, 6) == [Box(4, 34.0, 11.0, 60.0, 21.0)]
    assert word_boxes(PAGE, 3, 4) == []
    assert word_boxes(PAGE, 7, 9) == [Box(4, 10.0, 30.0, 30.0, 40.0)]


def test_boxes_far_apart_on_a_line_stay_two() -> None:
    assert len(list(joined([(10.0, 10.0, 30.0, 20.0), (60.0, 10.0, 80.0, 20.0)]))) == 2
    assert list(joined([])) == []
