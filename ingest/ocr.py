"""Pages that hold no text of their own, or a broken one, are read from their picture.

What an engine saw becomes the page's text: lines, empty lines between paragraphs, words that a line's end broke made
whole. Lines that it was unsure of are left out, for what is wrong here is quoted later. A page on which nothing sure
is left stays unread and is reported, unless it plainly holds no writing: nothing was seen on it at all, or it is a
photograph, which has as many middle tones as no sheet of paper.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from ragapp.ingest.engines import Engine, EngineFailed, Seen, certainty_of, find_engine
from ragapp.ingest.readers.pdfium import Picture, render_gray
from ragapp.ingest.weave import broken, vocabulary
from ragapp.types import Document, Heading, Page, Table

__all__ = ["Engine", "OcrPage", "complete", "find_engine", "recognised", "with_pages"]

DPI = 300
MAX_PIXELS = 25_000_000  # more than A3 has at 300 dpi
POSTER_PIXELS = 9_000_000  # for larger pages, whose type is large too: engines read letters of 100 pixels badly
LINE_CERTAINTY = 0.6
SHORT_LINE_CERTAINTY = 0.75  # of a line of one or two letters: specks and ornaments are often read as such
SURE_LINE = 0.8  # from here on all words of a line are kept: print has single words that are hard to read
WORD_CERTAINTY = 0.5  # of a word in other lines, such as the chance letters of maps and drawings
PAGE_SHARE = 0.3  # of the letters seen must be in lines that are kept, or all of them are chance
MIDDLE_TONES = 0.35  # a picture with this share of pixels neither light nor dark is a photograph

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u00ad\u200b-\u200f\u2028-\u202e\ufeff]")

Word = tuple[int, int, float, float, float, float]


@dataclass(frozen=True, slots=True)
class OcrPage:
    """What OCR made of a page: its ``text``, closed by a line end, and ``words`` as in Page.words.

    ``is_sure`` is False where something may stand on the page that was not read; the page then stays as it was.
    """

    text: str
    words: tuple[Word, ...] = ()
    is_sure: bool = True

    def to_bytes(self) -> bytes:
        """Small enough to be kept while the other pages are read."""
        body = {"text": self.text, "words": self.words, "is_sure": self.is_sure}
        return zlib.compress(json.dumps(body, separators=(",", ":")).encode())

    @classmethod
    def from_bytes(cls, data: bytes) -> OcrPage:
        """The page that ``to_bytes`` was called on. Raises ValueError for bytes that are none."""
        try:
            body = json.loads(zlib.decompress(data))
            words = tuple((int(start), int(end), *map(float, box)) for start, end, *box in body["words"])
            return cls(str(body["text"]), words, bool(body["is_sure"]))  # type: ignore[arg-type]
        except (zlib.error, KeyError, TypeError) as error:
            raise ValueError(f"not a page read by OCR: {error}") from error


def to_draft(page: OcrPage, engine: str) -> bytes:
    """A page that is kept until its document is whole, with the name of the engine that has read it."""
    return engine.encode() + b"\n" + page.to_bytes()


def from_drafts(drafts: Mapping[int, bytes], engine: str) -> dict[int, OcrPage]:
    """The pages among some drafts that this engine has read; other engines' and what is no page are left out."""
    pages: dict[int, OcrPage] = {}
    mark = engine.encode() + b"\n"
    for number, body in drafts.items():
        if body.startswith(mark):
            with suppress(ValueError):
                pages[number] = OcrPage.from_bytes(body.removeprefix(mark))
    return pages


NOTHING = OcrPage("\n")
UNSURE = OcrPage("\n", (), is_sure=False)


def complete(
    document: Document,
    path: Path,
    passwords: Sequence[str],
    engine: Engine,
    *,
    have: Mapping[int, OcrPage],
    on_page: Callable[[int, OcrPage, int, int], None],
    workers: int,
) -> Document:
    """The document with its unread pages read by ``engine``, ``workers`` of them at a time.

    ``have`` are pages that were read earlier; the others are reported, as ``on_page(number, page, done, total)``, in
    the order of the document as soon as each is done. Raises ReadError when the file cannot be opened. Whatever ends
    this early, an exception of ``on_page`` too, stops the engine.
    """
    unread = document.pages_unread
    read = {number: have[number] for number in unread if number in have}
    missing = [number for number in unread if number not in read]
    if missing:
        with closing(_read(path, passwords, missing, engine, workers)) as finished:
            for number, page in finished:
                read[number] = page
                on_page(number, page, len(read), len(unread))
    return with_pages(document, read, engine.name)


