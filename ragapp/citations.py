"""Quotes and their places: is it there, word for word, and on which page.

A quote is looked for with white space, soft hyphens and hyphens at line ends left out and ligatures spelled, and in no
other way loosened: what is called verified stands on the page.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragapp.ports import Library
from ragapp.text import SOFT_HYPHEN, collapse
from ragapp.types import Citation, CitationState, Passage

MARKER = re.compile(r"\[(\d{1,3})\]")
_QUOTED = re.compile(r"[“\"「『]([^“”\"「」『』]{8,})[”\"」』]")
_SKIPPED = frozenset(SOFT_HYPHEN + "\u200b\u2060\ufeff")
_ALIKE = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "–": "-", "—": "-", "−": "-"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a quote was found: offsets into the document's text, empty when it was not."""

    state: CitationState
    start: int
    end: int


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


def locate(quote: str, passage: Passage, library: Library) -> Place:
    """Look for a quote in its passage first, then in the rest of the passage's document."""
    chunk = passage.chunk
    span = find(quote, chunk.text)
    if span is not None:
        return Place("verified", chunk.start + span[0], chunk.start + span[1])
    span = find(quote, library.text_of(chunk.document_id))
    if span is not None:
        return Place("elsewhere", *span)
    return Place("not found", chunk.start, chunk.start)


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


def cite_claims(text: str, passages: Sequence[Passage], library: Library) -> list[Citation]:
    """The citations of a written answer: for every first use of a marker ``[n]`` the words before it, looked up.

    ``n`` counts the passages from 1; markers that name none are left alone. Where the sentence has words between
    quotation marks, they are the quote; else the sentence itself is, and it is verified only if it stands there so.
    """
    citations: dict[int, Citation] = {}
    for marker, claim in _claims(text):
        if not 1 <= marker <= len(passages) or marker in citations:
            continue
        passage = passages[marker - 1]
        quoted = _QUOTED.findall(claim)
        quote = quoted[-1] if quoted else claim.strip(" \t\n.,;:。，；：")
        place = locate(quote, passage, library)
        page = (
            library.page_at(passage.chunk.document_id, place.start) if place.end > place.start else passage.chunk.page
        )
        citations[marker] = Citation(marker, passage, collapse(quote), place.state, page, place.start, place.end)
    return list(citations.values())


def _claims(text: str) -> Iterator[tuple[int, str]]:
    """Markers in order with the words of the sentence before them, other markers left out."""
    for match in MARKER.finditer(text):
        before = MARKER.sub("", text[: match.start()]).rstrip()
        # The sentence may end before its markers ("… 42 litres. [1]"), so its own full stop is not a border.
        border = max(
            before.rfind(mark, 0, max(0, len(before) - 1)) for mark in (". ", "! ", "? ", "\n", "。", "！", "？")
        )
        yield int(match.group(1)), before[border + 1 :].strip()


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
        for folded in _spelled(character).translate(_ALIKE):
            if not folded.isspace():
                out.append(folded)
                places.append((place, place + 1))
    return "".join(out), places
