"""Figures: the numbers, dates, amounts and percentages of a text, and whether they stand in another one.

Standard library only. "1,204" is 1204, "12 %" is 12%, "$4.2 million" is 4,200,000, "三千二百" is 3200, "3月" and
"March" are 3. Units and currencies are not compared, and nothing is rounded or added up: a figure that was computed,
however rightly, stands nowhere. A percentage wants a percentage, or a bare number where the text has a % for it
elsewhere (the head of a table); an amount in millions likewise. Numerals written as words are known in the text and not
looked for in the answer ("one of them").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

_GREATER = {
    "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "mn": 10**6, "bn": 10**9,
    "十": 10, "百": 10**2, "千": 10**3, "万": 10**4, "十万": 10**5, "百万": 10**6, "千万": 10**7, "亿": 10**8,
    "十亿": 10**9, "百亿": 10**10, "千亿": 10**11, "万亿": 10**12,
}  # fmt: skip
_TIMES = "|".join(sorted(_GREATER, key=len, reverse=True))
_DIGITS = re.compile(
    rf"(?P<number>\d+(?:[.,]\d+)*)(?:(?P<gap>\s?)(?P<times>{_TIMES})(?![a-z]))?"
    r"(?P<percent>\s?[%％]|[\s-]per\s?cent\b|\s?pct\b|\s?个百分点)?",
    re.IGNORECASE,
)
_CJK_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_CJK_STEPS = {"十": 10, "百": 100, "千": 1000}
_CJK_RUN = re.compile(
    r"(?P<share>百分之)?(?P<number>[零〇一二两三四五六七八九十百千万亿]+(?:点[零〇一二三四五六七八九]+)?)"
)
LONGEST_CJK = 64  # characters of a numeral; Python itself refuses to spell numbers of some thousand digits
_CJK_UNIT = re.compile(r"[年月日号岁元倍时点%％]")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_PLAIN = re.compile(r"\d+(?:\.\d+)?")
_LIST_MARK = re.compile(
    r"^[ \t>*•#-]*(?:\(?\d{1,3}[.)、．）](?!\d)|[（(]?[一二三四五六七八九十]+[、)）])", re.MULTILINE
)
_NUMBERED = re.compile(r"(?:passages?|sources?|documents?|段落|文档|来源|资料)\s*$|第$", re.IGNORECASE)
_LISTED = re.compile(r"[，,、：:]|$")
_PERCENT_SIGN = re.compile(r"(?<!\d)\s?[%％]|(?<!\d)[ -]per\s?cent|\bpercentage", re.IGNORECASE)
_UNITS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
    """.split()  # noqa: SIM905  a list of words is read as a text
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()  # noqa: SIM905
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905
_MONTH = re.compile(
    r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)(?:uary|ruary|ch|il|e|y|ust|t|tember|ober|ember)?\b",
    re.IGNORECASE,
)
_WORD_NUMBER = re.compile(
    rf"\b({'|'.join(_TENS)})(?:[\s-]({'|'.join(_UNITS[1:10])}))?\b|\b({'|'.join(_UNITS)})\b|\b({'|'.join(_ORDINALS)})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number at ``text[start:end]``: ``value`` is as written, ``times`` what a word behind it multiplies it by."""

    value: str
    start: int
    end: int
    times: int = 1
    is_percent: bool = False

    @property
    def amount(self) -> str:
        """The value multiplied, in one form for all spellings."""
        return self.value if self.times == 1 else _plain(Decimal(self.value) * self.times)


class Known:
    """The numbers of some texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._amounts: set[str] = set()
        self._percents: set[str] = set()
        self._times: set[int] = set()
        self._has_percent_sign = False
        for text in texts:
            self._read(text)

    def has(self, number: Number) -> bool:
        """Whether the number stands in one of the texts."""
        if number.is_percent:
            return number.value in self._percents or (self._has_percent_sign and number.value in self._amounts)
        if number.amount in self._amounts or number.amount in self._percents:
            return True
        # A table in millions holds "4.2", and says "in millions" once.
        return number.times in self._times and number.value in self._amounts

    def _read(self, text: str) -> None:
        for number in (*_in_digits(text), *_in_cjk(text)):
            (self._percents if number.is_percent else self._amounts).add(number.amount)
        self._amounts.update(_in_words(text))
        self._has_percent_sign |= _PERCENT_SIGN.search(text) is not None
        low = text.lower()
        self._times.update(times for word, times in _GREATER.items() if times >= 1000 and word in low)


def figures(text: str) -> Iterator[Number]:
    """The numbers that a text claims, in order; the marks of its lists and "passage 2" are none.

    Chinese numerals count where they are more than one character or stand before a unit: 一个 is no figure.
    """
    skipped = [match.span() for match in _LIST_MARK.finditer(text)]
    found = [*_in_digits(text), *(number for number in _in_cjk(text) if _is_figure(text, number))]
    for number in sorted(found, key=lambda each: each.start):
        if any(start <= number.start < end for start, end in skipped):
            continue
        before = _NUMBERED.search(text, max(0, number.start - 12), number.start)
        if before and (before.group() != "第" or _LISTED.match(text, number.end)):
            continue
        yield number


def _in_digits(text: str) -> Iterator[Number]:
    for match in _DIGITS.finditer(text):
        times = (match["times"] or "").lower()
        # "5 十" is none; with a space only words multiply.
        if times and match["gap"] and not times.isascii():
            times = ""
        value = _canonical(match["number"])
        factor = _GREATER.get(times, 1) if _PLAIN.fullmatch(value) else 1
        end = match.end() if match["percent"] or factor > 1 else match.end("number")
        yield Number(value, match.start(), end, factor, bool(match["percent"]))


def _in_cjk(text: str) -> Iterator[Number]:
    for match in _CJK_RUN.finditer(text):
        value = _cjk_value(match["number"])
        if value is not None and not text[match.start() - 1 : match.start()].isdigit():
            yield Number(_plain(value), *match.span(), 1, bool(match["share"]))
        # 九千瓦 may be nine kilowatts.
        short = match["number"].rstrip("十百千万亿")
        if short != match["number"] and (value := _cjk_value(short)) is not None:
            yield Number(_plain(value), match.start(), match.end(), 1, bool(match["share"]))


def _is_figure(text: str, number: Number) -> bool:
    run = text[number.start : number.end]
    # The other reading of 九千瓦 is one of the text that is looked in, and no figure of its own.
    if run[-1] in "十百千万亿" and _plain(_cjk_value(run) or Decimal(-1)) != number.value:
        return False
    return len(run) > 1 or (run not in "一两零" and _CJK_UNIT.match(text, number.end) is not None)


def _in_words(text: str) -> Iterator[str]:
    for tens, unit, alone, ordinal in _WORD_NUMBER.findall(text):
        if tens:
            yield str(20 + 10 * _TENS.index(tens.lower()) + (_UNITS.index(unit.lower()) if unit else 0))
        else:
            yield str(_UNITS.index(alone.lower()) if alone else _ORDINALS.index(ordinal.lower()) + 1)
    for month in _MONTH.findall(text):
        yield str(_MONTHS.index(month.lower()) + 1)


def _canonical(digits: str) -> str:
    """One spelling for a number: no thousands' commas, no idle zeros; "4,2" and "1.2.3" stay as they are."""
    narrow = "".join(str(int(c)) if c.isdigit() else c for c in digits)
    if _THOUSANDS.fullmatch(narrow):
        narrow = narrow.replace(",", "")
    return _plain(Decimal(narrow)) if _PLAIN.fullmatch(narrow) else narrow


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _cjk_value(run: str) -> Decimal | None:
    """The value of Chinese numerals, read by digits (二〇二〇) or by steps (三千二百); None for what is neither or too
    long to be a number.
    """
    if len(run) > LONGEST_CJK:
        return None
    whole, _, fraction = run.partition("点")
    if whole and all(c in _CJK_DIGITS for c in whole):
        total = int("".join(str(_CJK_DIGITS[c]) for c in whole))
    else:
        steps = _by_steps(whole)
        if steps is None:
            return None
        total = steps
    return Decimal(f"{total}.{''.join(str(_CJK_DIGITS[c]) for c in fraction)}" if fraction else total)


def _by_steps(run: str) -> int | None:
    total = section = 0
    digit: int | None = None
    last = 10**9
    for character in run:
        if character in _CJK_DIGITS:
            if digit not in (None, 0):
                return None
            digit = _CJK_DIGITS[character]
        elif character in _CJK_STEPS:
            step = _CJK_STEPS[character]
            if step >= last or (digit is None and character != "十"):
                return None
            section += (1 if digit is None else digit) * step
            digit, last = None, step
        else:
            section += digit or 0
            if not section and not total:
                return None
            factor = _GREATER[character]
            total = (total + section) * factor if character == "亿" else total + section * factor
            section, digit, last = 0, None, 10**9
    return total + section + (digit or 0) if run else None
