"""Whether the text that a page of a PDF holds is the text that a reader sees on it. Pure: characters and counts.

A page is called garbled only on strong signs, for a good page that is read again by OCR loses more than a bad one that
is not: characters that no text holds, a font that names no characters, words that no language makes. What is not
seen: a substitution that gives plausible words, and a page of which only a small part is broken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ragapp.types import PageQuality

STAMP = 40  # letters and digits of a stamp or a page number on a picture that takes half of the page
WATERMARK = 120  # the same on a picture that fills the page: "Downloaded from … on …"

SAMPLE = 20_000  # characters of a page that are looked at

_SPACE_LIKE = re.compile(r"[\s\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\ufffe\x02]+")
_NO_CHARACTER = re.compile(
    r"[\x00-\x01\x03-\x08\x0e-\x1b\x7f-\x9f\ud800-\udfff\ue000-\uf8ff\ufffd\uffff\U000f0000-\U0010ffff]"
)
_CID = re.compile(r"\(cid:\d+\)")
_RUN = re.compile(r"(.)\1{3,}")
_WORDS_AND_SPACE = re.compile(r"[\w\s]+")
_SMALL_LETTERS = re.compile(r"[a-z]{3,}")
_OF_NUMBERS = frozenset("$€£¥%()+-.,:/*†‡–—−")
_WORD = re.compile(r"[^\W\d_]{4,25}")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"[a-z\u00df-\u024f\u1e00-\u1eff]+")
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")
# What words of one script may hold beside it: Kana with Han, accents and the letters of formulas with anything.
_ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "HANGUL": "CJK", "KATAKANA-HIRAGANA": "CJK", "BOPOMOFO": "CJK"}
_ANY_SCRIPT = frozenset((
    "MATHEMATICAL", "MODIFIER", "SUPERSCRIPT", "SUBSCRIPT", "GREEK", "MICRO", "FEMININE", "MASCULINE", "DOUBLE-STRUCK",
    "SCRIPT", "BLACK-LETTER", "KELVIN", "ANGSTROM", "OHM",
))  # fmt: skip


class Facts(Protocol):
    """What is drawn on a page, as quality_of asks for it; PageFacts is one."""

    @property
    def images(self) -> int: ...
    @property
    def image_share(self) -> float: ...
    @property
    def drawn(self) -> int: ...
    @property
    def unmapped(self) -> int: ...
    @property
    def sampled(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What is drawn on a page: ``objects`` in all, ``images`` among them and the share of the page that they cover
    (0 to 1), and ``drawn``, the paths and shadings. Of ``sampled`` characters ``unmapped`` had no place in Unicode.
    """

    objects: int = 0
    images: int = 0
    image_share: float = 0.0
    unmapped: int = 0
    sampled: int = 0
    drawn: int = 0


def quality_of(text: str, facts: Facts) -> PageQuality:
    """What the page's own text is worth: "good", "garbled", "empty" (nothing drawn), "image" (a picture without text,
    or with no more text than a stamp).
    """
    text = text[:SAMPLE]
    visible = _SPACE_LIKE.sub("", text)
    if facts.image_share >= 0.5:
        letters = sum(map(str.isalnum, visible))
        if letters < (WATERMARK if facts.image_share >= 0.85 else STAMP):
            return "image"
    if visible and _is_garbled(text, visible, facts):
        return "garbled"
    if not any(map(str.isalnum, visible)) and (facts.images or facts.drawn):
        return "image"
    return "good" if visible else "empty"


def _is_garbled(text: str, visible: str, facts: Facts) -> bool:
    return (
        (facts.sampled >= 8 and facts.unmapped >= 0.5 * facts.sampled)
        or _has_no_characters(text, visible)
        or _is_symbols(text, visible)
        or _is_unpronounceable(text)
        or (not text.isascii() and (_mixes_scripts(text) or _is_rare_han(text)))
    )


def _has_no_characters(text: str, visible: str) -> bool:
    """Codes that no text holds: private use, controls, replacement marks, pdfminer's "(cid:12)".

    A bullet of a symbol font is a private character on many good pages, so few kinds count only in numbers.
    """
    bad = _NO_CHARACTER.findall(visible)
    if not any(map(str.isalnum, visible)):
        bad += [char for char in visible if char in "□?"]
    cids = sum(len(match.group()) for match in _CID.finditer(text))
    limit = 0.1 if len(set(bad)) >= 5 else 0.3
    return (len(bad) >= 4 and len(bad) > limit * len(visible)) or cids > 0.1 * len(visible)


