"""Marks: the ``[n]`` that a language model writes to name a passage, read out of its text while it arrives.

Standard library only. Text is held back from an opening bracket until it is clear what it is, and white space until it
is clear that no false mark follows it; all else goes through at once. How the text was cut into pieces changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

LONGEST = 48  # characters that a mark may have, brackets included
_OPENING, _CLOSING = "[［【〔", "]］】〕"
_WORDS = frozenset(
    "passage passages source sources document documents doc docs ref refs 段落 来源 文档 资料 文献".split()  # noqa: SIM905
)
_WORD = re.compile(r"[ \u00a0]?(\^|[^\W\d_]*)")
_NUMBERS = re.compile(
    r"(?!.*\d{4})[ \u00a0#:：.]{0,2}(?:\d{1,3}[ \u00a0]?(?:[,，、;；&\-–—~～]?[ \u00a0]?))*(?:†[^\]］】〕\n]*)?"
)
_RANGE = re.compile(r"(\d{1,3})[ \u00a0]?[-–—~～][ \u00a0]?(\d{1,3})|(\d{1,3})")
_SPACES = " \t\u00a0\u3000"
_PLAIN = re.compile(rf"[^{re.escape(_OPENING)}`\n]*[^{re.escape(_OPENING)}`\n{_SPACES}]")
_NO_SPACE_BEFORE = frozenset(".,;:!?)]}。，、；：！？）】」』”\n")


class Marks:
    """A reader of the marks that name one of the ``known`` numbers.

    ``feed`` and ``end`` give what is settled, in order: pieces of text, and numbers for marks. ``[1, 2]``, ``[1-3]``,
    ``[[1]]``, ``[^1]``, ``【1】``, ``[Passage 1]`` are marks like ``[1]``; one that names no passage is left out, and
    so is the space that it would leave doubled. Between back quotes, as code has them, brackets are only brackets.
    """

    def __init__(self, known: Collection[int]) -> None:
        self._known = known
        self._held = ""  # from an opening bracket on
        self._gap = ""  # white space that has not been passed on
        self._dropped = False  # whether a mark was left out since the last text
        self._last = "\n"
        self._ticks = 0
        self._quoted = False  # inside `…`
        self._fenced = False  # inside ```…```

    def feed(self, text: str) -> list[str | int]:
        if not (self._held or self._dropped or self._ticks) and _PLAIN.fullmatch(text):
            # Nearly every token of a model: nothing in it needs to be looked at letter by letter.
            settled, self._gap, self._last = self._gap + text, "", text[-1]
            return [settled]
        return _joined(item for character in text for item in self._read(character))

    def end(self) -> list[str | int]:
        """What was held back: an open bracket is text after all."""
        held, self._held = self._held, ""
        items = [item for character in held for item in self._pass(character)]
        if self._gap and not self._dropped:
            items.append(self._gap)
        self._gap = ""
        return _joined(iter(items))

    def _read(self, character: str) -> Iterator[str | int]:
        if not self._held:
            if character in _OPENING and not self._in_code():
                self._held = character
            else:
                yield from self._pass(character)
            return
        self._held += character
        numbers = _numbers(self._held)
        if numbers is not None:
            self._held = ""
            yield from self._mark(numbers)
        elif not _may_become_mark(self._held):
            held, self._held = self._held, ""
            yield from self._pass(held[0])
            for each in held[1:]:
                yield from self._read(each)

    def _pass(self, character: str) -> Iterator[str]:
        """Text that is no mark: white space waits for what follows it."""
        if character in _SPACES:
            self._settle_ticks()
            if not (self._dropped and (self._gap or self._last == "\n")):
                self._gap += character
            return
        if self._dropped and character in _NO_SPACE_BEFORE:
            self._gap = ""
        yield self._gap + character
        self._gap, self._dropped, self._last = "", False, character
        self._look_for_code(character)

    def _mark(self, numbers: list[int]) -> Iterator[str | int]:
        known = [number for number in dict.fromkeys(numbers) if number in self._known]
        if not known:
            self._dropped = True
            return
        if self._gap:
            yield self._gap
        yield from known
        self._gap, self._dropped, self._last = "", False, "]"

    def _look_for_code(self, character: str) -> None:
        if character == "`":
            self._ticks += 1
            return
        self._settle_ticks()
        if character == "\n":
            self._quoted = False

    def _settle_ticks(self) -> None:
        if self._ticks >= 3:
            self._fenced = not self._fenced
        elif self._ticks and not self._fenced:
            self._quoted = not self._quoted
        self._ticks = 0

    def _in_code(self) -> bool:
        self._settle_ticks()
        return self._quoted or self._fenced


def _numbers(held: str) -> list[int] | None:
    """The numbers of a complete mark; None where the text is none."""
    depth = 2 if len(held) > 1 and held[1] in _OPENING else 1
    body, closing = held[depth:-depth], held[-depth:]
    if len(held) <= 2 * depth or any(c not in _CLOSING for c in closing) or any(c in _CLOSING for c in body):
        return None
    word = _WORD.match(body)
    rest = body[word.end() :] if word else body
    if (word and word[1] not in ("", "^") and word[1].casefold() not in _WORDS) or not _NUMBERS.fullmatch(rest):
        return None
    numbers: list[int] = []
    for first, last, alone in _RANGE.findall(rest.partition("†")[0]):
        low, high = (int(alone), int(alone)) if alone else (int(first), int(last))
        numbers += range(low, high + 1) if low <= high else (low, high)
    return numbers or None


def _may_become_mark(held: str) -> bool:
    """Whether more text could complete a mark."""
    depth = 2 if held[1] in _OPENING else 1
    body = held[depth:]
    if len(held) > LONGEST:
        return False
    if depth == 2 and body and body[-1] in _CLOSING:
        body = body[:-1]
    word = _WORD.match(body)
    name, rest = (word[1].casefold(), body[word.end() :]) if word else ("", body)
    if not rest:
        return not name or name == "^" or any(known.startswith(name) for known in _WORDS)
    return (name in ("", "^") or name in _WORDS) and _NUMBERS.fullmatch(rest) is not None


def _joined(items: Iterator[str | int]) -> list[str | int]:
    """The items with neighbouring pieces of text made one."""
    joined: list[str | int] = []
    for item in items:
        if isinstance(item, str) and joined and isinstance(joined[-1], str):
            joined[-1] += item
        else:
            joined.append(item)
    return joined
