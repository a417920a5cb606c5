"""Support: whether the words of a claim stand in a text, in their order and with nothing between them.

Standard library only. A claim is borne out when *every* word of it that carries meaning stands in one sentence of the
text, in the same order, with no other such word between, before or behind that would turn it round. One word that is
missing is enough to refuse: it may be the one that matters (rose for fell, may for must, a name, a number), and a share
of words that "mostly" agree cannot tell which. So only what carries no meaning of its own is passed over: case,
white space, punctuation, markdown, typesetting, articles, and what introduces a claim ("According to the document,").

A claim is also refused where the text denies the very words ("It is not true that …" before them in their clause, or
"at no time" behind them), and where a number, unit or word goes on beyond them ("2" in "2 million", "5" in "5%").
Not covered: conditions and exceptions outside the clause, irony, paraphrases that are right.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from ragapp.text import CJK, SOFT_HYPHEN, has_cjk, sentences

_LETTERS = f"[^\\W\\d_{CJK}]"
_WEAK = f"[{SOFT_HYPHEN}\u200b\u2060\ufeff\u0300-\u036f]"
_NUMBER = r"(?:(?<![^\s(])[-−])?\d+(?:[.,]\d+)*"
_SIGN = r"[%％‰$€£¥￥₹±≤≥°+]"


# Words: numbers, letters with what may stand inside them, single CJK characters, signs that carry meaning. A hyphen
# between letters belongs to the word ("well-known") or to the line's end ("exam-ple"), which nothing tells apart at a
# line's end: it is left out everywhere.
_INSIDE = f"{_WEAK}*(?:(?:{SOFT_HYPHEN}|[-‐‑])[ \t]*(?:\n[ \t]*)?|['’])?(?={_LETTERS})"
_WORD = re.compile(f"{_NUMBER}|{_LETTERS}+(?:{_INSIDE}{_LETTERS}+)*{_WEAK}*|[{CJK}]|{_SIGN}")
_LEFT_OUT = re.compile(f"[{SOFT_HYPHEN}\u200b\u2060\ufeff‐‑]|[ \t]*\n[ \t]*|(?<=[^\\W\\d_])-")
_THOUSANDS = re.compile(r"[-−]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")

_BORDER = "¶"  # between the words of two sentences
_SENTENCE_END = re.compile(r"[.!?。！？；…:：][\"'”’」』）)\]]*$")
_ARTICLES = frozenset(("a", "an", "the"))
_DENIALS = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|except|excluding|unless|hardly|barely|rarely|"
    r"false|untrue|wrong(?:ly)?|den(?:y|ies|ied)|fail(?:s|ed)?)\b|n['’]t\b|[不没無无非未否勿]",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[;:!?，。；：！？（）()]|[.,](?=\s|$)|\n[ \t]*\n|\t")
# What stands right behind the words and says when they hold.
_CONDITION = re.compile(
    r"[\s,，]*(?:(?:only|if|unless|except|until|till|provided|subject to|excluding|other than)\b|除非|除外|仅限|如果)",
    re.IGNORECASE,
)
_GAP_END = re.compile(r"[,;:.!?()\[\]“”\"，。；：！？（）《》「」、|\t—–/•]|\n[ \t]*\n")
_CJK_JOINTS = frozenset("的和与及且而但则并或是在即为")
_CLAUSE_CHARS = 240  # a clause longer than this is none
_GREATER = frozenset(
    ("hundred", "thousand", "million", "billion", "trillion", "percent", "per", "万", "亿", "千", "百")
)
_CJK_NUMERALS = frozenset("零〇一二两三四五六七八九十百千万亿点分之")

_SOURCES = (
    r"(?:passages?|documents?|texts?|sources?|context|excerpts?|information|report|manual|handbook|policy|answer)"
)
_OPENINGS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:[-*•●#>|]+|\(?\d{1,3}[.)、]|[一二三四五六七八九十]+、)\s*",
        rf"(?:according to|based on|(?:as )?(?:stated|mentioned|described|noted|shown)(?: in| by)?)\b(?: (?:the|this"
        rf"|these|your))?(?: (?:given|provided|above))?(?: {_SOURCES}\b)?[ ,:]*",
        rf"(?:it|this|they|he|she|the {_SOURCES}) (?:also )?(?:says?|states?|mentions?|notes?|explains?|writes?|specify"
        r"|specifies|indicates?|shows?|reads?)\b(?: that\b)?[ ,:]*",
        r"(?:says?|states?|mentions?|notes?|explains?|writes?|specifies|indicates?|shows?|reads?)\b(?: that\b)?[ ,:]*",
        r"[ ,;]*(?:yes|in (?:short|summary|addition)|therefore|thus|also|additionally|furthermore|moreover|however"
        r"|specifically|finally|overall|and|but|while|so|then|which|who|that|where|the answer is)\b(?!['’])[ ,:]*",
        r"(?:根据|依据|按照|据)(?:上述|以上|所给|提供的|这些|该)*(?:段落|文档|文件|资料|内容|文本|信息)(?:所述|的描述|显示)?[，,：:]?\s*",
        r"(?:文中|文档|段落|资料|原文|其中)中?(?:提到|指出|写道|说明|显示|表明)了?[，,：:]?\s*",
        r"(?:是的|此外|另外|因此|所以|同时|而且|并且|总之|然而|但是)[，,]?\s*",
    )
)
_ENDINGS = re.compile(
    rf"[ ,，(]*(?:as (?:stated|mentioned|described|noted|shown)|according to)\b(?: (?:in|by))?(?: (?:the|this))?"
    rf"(?: {_SOURCES}\b)?[\s.。)]*$",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"(?:(?:it|they|he|she|this|these|those|its|their|his|her)\b|它们?|他们?|她|其|该)\s*", re.IGNORECASE
)
_JOINED = re.compile(r"[\s,;]*(?:and|but|which|who|that|while|并且|而且|但是)", re.IGNORECASE)
# Without the word that a pronoun stands for so many words must be left, or nearly any text would hold them.
_WORDS_BEHIND_PRONOUN, _WORDS_BEHIND_PRONOUN_CJK = 3, 5
_COMMON = frozenset(
    """
    and are as at be been but by can could did do does for from had has have he her his how i if in into is it its may
    more of on or our she should so than that their them there these they this those to was we were what when where
    which who will with would you your not no
    """.split()  # noqa: SIM905  a list of words is read as a text
)


_POINTERS = frozenset(("this", "these", "those", "your", "their", "his", "her", "its", "our", "my", "no", "not"))
_FRAMING = {"", _BORDER, *_COMMON} | set(
    """
    say says said state states stated write writes wrote written read reads mention mentions note notes noted quote
    quotes explain explains specify specifies indicate indicates put puts word words worded follows literally passage
    passages document documents text texts source sources context report manual handbook policy answer section page
    according also
    """.split()  # noqa: SIM905  a list of words is read as a text
)
_CJK_FRAME = re.compile(
    r"文中|文档|文件|段落|资料|原文|其中|根据|报告|手册|它|他|她|中|的|是|了|写道|写着|写明|指出|提到|说明?|称|表示|显示|表明|规定|答案|如下"
)


class _Word(NamedTuple):
    """``form`` is what is compared; an article has none."""

    form: str
    start: int
    end: int


class _Reading:
    """The words of a text as one string that can be searched, and the way back to their places."""

    def __init__(self, text: str) -> None:
        self.words = list(_words(text))
        self.kept = [number for number, word in enumerate(self.words) if word.form]
        self._at: list[int] = []
        length = 1
        for number in self.kept:
            self._at.append(length)
            length += len(self.words[number].form) + 1
        self._joined = "\n" + "".join(f"{self.words[number].form}\n" for number in self.kept)

    def find(self, forms: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Numbers of the first and last word of every place where these forms stand one after the other."""
        wanted = "\n" + "\n".join(forms) + "\n"
        at = self._joined.find(wanted)
        while at >= 0:
            first = bisect_right(self._at, at + 1) - 1
            yield self.kept[first], self.kept[first + len(forms) - 1]
            at = self._joined.find(wanted, at + 1)


