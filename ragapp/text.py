"""Text, as characters: sentences, white space, scripts. Standard library only; offsets always survive.

Sentence ends follow the punctuation of English and Chinese. A line break inside a paragraph is white space; an empty
line, or a line that ends clearly short of a full sentence before a line that begins like a heading or list item,
ends a sentence. A line with tabs between its words is the row of a table, and a sentence of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

SOFT_HYPHEN = "\u00ad"
CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
)

NO_ANSWER_EN = "This is not in your documents."
NO_ANSWER_ZH = "您的文档中没有这方面的内容。"

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA_OR_HANGUL = re.compile(r"[\u3040-\u30ff\u3130-\u318f\uac00-\ud7af]")
_CJK_CHAR = re.compile(f"[{CJK}]")
_BROKEN_WORD = re.compile(f"{SOFT_HYPHEN}[ \t]*\n[ \t]*")
_SPACE = re.compile(r"\s+")
_CJK_GAP = re.compile(f"(?<=[{CJK}，。、；：？！“”（）]) (?=[{CJK}，。、；：？！“”（）])")
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
# Only from the start of a run of spaces: from every space of a long one it would take quadratic time.
_LINE_BREAK = re.compile(r"(?<![ \t])[ \t]*\n[ \t]*")
_BULLET = re.compile(r"(?:[•●○▪■◦‣–—*\uf0b7-]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)]|第[一二三四五六七八九十百\d]+[章节条])\s")
_ENDING = re.compile(r"(?:[。！？；…]+[”’」』）)\"']*)|(?:[.!?]+[\"'”’)\]]*(?:\[\d+\])*(?=\s|$))")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|Gen|Col|Sgt|Rev|Hon|vs|etc|e\.g|i\.e|cf|al|Fig|Figs|Eq|Sec|Sect|Art|No|Nos|"
    r"Vol|vol|pp?|ed|eds|approx|Inc|Ltd|Co|Corp|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|a\.m|p\.m|U\.S|Ph\.D)"
    r"|\b[A-Z])\.$"
)


def has_cjk(text: str) -> bool:
    return _CJK_CHAR.search(text) is not None


def no_answer(question: str) -> str:
    """The sentence that says the library does not hold the answer, in the question's language."""
    return NO_ANSWER_ZH if is_chinese(question) else NO_ANSWER_EN


def is_chinese(text: str) -> bool:
    """Whether the text has Chinese characters and none of the scripts that Japanese and Korean add to them."""
    return _HAN.search(text) is not None and _KANA_OR_HANGUL.search(text) is None


def join_broken(text: str) -> str:
    """The text with words that a line's end had broken made whole again."""
    return _BROKEN_WORD.sub("", text).replace(SOFT_HYPHEN, "")


def collapse(text: str) -> str:
    """The text on one line, for showing: words broken at a line's end joined, white space single, none between CJK."""
    return _CJK_GAP.sub("", _SPACE.sub(" ", join_broken(text)).strip())


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Spans of the sentences of ``text[start:end]``, in order, without the white space around them.

    The spans hold every character that is not white space.
    """
    end = len(text) if end is None else end
    rows = dict(_table_rows(text, start, end))
    for block_start, block_end in _blocks(text, start, end, rows):
        if rows.get(block_start) == block_end:
            yield from trimmed(text, block_start, block_end)
        else:
            yield from _sentences_of_block(text, block_start, block_end)


def _table_rows(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of the lines whose words are set apart by tabs; a tab behind a list item's mark or at an end sets none."""
    at = text.find("\t", start, end)
    while at >= 0:
        left = max(start, text.rfind("\n", start, at) + 1)
        right = text.find("\n", at, end)
        right = end if right < 0 else right
        if "\t" in _BULLET.sub("", text[left:right].strip(), count=1):
            yield left, left + len(text[left:right].rstrip())
        at = text.find("\t", right, end)


def _blocks(text: str, start: int, end: int, rows: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Spans that no sentence crosses: paragraphs, list items, headings, rows."""
    cuts = [match.start() for match in _BLANK_LINE.finditer(text, start, end)]
    cuts += [border for row in rows.items() for border in row]
    for match in _LINE_BREAK.finditer(text, start, end):
        line = text[max(start, text.rfind("\n", start, match.start()) + 1) : match.start()]
        follows = text[match.end() : min(match.end() + 12, end)]
        if _BULLET.match(follows) or _stands_alone(line, follows):
            cuts.append(match.start())
    edges = [start, *sorted(set(cuts)), end]
    for left, right in pairwise(edges):
        if text[left:right].strip():
            yield left, right


def _stands_alone(line: str, follows: str) -> bool:
    """Whether a line looks like a heading: short, starts like a title, and the next line starts a new sentence."""
    stripped = line.strip()
    if not stripped or len(stripped) > 60 or stripped[-1] in ",;:-，；、(" or stripped[-1] == SOFT_HYPHEN:
        return False
    if stripped[-1] in ".!?。！？":
        return False
    head, first = stripped[0], follows[:1]
    if has_cjk(stripped):
        return len(stripped) <= 16 and bool(first) and not first.isspace()
    return (head.isupper() or head.isdigit()) and first.isupper()


def _sentences_of_block(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    left = start
    for match in _ENDING.finditer(text, start, end):
        if match.group()[0] == "." and _ABBREVIATION.search(text, max(left, match.start() - 8), match.start() + 1):
            continue
        if match.group()[0] in ".!?" and _continues(text, match.end(), end):
            continue
        yield from trimmed(text, left, match.end())
        left = match.end()
    yield from trimmed(text, left, end)


def _continues(text: str, at: int, end: int) -> bool:
    """Whether what follows a full stop starts with a small letter, so that the stop ended no sentence."""
    rest = text[at : min(at + 8, end)].lstrip()
    return bool(rest) and rest[0].islower()


def trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The span without the white space at its ends; nothing when nothing is left."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end
