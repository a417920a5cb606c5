"""Quotes and claims and their places: does it stand there, word for word, and on which page.

A quote is looked for with white space, soft hyphens and hyphens at line ends left out and ligatures spelled, and in no
other way loosened. A claim, a sentence that somebody wrote about a passage, is borne out as support.py says. What is
called verified stands on the page, and was compared with the stored pages.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ragapp.ports import Library
from ragapp.support import Text, anchors, is_frame
from ragapp.text import SOFT_HYPHEN, collapse
from ragapp.types import Citation, CitationState, Passage

REACH = 6000  # characters around a passage in which the borders of its pages are looked for
ANCHORS = 3  # telling words of a claim of which the rarest is looked for in a whole document
PLACES = 2000  # at which it is looked for
READ = 8  # of these, where the other words stand near, so many are read
AROUND = 200  # characters around such a place, besides twice the claim's own length
_QUOTED = re.compile(r"[“\"「『]([^“”\"「」『』]{8,})[”\"」』]")
_LIST_MARK = re.compile(r"^(?:[-*#>|•]+ )+")
_INSIDE_WORD = re.compile(r"[A-Za-z0-9]{2}")
_SKIPPED = frozenset(SOFT_HYPHEN + "\u200b\u2060\ufeff")
_ALIKE = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "–": "-", "—": "-", "−": "-"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a claim stands: offsets into the document's text; empty, at the nearest sentence, when it was not found."""

    state: CitationState
    start: int
    end: int


class Places:
    """Looks claims up in the passages of one answer, their pages and their documents; each is read once.

    A claim with words between quotation marks stands where all of these stand literally, if nothing is said around
    them but that somebody says so; any other claim stands where support.py finds it.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._texts: dict[str, Text] = {}
        self._pages: dict[tuple[str, int, int], tuple[int, Text]] = {}
        self._documents: dict[str, tuple[str, str]] = {}  # and in small letters

    def locate(self, claim: str, passage: Passage) -> Place:
        """Look in the passage, on the rest of its pages ("verified"), then in its document ("elsewhere")."""
        chunk = passage.chunk
        span = _stands(claim, self._passage(passage))
        if span is not None:
            start, end = chunk.start + span[0], chunk.start + span[1]
            # So that what is called verified was looked up in the pages, and not in a copy.
            if self._library.words(chunk.document_id, start, end) == chunk.text[span[0] : span[1]]:
                return Place("verified", start, end)
        start, page = self._page(passage)
        span = _stands(claim, page)
        if span is not None:
            return Place("verified", start + span[0], start + span[1])
        found = self._elsewhere(claim, chunk.document_id)
        if found is not None:
            return Place("elsewhere", *found)
        at = chunk.start + self._passage(passage).nearest(claim)
        return Place("not found", at, at)

    def stands_in(self, claim: str, passage: Passage) -> bool:
        """Whether a claim stands in a passage itself."""
        return _stands(claim, self._passage(passage)) is not None

    def _passage(self, passage: Passage) -> Text:
        return self._text(passage.chunk.text)

    def _page(self, passage: Passage) -> tuple[int, Text]:
        """The pages that the passage touches, as far as ``REACH``, and where they begin."""
        chunk = passage.chunk
        key = (chunk.document_id, chunk.start, chunk.end)
        if key not in self._pages:
            parts = self._library.page_parts(chunk.document_id, max(0, chunk.start - REACH), chunk.end + REACH)
            touched = [(left, right) for _, left, right in parts if left < chunk.end and right > chunk.start]
            start = min((left for left, _ in touched), default=0)
            end = max((right for _, right in touched), default=0)
            self._pages[key] = start, self._text(self._library.words(chunk.document_id, start, end))
        return self._pages[key]

    def _text(self, text: str) -> Text:
        if text not in self._texts:
            self._texts[text] = Text(text)
        return self._texts[text]

    def _elsewhere(self, claim: str, document_id: str) -> tuple[int, int] | None:
        """The claim's place in the whole document, looked for where its most telling words stand together."""
        if document_id not in self._documents:
            whole = self._library.text_of(document_id)
            low = whole.lower()
            # A few letters become two when they are made small, and the offsets would be others.
            self._documents[document_id] = whole, low if len(low) == len(whole) else whole
        whole, low = self._documents[document_id]
        telling = [word.lower() for word in anchors(claim)]
        if not telling or not all(word in low for word in telling):
            return None
        rarest = min(telling[:ANCHORS], key=low.count)
        reach, read = AROUND + 2 * len(claim), 0
        at = low.find(rarest)
        for _ in range(PLACES):
            if at < 0 or read == READ:
                break
            start, end = max(0, at - reach), at + reach
            if all(word in low[start:end] for word in telling):
                read += 1
                span = _stands(claim, Text(whole[start:end]))
                if span is not None:
                    return start + span[0], start + span[1]
            at = low.find(rarest, at + 1)
        return None