def _read(
    path: Path, passwords: Sequence[str], numbers: Sequence[int], engine: Engine, workers: int
) -> Generator[tuple[int, OcrPage], None, None]:
    """Pages in order as they are read. They are drawn in this thread, no more than one ahead of the readers."""
    waiting: deque[tuple[int, Future[OcrPage]]] = deque()
    drawn = set()
    is_done = False
    with ThreadPoolExecutor(max(1, workers), "ocr") as pool:
        try:
            for picture in render_gray(path, passwords, numbers, DPI):
                drawn.add(picture.number)
                waiting.append((picture.number, pool.submit(_one, engine, bounded(picture))))
                if len(waiting) > workers:
                    number, future = waiting.popleft()
                    yield number, future.result()
            for number, future in waiting:
                yield number, future.result()
            is_done = True
        finally:
            if not is_done:
                engine.stop()
                pool.shutdown(wait=False, cancel_futures=True)
    yield from ((number, UNSURE) for number in numbers if number not in drawn)


def _one(engine: Engine, picture: Picture) -> OcrPage:
    try:
        straight, slope = straightened(picture)
        return recognised([_leant(word, slope, picture.width) for word in engine.read(straight)], picture)
    except (EngineFailed, MemoryError):
        return UNSURE


def bounded(picture: Picture) -> Picture:
    """The picture itself, or one with so many fewer dots that engines can bear it; its size in points stays."""
    size = picture.width * picture.height
    if size <= MAX_PIXELS:
        return picture
    import numpy as np

    step = math.ceil(math.sqrt(size / POSTER_PIXELS))
    width, height = picture.width // step, picture.height // step
    gray = np.frombuffer(picture.gray, np.uint8).reshape(picture.height, picture.width)
    cells = gray[: height * step, : width * step].reshape(height, step, width, step)
    return replace(picture, width=width, height=height, gray=cells.mean(axis=(1, 3)).astype(np.uint8).tobytes())


def straightened(picture: Picture) -> tuple[Picture, float]:
    """The picture with its lines level, and the slope that they had; see skew."""
    import numpy as np

    from ragapp.ingest.skew import sheared, slope_of

    gray = np.frombuffer(picture.gray, np.uint8).reshape(picture.height, picture.width)
    slope = slope_of(gray)
    return (replace(picture, gray=sheared(gray, slope).tobytes()), slope) if slope else (picture, 0.0)


def _leant(word: Seen, slope: float, width: int) -> Seen:
    """A word of a straightened picture, where it stands in the picture as it was."""
    by = ((word.x0 + word.x1) / 2 - width / 2) * slope
    return replace(word, y0=word.y0 + by, y1=word.y1 + by) if slope else word


# -- from words to a page ----------------------------------------------------------------------------------------------


def recognised(seen: Sequence[Seen], picture: Picture) -> OcrPage:
    """The page that an engine's words make, without what it was unsure of."""
    words = [replace(word, text=_clean(word.text)) for word in seen]
    lines = [list(group) for _, group in groupby((word for word in words if word.text), key=lambda word: word.line)]
    kept = [words for line in lines if (words := _sure_words(line))]
    count, count_kept = _letters(lines), _letters(kept)
    if count_kept and count_kept >= PAGE_SHARE * count:
        return _composed(kept, picture)
    return NOTHING if count == 0 or is_photograph(picture) else UNSURE


def _clean(text: str) -> str:
    return " ".join(_CONTROL.sub("", unicodedata.normalize("NFC", " ".join(text.split()))).split())


def _letters(lines: Iterable[Sequence[Seen]]) -> int:
    return sum(char.isalnum() for line in lines for word in line for char in word.text)


def _sure_words(line: Sequence[Seen]) -> list[Seen]:
    """What is kept of a line; nothing of an unsure one, or one without a letter or digit."""
    certainty = certainty_of(line)
    if certainty < (SHORT_LINE_CERTAINTY if _letters([line]) <= 2 else LINE_CERTAINTY):
        return []
    kept = [word for word in line if certainty >= SURE_LINE or word.certainty >= WORD_CERTAINTY]
    return kept if _letters([kept]) else []


def is_photograph(picture: Picture) -> bool:
    """Whether many pixels are neither as light as paper nor as dark as ink."""
    counts = [picture.gray.count(tone) for tone in range(64, 192)]
    return sum(counts) > MIDDLE_TONES * len(picture.gray)


