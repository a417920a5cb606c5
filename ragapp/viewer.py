"""Documents to be looked at: their pages as pictures, words with their places, text, and what is found in them.

Offsets are the document's, as everywhere; places are points from the top left of the page as shown, the same as those
of citations. Pictures and places come from the file itself, drawn in processes of their own (``ingest/drawing.py``),
and only while it is the file that was ingested. A document whose file is gone, changed or encrypted still has its text.

Non-goals: keeping pictures (who shows them does), passwords, and pictures of other kinds than PDF.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ragapp.catalog import Catalog
from ragapp.errors import NotFound, QuestionError
from ragapp.finder import find
from ragapp.ingest.boxes import PageSpan
from ragapp.ingest.drawing import Drawers
from ragapp.ingest.scan import path_of
from ragapp.placing import boxes_of_spans
from ragapp.rows import FileRow, Generation
from ragapp.text import join_broken
from ragapp.types import Box, Heading, Page

PageState = Literal["text", "ocr", "empty", "unread"]

PICTURES = 2  # pages drawn at once
PICTURE_S = 20.0  # a page that takes longer is not drawn
LOOK_UP_S = 20.0  # for the words or boxes of a document's pages
AROUND = 60  # characters shown before and after a match
HELD_CHARS = 32_000_000  # the text of the document that was searched last is kept up to this length

_SPACE = re.compile(r"\s+")
_REASONS: Mapping[str, tuple[str, str]] = {
    "kind": ("{name} is no PDF, and has no pictures of its pages", "Its text can be read."),
    "gone": ("The file {name} is no longer where it was", "Its text can be read. Ingest it again where it is now."),
    "changed": ("The file {name} has changed since it was ingested", "Its text can be read. Ingest it again."),
    "encrypted": ("The file {name} is encrypted, and no password is kept", "Its text can be read."),
    "damaged": ("{name} cannot be drawn: {reason}", "Its text can be read. Open it in a viewer."),
}


class NoPicture(NotFound):
    """There is no picture of a page, and why; ``kind`` is "kind", "gone", "changed", "encrypted" or "damaged"."""

    def __init__(self, kind: str, name: str, reason: str = "") -> None:
        message, hint = _REASONS[kind]
        super().__init__(f"{message.format(name=name, reason=reason or 'nobody knows why')}.", hint)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Leaf:
    """A page in the list of a document's pages. ``chars`` are those of its text without white space around it;
    ``width`` and ``height`` are points, None where there is no picture."""

    number: int
    label: str
    state: PageState
    chars: int
    width: float | None = None
    height: float | None = None


@dataclass(frozen=True, slots=True)
class Leaves:
    """All pages of a document; ``no_pictures`` says why there are none of them."""

    pages: tuple[Leaf, ...]
    no_pictures: NoPicture | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a page with their places: ``(start, end, text, x0, y0, x1, y1)``; none where there is no picture."""

    page: int
    width: float | None
    height: float | None
    words: tuple[tuple[int, int, str, float, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class LeafText:
    """The text of a page, with the headings that begin on it."""

    page: int
    label: str
    start: int
    end: int
    text: str
    headings: tuple[Heading, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A place where words were found: ``document.text[start:end]``; the texts are on one line, for showing."""

    page: int
    start: int
    end: int
    before: str
    text: str
    after: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """The first matches, and how many there are; no more than ``finder.MOST`` are counted."""

    matches: tuple[Match, ...]
    total: int


@dataclass(frozen=True, slots=True)
class _Held:
    """The pages of the document that was searched last, at a state of the library."""

    key: tuple[str, Generation]
    pages: list[tuple[Page, str]] = field(repr=False)


class Viewer:
    """The documents of one library, to be looked at. Safe to share between threads; no process is started before
    something must be drawn or looked up in a file."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._drawers = Drawers(PICTURES, PICTURE_S)
        # Words and boxes do not wait behind pages that take long to draw.
        self._looker = Drawers(1, LOOK_UP_S)
        # And what a search finds has its places without waiting behind somebody who looks at a document.
        self._placer = Drawers(1, LOOK_UP_S)
        self._held: _Held | None = None

    def close(self) -> None:
        self._drawers.close()
        self._looker.close()
        self._placer.close()

    def document_id(self, document: str) -> str:
        """The id of a document, by that or by a name. Raises NotFound."""
        found = self._catalog.document_id(document)
        if found is None:
            raise NotFound(f"There is no document {document!r} in the library.", "GET /v1/documents lists them.")
        return found

    # -- pages ---------------------------------------------------------------------------------------------------

    def pages(self, document_id: str) -> Leaves:
        """The pages of a document, in order."""
        texts = self._catalog.page_texts(document_id)
        sizes: Sequence[Sequence[float]] = ()
        why: NoPicture | None = None
        try:
            sizes = self._ask(self._looker, document_id, {"do": "sizes"})[0]["sizes"]
        except NoPicture as reason:
            why = reason
        return Leaves(tuple(_leaf(page, text, sizes) for page, text in texts), why)

    def text(self, document_id: str, number: int) -> LeafText:
        """The text of a page. Raises NotFound."""
        page, text = self._page(document_id, number)
        excerpt = self._catalog.excerpt(document_id, page.start, page.end) if text else None
        headings = () if excerpt is None else excerpt.headings
        return LeafText(number, page.label, page.start, page.end, text, headings)

    def picture(self, document_id: str, number: int, width: int) -> bytes:
        """A page as PNG, ``width`` pixels wide where that is not too much. Raises NotFound, NoPicture among it."""
        self._page(document_id, number)
        return self._ask(self._drawers, document_id, {"do": "draw", "page": number, "width": width})[1]

    def check_picture(self, document_id: str, number: int) -> None:
        """Raise NotFound unless a picture of the page may be shown: the file is there, and as it was."""
        self._page(document_id, number)
        self._file(document_id)

    def words(self, document_id: str, number: int) -> Words:
        """The words of a page in the order of its text. Raises NotFound for a page that does not exist."""
        page, text = self._page(document_id, number)
        try:
            # Those that OCR has read are stored; the file still says how large the page is.
            asked = ("", ()) if page.words else (text, page.runs)
            order = {"do": "words", "page": number, "text": asked[0], "runs": asked[1]}
            said = self._ask(self._looker, document_id, order)[0]
        except NoPicture:
            return Words(number, None, None)
        width, height = said["size"]
        placed: Iterable[Sequence[Any]] = page.words or said["words"]
        return Words(
            number,
            width,
            height,
            tuple((page.start + left, page.start + right, text[left:right], *box) for left, right, *box in placed),
        )

    def _page(self, document_id: str, number: int) -> tuple[Page, str]:
        # No page has a number that SQLite does not know.
        found = self._catalog.page(document_id, number) if 0 < number < 2**31 else None
        if found is None:
            raise NotFound(f"The document has no page {number:,}.", "Pages are counted from 1.")
        return found

    # -- spans ---------------------------------------------------------------------------------------------------

    def boxes(self, document_id: str, start: int, end: int) -> tuple[Box, ...]:
        """The rectangles of a span on its pages; none where they cannot be told."""
        return self._boxes(document_id, [(start, end)])[0]

    def _boxes(self, document_id: str, spans: Sequence[tuple[int, int]]) -> list[tuple[Box, ...]]:
        """The rectangles of each span; the file is asked once for all."""

        def ask(asked: Sequence[PageSpan]) -> list[list[Box]]:
            try:
                return self._places(self._looker, self._file(document_id), asked)
            except NoPicture:
                return []

        return boxes_of_spans(self._catalog, document_id, spans, ask)

    def places(self, file: FileRow, spans: Sequence[PageSpan]) -> list[list[Box]]:
        """The rectangles of spans in a file that is as it was ingested; none of one that cannot be drawn."""
        try:
            return self._places(self._placer, file, spans)
        except NoPicture:
            return [[] for _ in spans]

    def _places(self, drawers: Drawers, file: FileRow, spans: Sequence[PageSpan]) -> list[list[Box]]:
        found = self._ask_file(drawers, file, {"do": "boxes", "spans": [asdict(span) for span in spans]})[0]["boxes"]
        return [[Box(**box) for box in boxes] for boxes in found]

    def find(self, document_id: str, words: str, limit: int, *, boxes: bool = True) -> Findings:
        """Where words stand in a document (finder.py), the first ``limit`` with what is around them.

        Raises QuestionError for no words, or more than a line of them.
        """
        if not any(char.isprintable() and not char.isspace() for char in words):
            raise QuestionError("There is nothing to find.", "Write the words that are to be found.")
        if len(words) > 500:
            raise QuestionError(f"{len(words):,} characters are too many to be found.", "Write 500 at most.")
        pages = self._texts(document_id)
        found = find((text for _, text in pages), words, limit)
        matches = _matches(found.spans, pages)
        if boxes and matches:
            placed = self._boxes(document_id, found.spans)
            matches = [
                Match(m.page, m.start, m.end, m.before, m.text, m.after, each)
                for m, each in zip(matches, placed, strict=True)
            ]
        return Findings(tuple(matches), found.total)

    def _texts(self, document_id: str) -> list[tuple[Page, str]]:
        """The pages of a document; those of the last one are at hand, for people who look on as they write."""
        key = (document_id, self._catalog.generation())
        held = self._held
        if held is not None and held.key == key:
            return held.pages
        pages = self._catalog.page_texts(document_id)
        if sum(len(text) for _, text in pages) <= HELD_CHARS:
            self._held = _Held(key, pages)
        return pages

    # -- the file ------------------------------------------------------------------------------------------------

    def _file(self, document_id: str) -> FileRow:
        """A file of a document that is there, as it was ingested, and has pictures. Raises NoPicture."""
        worst: NoPicture | None = None
        for row in self._catalog.files_of(document_id):
            path = path_of(row.uri)
            if path.suffix.lower() != ".pdf":
                worst = worst or NoPicture("kind", row.name)
                continue
            try:
                stat = path.stat()
            except (OSError, ValueError):
                worst = NoPicture("gone", row.name)
                continue
            if (stat.st_size, stat.st_mtime_ns) == (row.bytes, row.mtime_ns):
                return row
            worst = NoPicture("changed", row.name)
        raise worst or NotFound("The document was removed.", "GET /v1/documents lists those that are there.")

    def _ask(self, drawers: Drawers, document_id: str, order: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """An answer about the document's file. Raises NoPicture."""
        return self._ask_file(drawers, self._file(document_id), order)

    def _ask_file(self, drawers: Drawers, row: FileRow, order: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        file = {"path": str(path_of(row.uri)), "bytes": row.bytes, "mtime_ns": row.mtime_ns}
        head, body = drawers.ask({**order, **file})
        if "refused" in head:
            raise NoPicture(head["refused"], row.name, head["reason"])
        return head, body


def _leaf(page: Page, text: str, sizes: Sequence[Sequence[float]]) -> Leaf:
    chars = len(text.strip())
    state: PageState = "text"
    if page.is_unread:
        state = "unread"
    elif not chars:
        state = "empty"
    elif page.read_by == "ocr":
        state = "ocr"
    width, height = sizes[page.number - 1] if page.number <= len(sizes) else (None, None)
    return Leaf(page.number, page.label, state, chars, width or None, height or None)


def _matches(spans: Iterable[tuple[int, int]], pages: Sequence[tuple[Page, str]]) -> list[Match]:
    """Spans in order as matches, with the text around them."""
    found: list[Match] = []
    place = 0
    for start, end in spans:
        while pages[place][0].end <= start:
            place += 1
        left, around = _around(pages, place, start - AROUND, end + AROUND)
        before, after = _line(around[: start - left]), _line(around[end - left :])
        text = _line(around[start - left : end - left])
        found.append(Match(pages[place][0].number, start, end, before, text, after))
    return found


def _around(pages: Sequence[tuple[Page, str]], place: int, start: int, end: int) -> tuple[int, str]:
    """The text from ``start`` to ``end``, as far as there is any, and where it begins; ``place`` is a page in it."""
    first = place
    while first and pages[first][0].start > start:
        first -= 1
    left = max(start, pages[first][0].start)
    parts: list[str] = []
    for page, text in pages[first:]:
        if page.start >= end:
            break
        parts.append(text[max(0, left - page.start) : end - page.start])
    return left, "".join(parts)


def _line(text: str) -> str:
    return _SPACE.sub(" ", join_broken(text))
