"""What a value in a row may be: texts, numbers, yes or no, pages; anything else is wrong, and said so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, cast

HIGHEST_PAGE = 10_000_000
MOST_PAGES = 10_000  # of one range: more is a slip of the pen

_YES = frozenset(("true", "yes", "y", "1", "是", "能", "可", "可以", "可回答", "对"))
_NO = frozenset(("false", "no", "n", "0", "否", "不", "不能", "不可", "不可以", "不可回答", "错"))
_WHOLE = re.compile(r"\s*-?[0-9]{1,9}(?:\.0+)?\s*")
_PAGE = re.compile(
    r"(?:pp?\.?|pages?|第)?\s*([0-9]{1,9})\s*(?:页)?\s*(?:[-–—~～至到]\s*(?:第)?\s*([0-9]{1,9})\s*)?(?:页)?",
    re.IGNORECASE,
)
_APART = re.compile(r"\s*[,;、]\s*")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Wrong(ValueError):
    """Something in one row. ``hint`` says what to do where the shape of a question does not."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def counted(number: int, noun: str) -> str:
    """ "1 question", "1,190 questions"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def pages_of(value: object, base: int = 1) -> tuple[int, ...]:
    """Page numbers, from 1: of a number, of a text like "3-5; 8" or "第3页", or of a list of these.

    ``base`` is the number of the first page. Raises Wrong for what is no page.
    """
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(page for each in value for page in pages_of(each, base)))
    value = unicodedata.normalize("NFKC", value).strip() if isinstance(value, str) else value
    number = whole_of(value)
    if number is None and isinstance(value, str):
        return tuple(dict.fromkeys(page for part in _APART.split(value) if part for page in _range(part, base)))
    if number is None:
        raise Wrong(f"{shown(value)} is no page", 'Pages are numbers: "pages": [1, 2].')
    return (_page(number, base),)


def _range(part: str, base: int) -> range:
    match = _PAGE.fullmatch(part)
    if not match:
        raise Wrong(
            f"{shown(part)} is no page",
            "Pages are numbers from 1, like 3 or 3-5; several are set apart by semicolons.",
        )
    first, last = _page(int(match[1]), base), _page(int(match[2] or match[1]), base)
    if not first <= last < first + MOST_PAGES:
        raise Wrong(f"{shown(part)} is no range of pages", "The first page of a range comes first.")
    return range(first, last + 1)


def _page(number: int, base: int) -> int:
    if not base <= number < HIGHEST_PAGE:
        raise Wrong(
            f"there is no page {number}", 'Pages count from 1. Where they count from 0, say so by "page_base": 0.'
        )
    return number + 1 - base


def text_of(value: object, name: str) -> str:
    """A text, as it is; numbers are written out. Raises Wrong for anything else, and where nothing is written."""
    whole = isinstance(value, float) and value.is_integer()
    text = str(int(cast(float, value)) if whole else value) if _is_plain(value) else ""
    if not text.strip():
        raise Wrong(f'"{name}" is {shown(value)} and no text')
    return whole_characters(text, name)


def whole_characters(text: str, name: str) -> str:
    """The text. Raises Wrong for half of a pair of surrogates, which no file can hold."""
    if _SURROGATE.search(text):
        raise Wrong(f'"{name}" holds half a character', "A character was cut in two there: write it anew.")
    return text


def texts_of(value: object, name: str) -> tuple[str, ...]:
    """One text or several; empty ones are none."""
    several = value if isinstance(value, list | tuple) else (value,)
    return tuple(dict.fromkeys(text_of(each, name) for each in several if is_given(each)))


def is_given(value: object) -> bool:
    """Whether there is anything: no null, no blank text, no empty list."""
    return bool(value.strip()) if isinstance(value, str) else value is not None and value not in ([], ())


def plain_of(value: object, name: str) -> str:
    """A value to group by."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return whole_characters(value, name) if isinstance(value, str) else text_of(value, name)


def flag_of(value: object, name: str) -> bool:
    """Yes or no, as JSON or a spreadsheet writes it, in English or Chinese."""
    said = str(value).strip().lower() if isinstance(value, str | int) else ""
    if said not in _YES | _NO:
        raise Wrong(f'"{name}" is {shown(value)} and neither true nor false')
    return said in _YES


def whole_of(value: object) -> int | None:
    """A whole number, also one that a spreadsheet wrote as 3.0 or as "3"."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(float(value))
    return value if isinstance(value, int) else None


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def list_of(value: object, name: str) -> Sequence[Any]:
    """The value, when it is a list."""
    if not isinstance(value, list | tuple):
        raise Wrong(f'"{name}" is {shown(value)} and no list')
    return value


def object_of(value: object, name: str) -> Mapping[str, Any]:
    """The value, when it is an object."""
    if not isinstance(value, Mapping):
        raise Wrong(f'"{name}" holds {shown(value)} and no object')
    return value


def shown(value: object) -> str:
    """A value as errors quote it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