def _is_symbols(text: str, visible: str) -> bool:
    """Whether signs of many kinds stand where letters should: ``"7+%-``, as fonts give it that number their glyphs.

    Rows of dots, rules and drawings made of letters have few kinds of signs, tables those that stand by numbers; code
    and formulas hold words in small letters.
    """
    if len(_WORDS_AND_SPACE.sub("", text)) < 0.25 * len(visible):
        return False
    words = [word for word in _RUN.sub(r"\1", text).split() if len(word) >= 4]
    strange = [word for word in words if _is_strange(word)]
    strange_size, size = sum(map(len, strange)), sum(map(len, words))
    if len(visible) <= 20 and visible.isascii() and sum(map(str.isalnum, visible)) <= 3:
        return bool(strange) and strange_size == size
    kinds = {char for word in strange for char in word if not char.isalnum() and char not in _OF_NUMBERS}
    plain = sum(map(len, _SMALL_LETTERS.findall(text)))
    return len(kinds) >= 5 and strange_size > 0.5 * size and plain < 0.15 * len(visible)


def _is_strange(word: str) -> bool:
    """A word of three kinds of signs or more, which are more than half of it."""
    signs = [char for char in word if not char.isalnum()]
    return len(set(signs)) >= 3 and len(signs) > 0.5 * len(word)


def _is_unpronounceable(text: str) -> bool:
    """Whether many of the letters of Latin words stand in rows of five and more consonants.

    In pages of languages written with Latin letters it is less than one in twenty, for a shifted or shuffled alphabet
    from a fifth to a half; a few hard words may chance to stand together, so short texts are given more room.
    Acronyms, codes with digits inside and words of mixed case (base64) are not words.
    """
    if sum(map(len, _CONSONANTS.findall(text.lower()))) < 25:
        return False
    total = hard = 0
    rows: set[str] = set()
    for token in text.split():
        if len(token) > 40 or any(map(str.isdigit, token[1:])):
            continue
        for word in _latin_words(token):
            total += len(word)
            found = _CONSONANTS.findall(word)
            hard += sum(map(len, found))
            rows.update(row[:5] for row in found)
    return total >= 100 and len(rows) >= 4 and hard > (0.18 if total >= 300 else 0.45) * total


def _latin_words(token: str) -> Iterable[str]:
    """Words of a token in small letters with their accents taken off, those of mixed case left out."""
    for match in _WORD.finditer(token):
        word = match.group()
        if (word.islower() or word.isupper() or word[1:].islower()) and _LATIN.fullmatch(word.lower()):
            plain = unicodedata.normalize("NFD", word.lower())
            yield "".join(char for char in plain if not unicodedata.combining(char))


def _mixes_scripts(text: str) -> bool:
    """Whether a third of the words that are not Latin hold letters of two scripts or more, as no language has them."""
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    mixed = sum(len(_scripts(word)) > 1 for word in words)
    return mixed >= 8 and mixed > len(_WORD.findall(text)) / 3


def _scripts(word: str) -> set[str]:
    found = set()
    for char in word:
        name = unicodedata.name(char, "").partition(" ")[0]
        if name not in _ANY_SCRIPT:
            found.add(_ONE_SCRIPT.get(name, name))
    # Names and units in Latin letters stand inside Chinese and Japanese text without a space.
    return {"CJK"} if found <= {"CJK", "LATIN", "FULLWIDTH", "HALFWIDTH", "IDEOGRAPHIC"} and "CJK" in found else found


def _is_rare_han(text: str) -> bool:
    """Whether most Chinese characters are rare in each of simplified, traditional and Japanese writing.

    The common ones are those of GB 2312, of Big5's first level and of JIS X 0208: a quarter to a third of the block
    from which a broken map draws, and nearly all of what people write.
    """
    han = _HAN.findall(text)
    if len(han) < 30:
        return False
    common = max(sum(map(known, han)) for known in (_in_gb2312, _in_big5, _in_jis))
    return common < 0.6 * len(han)


def _in_gb2312(char: str) -> bool:
    return bool(char.encode("gb2312", "ignore"))


def _in_big5(char: str) -> bool:
    code = char.encode("big5", "ignore")
    return bool(code) and code[0] <= 0xC6


def _in_jis(char: str) -> bool:
    return bool(char.encode("shift_jis", "ignore"))
