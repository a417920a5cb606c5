"""The resolver of an answer: while a language model writes, its marks become citations and its figures are checked.

The text that comes out is the model's, with the marks in one spelling (``[1][2]`` for ``[1, 2]``) and those that name
no passage left out. Each sentence is looked up as soon as the next one begins, or the text ends. How the model's text
is cut into pieces changes nothing but the moment at which an event comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragapp.citations import Places, cite_claim
from ragapp.figures import Known, figures
from ragapp.marks import Marks
from ragapp.ports import Library
from ragapp.support import is_introduction, stripped
from ragapp.text import sentences
from ragapp.types import Citation, Cited, Event, Figure, Passage, Token

LONGEST = 2000  # characters of a sentence, after which the next word begins another
_LIST_MARK = re.compile(
    r"\s*(?:[-*•●#>|]+|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)、）]|[一二三四五六七八九十]+、)[\s*_]*"
)
_END = re.compile(r"[.!?…。！？；][\"'”’」』）)\]*_]*$")
_END_CHARS = 8  # in which an end with its quotes and brackets stands
_TAIL = 32  # items: such an end, and the gap and the marks behind it
_CJK_END = frozenset("。！？；…”’」』）*_\"'")

_Item = tuple[str, int]  # a character and 0, or a mark's spelling and its number


@dataclass(slots=True)
class _Claim:
    """Words that are said of passages, and the numbers of the marks behind them; no marks where none is named."""

    text: str
    marks: list[int]


class Resolver:
    """Reads one answer. ``passages`` are those that the model has read, by the numbers that it was told.

    ``text`` is the answer so far, ``citations`` one for each use of a mark (two where the words stand across a page's
    border), those that would say the same of the same mark left out, ``figures`` the numbers that stand in no passage
    that their sentence cites, or without a mark in no passage at all; numbers of ``question`` are not looked for.

    ``strict`` holds every sentence back until it was looked up, and leaves it out where one of its claims does not
    stand in what it cites (or, without a mark, in one of the passages).
    """

    def __init__(
        self, passages: Mapping[int, Passage], stored: Library, strict: bool = False, question: str = ""
    ) -> None:
        self.citations: list[Citation] = []
        self.figures: list[Figure] = []
        self._passages = passages
        self._stored = stored
        self._strict = strict
        self._asked = Known([question])
        self._places = Places(stored)
        self._known: dict[tuple[int, ...], Known] = {}
        self._marks = Marks(passages.keys())
        self._items: list[_Item] = []  # of the sentence that is being written, and the gap before it
        self._length = 0  # of the text that was settled before it
        self._parts: list[str] = []
        self._token = ""
        self._events: list[Event] = []
        self._gap = ""  # the largest since the last sentence that was not left out
        self._was_kept = False

    @property
    def text(self) -> str:
        """What the Tokens so far have spelled."""
        return "".join(self._parts)

    def feed(self, text: str) -> list[Event]:
        """The events that a further piece of the model's text brings; none while it must be waited for more."""
        self._take(self._marks.feed(text))
        return self._told()

    def end(self) -> list[Event]:
        """The last events; nothing may be fed afterwards."""
        self._take(self._marks.end())
        self._close(len(self._items))
        return self._told()

    def _take(self, read: list[str | int]) -> None:
        for item in read:
            if isinstance(item, int):
                self._add(f"[{item}]", item)
                continue
            for character in item:
                if not character.isspace() and self._begins_sentence(character):
                    self._close(self._border())
                self._add(character, 0)

    def _add(self, spelled: str, number: int) -> None:
        self._items.append((spelled, number))
        if not self._strict:
            self._token += spelled

    def _told(self) -> list[Event]:
        self._spell()
        events, self._events = self._events, []
        return events

    def _spell(self) -> None:
        if self._token:
            self._parts.append(self._token)
            self._events.append(Token(self._token))
            self._token = ""

    # -- sentences -----------------------------------------------------------------------------------------------

    def _begins_sentence(self, character: str) -> bool:
        """Whether a character that is no white space begins another sentence than what was written before it."""
        last = next((spelled for spelled, number in reversed(self._items) if not number), "")
        if not (last.isspace() or last in _CJK_END):
            return False
        if self._surely_goes_on():
            return False
        plain = "".join(spelled for spelled, number in self._items if not number)
        body = plain.rstrip()
        if not body.strip():
            return False
        breaks = plain.count("\n", len(body))
        if breaks:
            # One line break before a small letter is a long line that was broken.
            return breaks > 1 or not character.islower()
        return not _LIST_MARK.fullmatch(body) and _ends(plain, body, character)

    def _surely_goes_on(self) -> bool:
        """Whether the sentence's last characters alone tell that it has no end there: else each word of a long one
        would be looked at as often as words follow."""
        tail = "".join(spelled for spelled, number in self._items[-_TAIL:] if not number)
        body = tail.rstrip()
        may_end = len(body) < _END_CHARS or "\n" in tail[len(body) :] or _END.search(body, len(body) - _END_CHARS)
        return not may_end and len(self._items) <= LONGEST

    def _border(self) -> int:
        """Up to which item the sentence goes: its marks are its own, those on the next one's line are that one's."""
        kinds = [number > 0 or not spelled.isspace() for spelled, number in self._items]
        words = max(
            place for place, (spelled, number) in enumerate(self._items) if not number and not spelled.isspace()
        )
        breaks = [place for place, (spelled, _) in enumerate(self._items) if spelled == "\n" and place > words]
        own = [p for p in range(words, len(kinds)) if kinds[p] and not (breaks and p > breaks[-1])]
        return own[-1] + 1

    def _close(self, border: int) -> None:
        """The sentence is complete: look it up, and let it out where it was held back."""
        items, self._items = self._items[:border], self._items[border:]
        spelled = "".join(text for text, _ in items)
        claims = list(_claims(items))
        cited = [self._cited(claim) for claim in claims]
        start = self._length
        if self._strict:
            spelled = self._with_gap(spelled, all(map(self._is_supported, claims, cited)))
            if not spelled:
                return
            self._token += spelled
        self._length += len(spelled)
        self._spell()
        new = [citation for found in cited for citation in found]
        for citation in new:
            if not any(_is_same(citation, other) for other in self.citations):
                self.citations.append(citation)
                self._events.append(Cited(citation))
        self.figures += self._unknown_figures(
            items, start, [citation.quote for citation in new if citation.end > citation.start]
        )

    def _cited(self, claim: _Claim) -> list[Citation]:
        return [
            citation
            for number in claim.marks
            for citation in cite_claim(claim.text, self._passages[number], number, self._places, self._stored)
        ]

    def _is_supported(self, claim: _Claim, cited: Sequence[Citation]) -> bool:
        """Whether the words of a claim stand where it says; what has no words goes with the sentence before it."""
        if claim.marks:
            return any(citation.state != "not found" for citation in cited)
        if not any(map(str.isalnum, claim.text)):
            return self._was_kept
        return any(self._places.stands_in(claim.text, passage) for passage in self._passages.values())

    def _with_gap(self, spelled: str, is_kept: bool) -> str:
        """The sentence with the largest of the gaps since the last one that was kept; nothing if it is left out."""
        bare = spelled.lstrip()
        self._gap = max(self._gap, spelled[: len(spelled) - len(bare)], key=lambda gap: (gap.count("\n"), len(gap)))
        self._was_kept = is_kept and bool(bare)
        if not self._was_kept:
            return ""
        gap, self._gap = self._gap if self._length else "", ""
        return gap + bare

    # -- figures -------------------------------------------------------------------------------------------------

    def _unknown_figures(self, items: Sequence[_Item], start: int, quotes: Sequence[str]) -> Iterator[Figure]:
        """Numbers of a sentence, whose spelling begins at ``start``, that stand neither in what it cites nor quotes."""
        places: list[int] = []  # in the answer's text, of the characters that are no marks
        for spelled, number in items:
            if not number:
                places.append(start)
            start += len(spelled)
        plain = "".join(spelled for spelled, number in items if not number)
        marks = sorted({number for _, number in items if number}) or list(self._passages)
        found = list(figures(plain))
        known = [self._known_in(marks), self._asked, Known(quotes)] if found else []
        for figure in found:
            if not any(each.has(figure) for each in known):
                left, right = places[figure.start], places[figure.end - 1] + 1
                yield Figure(plain[figure.start : figure.end], left, right)

    def _known_in(self, marks: Sequence[int]) -> Known:
        key = tuple(marks)
        if key not in self._known:
            self._known[key] = Known(text for number in key for text in _told_of(self._passages[number]))
        return self._known[key]