def find(quote: str, text: str) -> tuple[int, int] | None:
    """The span of the quote's first occurrence in a text, or None."""
    # A hyphen at a line's end belongs to the word ("well-known") or to the line ("exam-ple"): both are tried.
    for dropped in (True, False):
        wanted, _ = _folded(quote, dropped)
        folded, places = _folded(text, dropped)
        at = folded.find(wanted) if wanted else -1
        if at >= 0:
            return places[at][0], places[at + len(wanted) - 1][1]
    return None


def cite_span(passage: Passage, start: int, end: int, first_marker: int, library: Library) -> list[Citation]:
    """Citations of the document's own words at a span: one for every page it touches, markers counting up.

    The words are compared with the stored pages, so that what is called verified was looked up and not assumed.
    """
    citations: list[Citation] = []
    chunk = passage.chunk
    for number, left, right in library.page_parts(chunk.document_id, start, end):
        words = chunk.text[left - chunk.start : right - chunk.start]
        quote = collapse(words)
        if not quote:
            continue
        found = library.words(chunk.document_id, left, right) == words
        state: CitationState = "verified" if found else "not found"
        marker = first_marker + len(citations)
        citations.append(Citation(marker, passage, quote, state, number, left, right if found else left))
    return citations


def cite_claim(claim: str, passage: Passage, marker: int, places: Places, library: Library) -> list[Citation]:
    """The citations of a claim by one marker: one for every page that the words which bear it out touch.

    The quote is what stands in the document; where nothing was found it is the claim itself, with the page of the
    sentence that comes nearest to it.
    """
    document_id = passage.chunk.document_id
    place = places.locate(claim, passage)
    if place.end == place.start:
        page = library.page_at(document_id, place.start) or passage.chunk.page
        quote = _LIST_MARK.sub("", collapse(claim)).strip(" .,;:*|。，；：")
        return [Citation(marker, passage, quote, place.state, page, place.start, place.end)]
    own = {page for page, *_ in library.page_parts(document_id, passage.chunk.start, passage.chunk.end)}
    citations: list[Citation] = []
    for page, left, right in library.page_parts(document_id, place.start, place.end):
        quote = collapse(library.words(document_id, left, right))
        if quote:
            state: CitationState = "verified" if page in own else "elsewhere"
            citations.append(Citation(marker, passage, quote, state, page, left, right))
    return citations


def _stands(claim: str, text: Text) -> tuple[int, int] | None:
    """The span of a claim's words in a text: of its longest quotation, else of the claim."""
    quoted = sorted(_QUOTED.findall(claim), key=len, reverse=True)
    spans = [_whole_words(quote.strip(" ,.，。"), text.text) for quote in quoted]
    if quoted and all(spans) and is_frame(_QUOTED.sub(" ", claim)):
        return spans[0]
    return text.find(claim)


def _whole_words(quote: str, text: str) -> tuple[int, int] | None:
    """The span of a quote that neither begins nor ends inside a word."""
    span = find(quote, text)
    if span is None or any(_INSIDE_WORD.match(text, max(0, border - 1)) for border in span if border):
        return None
    return span


def _spelled(character: str) -> str:
    """The character in plain form: ligatures as letters, wide forms as narrow ones.

    Raised, lowered and circled figures stay what they are: 10² is not 102.
    """
    if unicodedata.decomposition(character).startswith(("<super>", "<sub>", "<circle>", "<fraction>")):
        return character
    return unicodedata.normalize("NFKC", character)


def _folded(text: str, drop_hyphens: bool) -> tuple[str, list[tuple[int, int]]]:
    """The text without what may differ, and for each of its characters the span it came from."""
    out: list[str] = []
    places: list[tuple[int, int]] = []
    for place, character in enumerate(text):
        if character.isspace() or character in _SKIPPED:
            continue
        if drop_hyphens and character in "-‐‑" and text[place + 1 : place + 3].strip(" \t").startswith("\n"):
            continue
        if out and unicodedata.combining(character):
            # An accent behind its letter and the letter that has it are the same text.
            letter = unicodedata.normalize("NFC", out[-1] + character)
            if len(letter) == 1:
                out[-1], places[-1] = letter, (places[-1][0], place + 1)
                continue
        if character.isascii():
            out.append(character)
            places.append((place, place + 1))
            continue
        for folded in _spelled(character).translate(_ALIKE):
            if not folded.isspace():
                out.append(folded)
                places.append((place, place + 1))
    return "".join(out), places