def _composed(lines: Sequence[Sequence[Seen]], picture: Picture) -> OcrPage:
    """Text and words of a page from its lines; boxes become points."""
    across, down = picture.page_width / picture.width, picture.page_height / picture.height
    texts = [_line_text(line) for line in lines]
    known = vocabulary(["\n".join(texts)])
    parts: list[str] = []
    words: list[Word] = []
    length = 0
    for n, line in enumerate(lines):
        follows = texts[n + 1] if n + 1 < len(lines) else ""
        joins = _joins(texts[n], follows, known)
        for k, word in enumerate(line):
            if k and not word.glued:
                parts.append(" ")
                length += 1
            text = word.text[:-1] if joins == "join" and k == len(line) - 1 else word.text
            box = (word.x0 * across, word.y0 * down, word.x1 * across, word.y1 * down)
            words.append((length, length + len(text), *(round(value, 2) for value in box)))  # type: ignore[arg-type]
            parts.append(text)
            length += len(text)
        if follows and joins == "stay":
            parts.append("\n\n" if _is_apart(line, lines[n + 1], follows) else "\n")
            length += len(parts[-1])
    return OcrPage("".join(parts) + "\n", tuple(words))


def _line_text(line: Sequence[Seen]) -> str:
    return "".join(word.text if word.glued or k == 0 else f" {word.text}" for k, word in enumerate(line))


def _joins(text: str, follows: str, known: frozenset[str]) -> str:
    """What becomes of the end of a line: "join" it to the next without its hyphen, "keep" that, or "stay" a line."""
    if not follows or text[-1] not in "-‐" or not text[-2:-1].isalnum():
        return "stay"
    # On paper nearly every hyphen at a line's end breaks a word, as the marks of a typesetting program do.
    return broken(text, len(text), follows[:60], known, is_marked=True)


def _is_apart(line: Sequence[Seen], after: Sequence[Seen], follows: str) -> bool:
    """Whether an empty line belongs between two lines; a paragraph that goes on in small letters is still the same."""
    return line[-1].paragraph != after[0].paragraph and not follows[0].islower()


# -- from pages to a document ------------------------------------------------------------------------------------------


def with_pages(document: Document, read: Mapping[int, OcrPage], engine: str = "") -> Document:
    """The document with these pages' texts in place of its own, and all that points into the text moved with it.

    A page that was not read surely stays as it was, and so does one with broken text on which nothing was found.
    Headings of a replaced page are looked up in its new text; those of its outline that are not found stand at its
    top, others fall away with the letters they were made of. So do its tables.
    """
    new = {page.number: read[page.number] for page in document.pages if _is_better(page, read.get(page.number))}
    # Also where nothing was read: the same engine need not try again.
    metadata = {**document.metadata, "ocr": engine} if engine else document.metadata
    if not new:
        return replace(document, metadata=metadata)
    parts, pages = [], []
    start = 0
    for page in document.pages:
        ocr = new.get(page.number)
        text = ocr.text if ocr else document.text[page.start : page.end]
        moved = replace(page, start=start, end=start + len(text))
        pages.append(replace(moved, read_by="ocr", runs=None, words=ocr.words) if ocr else moved)
        parts.append(text)
        start += len(text)
    text = "".join(parts)
    return replace(
        document,
        text=text,
        pages=tuple(pages),
        headings=tuple(_headings(document, pages, text)),
        tables=tuple(_tables(document, pages)),
        metadata=metadata,
    )


def _is_better(page: Page, ocr: OcrPage | None) -> bool:
    if ocr is None or not ocr.is_sure or not page.is_unread:
        return False
    return page.quality != "garbled" or bool(ocr.words)


def _headings(document: Document, pages: Sequence[Page], text: str) -> Iterator[Heading]:
    found = []
    starts = [page.start for page in document.pages]
    for heading in document.headings:
        index = max(0, bisect_right(starts, heading.start) - 1)
        old, new = document.pages[index], pages[index]
        if new.read_by == old.read_by:
            found.append(replace(heading, start=heading.start + new.start - old.start))
            continue
        start = _place_of(heading.title, text, new.start, new.end)
        if start < 0 and not _is_written(heading, document.text):
            start = new.start
        if start >= 0:
            found.append(replace(heading, start=start))
    yield from sorted(found, key=lambda heading: heading.start)


def _is_written(heading: Heading, text: str) -> bool:
    """Whether the heading was made of the letters where it begins, and not of the outline."""
    return _place_of(heading.title, text, heading.start, heading.start + 2 * len(heading.title) + 8) == heading.start


def _place_of(title: str, text: str, start: int, end: int) -> int:
    """Where a title stands in a part of the text, whatever its white space and case; -1 for nowhere."""
    pattern = r"\s+".join(map(re.escape, title.split()))
    match = re.compile(pattern, re.IGNORECASE).search(text, start, end) if pattern else None
    return match.start() if match else -1


def _tables(document: Document, pages: Sequence[Page]) -> Iterator[Table]:
    for table in document.tables:
        old, new = document.pages[table.page - 1], pages[table.page - 1]
        if new.read_by == old.read_by:
            by = new.start - old.start
            rows = tuple((start + by, end + by) for start, end in table.rows)
            yield replace(table, start=table.start + by, end=table.end + by, rows=rows)
