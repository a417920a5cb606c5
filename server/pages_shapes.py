"""What is answered about the pages of a document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ragapp.server.schemas import BoxOut
from ragapp.shapes import box_dict
from ragapp.viewer import Findings, LeafText, Leaves, Words

EXAMPLE_BOX: dict[str, Any] = {"page": 12, "x0": 72.0, "y0": 144.5, "x1": 311.2, "y1": 156.5}


def _example(**members: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [members]})


class PageOut(BaseModel):
    """``width`` and ``height`` are points as shown, null where there is no picture of the page.

    ``state`` says where the text is from: "text" the file, "ocr" its picture, "empty" nowhere, and "unread" that
    something stands there which could not be read. ``chars`` are those of the text.
    """

    number: int
    label: str
    state: Literal["text", "ocr", "empty", "unread"]
    chars: int
    width: float | None
    height: float | None


class PageList(BaseModel):
    """``no_pictures`` says in a sentence why there are no pictures of pages; null where there are."""

    model_config = _example(
        pages=[{"number": 1, "label": "i", "state": "text", "chars": 1834, "width": 595.28, "height": 841.89}],
        no_pictures=None,
    )

    pages: list[PageOut]
    no_pictures: str | None

    @classmethod
    def of(cls, leaves: Leaves) -> PageList:
        pages = [
            PageOut(
                number=p.number, label=p.label, state=p.state, chars=p.chars, width=p.width, height=p.height
            )
            for p in leaves.pages
        ]  # fmt: skip
        return cls(pages=pages, no_pictures=leaves.no_pictures and leaves.no_pictures.message)


class WordOut(BaseModel):
    """A word, or the part of one that stands on a line: points from the top left of the page as shown, and offsets in
    the document's text, by code points."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    start: int
    end: int


class WordList(BaseModel):
    """The words of a page in reading order; none where there is no picture of it."""

    model_config = _example(
        page=12,
        width=595.28,
        height=841.89,
        words=[{"text": "warranty", "x0": 96.1, "y0": 144.5, "x1": 139.4, "y1": 156.5, "start": 8412, "end": 8420}],
    )

    page: int
    width: float | None
    height: float | None
    words: list[WordOut]

    @classmethod
    def of(cls, words: Words) -> WordList:
        each = [
            WordOut(text=text, x0=x0, y0=y0, x1=x1, y1=y1, start=start, end=end)
            for start, end, text, x0, y0, x1, y1 in words.words
        ]
        return cls(page=words.page, width=words.width, height=words.height, words=each)


class HeadingOut(BaseModel):
    """``level`` 1 is the outermost; ``start`` is an offset in the document's text."""

    title: str
    level: int
    start: int


class PageTextOut(BaseModel):
    """``text`` is the document's text from ``start`` to ``end``, by code points."""

    model_config = _example(
        page=2,
        label="slide 2",
        start=410,
        end=451,
        text="Costs\nThe oil costs nine crowns a barrel.\n",
        headings=[{"title": "Costs", "level": 2, "start": 410}],
    )

    page: int
    label: str
    start: int
    end: int
    text: str
    headings: list[HeadingOut]

    @classmethod
    def of(cls, leaf: LeafText) -> PageTextOut:
        headings = [HeadingOut(title=h.title, level=h.level, start=h.start) for h in leaf.headings]
        return cls(
            page=leaf.page, label=leaf.label, start=leaf.start, end=leaf.end, text=leaf.text, headings=headings
        )  # fmt: skip


class BoxList(BaseModel):
    """The rectangles of a span, by page; none where they cannot be told."""

    model_config = _example(boxes=[EXAMPLE_BOX])

    boxes: list[BoxOut]


class MatchOut(BaseModel):
    """A place where the words stand; the texts are on one line, for showing."""

    page: int
    start: int
    end: int
    before: str
    text: str
    after: str
    boxes: list[BoxOut]


class MatchList(BaseModel):
    """The first matches in order. ``total`` is how many there are; after 10,000 nobody counts."""

    model_config = _example(
        matches=[
            {
                "page": 12, "start": 8404, "end": 8420, "before": "months. ", "text": "The warranty",
                "after": " of the pump lasts", "boxes": [EXAMPLE_BOX],
            }
        ],
        total=1,
    )  # fmt: skip

    matches: list[MatchOut]
    total: int

    @classmethod
    def of(cls, found: Findings) -> MatchList:
        matches = [
            MatchOut(
                page=m.page, start=m.start, end=m.end, before=m.before, text=m.text, after=m.after,
                boxes=[BoxOut(**box_dict(box)) for box in m.boxes],
            )
            for m in found.matches
        ]  # fmt: skip
        return cls(matches=matches, total=found.total)