def _ends(plain: str, body: str, character: str) -> bool:
    """Whether a sentence, ``body`` and white space, is at its end where a character follows."""
    if len(body) > LONGEST:
        return plain != body
    if not _END.search(body, max(0, len(body) - _END_CHARS)):
        return False
    bare = plain.replace("*", "")  # emphasis hides the end of a sentence
    return [start for start, _ in sentences(bare + character)][-1] == len(bare)


def _told_of(passage: Passage) -> Iterator[str]:
    """What the model was told with a passage: its text and where it stands."""
    chunk = passage.chunk
    yield from (chunk.text, chunk.header, *chunk.headings, passage.document, passage.title, passage.label)
    yield str(chunk.page)


def _is_same(one: Citation, other: Citation) -> bool:
    return (one.marker, one.start, one.end, one.quote) == (other.marker, other.start, other.end, other.quote)


def _claims(items: Sequence[_Item]) -> Iterator[_Claim]:
    """What a sentence says of which passages: the words before each group of marks, behind the last one with them.

    Where there are none but an introduction before a group ("According to [1], …"), they are those that follow.
    """
    texts, groups = [""], list[list[int]]()
    for spelled, number in items:
        if not number:
            texts[-1] += spelled
        elif groups and not any(map(str.isalnum, texts[-1])):
            groups[-1].append(number)
        else:
            groups.append([number])
            texts.append("")
    if not groups:
        yield _Claim(texts[0], [])
    for place, marks in enumerate(groups):
        before, after = texts[place], texts[place + 1]
        if is_introduction(before):
            yield _Claim(after, marks)
        elif place == len(groups) - 1 and any(map(str.isalnum, after)):
            yield _Claim(stripped(before) + after, marks)
        else:
            yield _Claim(before, marks)