class Text:
    """A text that claims are looked up in; it is read once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._reading = _Reading(text)
        self._sentences: list[tuple[int, int, frozenset[str]]] | None = None

    def find(self, claim: str) -> tuple[int, int] | None:
        """The span of the words that bear a claim out, or None."""
        for words, is_elliptic in wordings(claim):
            forms = [word.form for word in words if word.form]
            for first, last in self._reading.find(forms):
                span = self._span(words, first, last)
                narrowed = not is_elliptic and self._is_narrowed(words, first)
                if not narrowed and not self._goes_on(first, last) and not self._is_denied(*span):
                    return span
        return None

    def nearest(self, claim: str) -> int:
        """Where the sentence begins that shares most words with a claim, the longer words counting more; or 0."""
        asked = _contents(next((words for words, _ in wordings(claim)), []))
        if self._sentences is None:
            self._sentences = list(self._by_sentence())
        best = max(self._sentences, key=lambda held: sum(map(len, asked & held[2])), default=(0, 0, frozenset()))
        return best[0] if asked & best[2] else 0

    def _by_sentence(self) -> Iterator[tuple[int, int, frozenset[str]]]:
        words = self._reading.words
        ends = [word.end for word in words]
        for start, end in sentences(self.text):
            inside = words[bisect_right(ends, start) : bisect_right(ends, end)]
            yield start, end, _contents(inside)

    def _span(self, asked: Sequence[_Word], first: int, last: int) -> tuple[int, int]:
        """The place of the words, with the article before them where the claim begins with one."""
        start = self._reading.words[first].start
        if asked and not asked[0].form and first and not (before := self._reading.words[first - 1]).form:
            start = before.start
        return start, self._reading.words[last].end

    def _goes_on(self, first: int, last: int) -> bool:
        """Whether the words are a part of something longer: a number with its unit, a word with its sign."""
        head, tail = self._reading.words[first], self._reading.words[last]
        if first and _touch(self._reading.words[first - 1], head):
            return True
        if last + 1 >= len(self._reading.words):
            return False
        after = self._reading.words[last + 1]
        counted = tail.form[-1:].isdigit() or tail.form in _CJK_NUMERALS
        return _touch(tail, after) or (counted and after.form in _GREATER)

    def _is_narrowed(self, asked: Sequence[_Word], first: int) -> bool:
        """Whether the word before belongs to the first: "employees" is not what "temporary employees" are."""
        start = self._reading.words[first].start
        before = self._reading.words[first - 1] if first else None
        if before is None or before.form == _BORDER or _GAP_END.search(self.text, before.end, start):
            return False
        if has_cjk(before.form) and has_cjk(asked[0].form):
            return before.form not in _CJK_JOINTS
        return before.form in _POINTERS or before.form not in {"", *_COMMON}

    def _is_denied(self, start: int, end: int) -> bool:
        """Whether the rest of the clause holds a word that turns the meaning round."""
        before = self.text[max(0, start - _CLAUSE_CHARS) : start]
        borders = [match.end() for match in _CLAUSE_END.finditer(before)]
        after = self.text[end : end + _CLAUSE_CHARS]
        border = _CLAUSE_END.search(after)
        rest = before[borders[-1] if borders else 0 :], after[: border.start() if border else len(after)]
        return _CONDITION.match(after) is not None or any(_DENIALS.search(part) for part in rest)


def wordings(claim: str) -> Iterator[tuple[list[_Word], bool]]:
    """The words to look for: all of the claim, then without what introduces it, then without a pronoun in front.

    With each goes whether its subject may be missing, so that the text has another word in front.
    """
    text, bare = claim.strip(), stripped(claim)
    seen: list[list[str]] = []
    for body, is_elliptic in ((text, False), (bare, _JOINED.match(text) is not None)):
        words = list(_words(body))
        forms = [word.form for word in words if word.form]
        if any(form != _BORDER for form in forms) and forms not in seen:
            seen.append(forms)
            yield words, is_elliptic
    pronoun = _PRONOUN.match(bare)
    if pronoun:
        words = list(_words(bare[pronoun.end() :]))
        least = _WORDS_BEHIND_PRONOUN_CJK if has_cjk(text) else _WORDS_BEHIND_PRONOUN
        if sum(bool(word.form) for word in words) >= least:
            yield words, True


def stripped(claim: str) -> str:
    """The claim without what introduces it or names its source in general."""
    text = _ENDINGS.sub("", claim.strip())
    for _ in range(4):
        bare = text
        for opening in _OPENINGS:
            match = opening.match(bare)
            if match and match.end() < len(bare):
                bare = bare[match.end() :]
        if bare == text:
            break
        text = bare
    return text


def is_frame(text: str) -> bool:
    """Whether a text around a quotation says nothing itself: "They write …", 文中写道…"""
    if _DENIALS.search(text):
        return False
    return all(word.form in _FRAMING for word in _words(_CJK_FRAME.sub(" ", text)))


def is_introduction(text: str) -> bool:
    """Whether a text only leads to what is said, or has no words at all."""
    bare = text.strip()
    return not any(map(str.isalnum, bare)) or any(opening.fullmatch(bare) for opening in _OPENINGS)


def anchors(claim: str) -> list[str]:
    """The claim's words as they are spelled, the most telling ones first, for finding where in a text it may stand."""
    body = stripped(claim)
    found = [body[word.start : word.end] for word in _words(body) if word.form and word.form not in _COMMON]
    if has_cjk(body):
        runs = re.findall(f"[{CJK}]{{2,}}|\\d[\\d.,]*", body)
        found = [run[at : at + 4] for run in runs for at in range(0, len(run), 4)] or found
    return sorted(dict.fromkeys(found), key=lambda word: (any(map(str.isdigit, word)), len(word)), reverse=True)


def _words(text: str) -> Iterator[_Word]:
    """The words of a text in order, a border between those of two sentences."""
    borders = list(_borders(text))
    passed = 0
    begins = True
    for match in _WORD.finditer(text):
        while passed < len(borders) and borders[passed] <= match.start():
            if not begins:
                yield _Word(_BORDER, borders[passed], borders[passed])
            begins = True
            passed += 1
        yield _Word(_form(match.group(), begins), *match.span())
        begins = False


def _borders(text: str) -> Iterator[int]:
    """Where a sentence begins that the one before it surely does not run on into."""
    last = None
    for start, end in sentences(text):
        if last is not None:
            gap = text[last[1] : start]
            ended = _SENTENCE_END.search(text, max(last[0], last[1] - 4), last[1])
            if ended or gap.count("\n") > 1 or "\t" in text[start:end] or "\t" in text[last[0] : last[1]]:
                yield start
        last = (start, end)


@lru_cache(maxsize=1 << 14)
def _form(word: str, begins: bool) -> str:
    """The word as it is compared: small letters, ligatures spelled, typesetting and thousands' commas gone."""
    if len(word) == 1 and "\u3400" <= word <= "\u9fff":
        return word
    if word.isascii():
        plain = word if word.isalnum() else _LEFT_OUT.sub("", word)
    else:
        spelled = "".join(c if _is_raised(c) else unicodedata.normalize("NFKC", c) for c in _LEFT_OUT.sub("", word))
        plain = unicodedata.normalize("NFC", spelled).replace("’", "'").replace("−", "-")
    if _THOUSANDS.fullmatch(plain):
        return plain.replace(",", "")
    form = plain.casefold()
    # "A" inside a sentence is a name ("plan A"), at its beginning an article.
    return "" if form in _ARTICLES and (plain != "A" or begins) else form


def _is_raised(character: str) -> bool:
    return unicodedata.decomposition(character).startswith(("<super>", "<sub>", "<circle>", "<fraction>"))


def _touch(one: _Word, other: _Word) -> bool:
    """Whether two words stand without anything between them where each would be another word alone."""
    if one.end != other.start or _BORDER in (one.form, other.form):
        return False
    if one.form in _CJK_NUMERALS and other.form in _CJK_NUMERALS:
        return True
    return not any(has_cjk(word.form) or word.form == "" for word in (one, other))


def _contents(words: Iterable[_Word]) -> frozenset[str]:
    """The words that say what a sentence is about; of CJK text pairs of characters."""
    plain = [word.form for word in words]
    single = {form for form in plain if form and form not in _COMMON and form != _BORDER and not has_cjk(form)}
    pairs = {a + b for a, b in pairwise(plain) if has_cjk(a) and has_cjk(b)}
    return frozenset(single | pairs)
