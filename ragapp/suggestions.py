"""Questions to begin with, made by rules from the library itself: its headings, definitions, titles of tables.

A few documents are looked at, a few pages of each, in an order that the library's generation decides: the same library
gives the same questions. Templates are English or Chinese, as the document is. What looks like nothing to ask about is
left out rather than repaired: numbers, garbled words, headings that every document has, halves of sentences. Not
covered: whether the library can answer; the server lets the judge look at that (server/suggest.py).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ragapp.catalog import Catalog, Entry
from ragapp.text import CJK, collapse, has_cjk, is_chinese, sentences
from ragapp.types import Excerpt
from ragapp.wording import PREPOSITIONS, STOP_WORDS, content

DOCUMENTS = 6  # documents that are looked at for each question that is wanted
CHARS = 6000  # of a document, at its beginning and at one other place
PAGE_CHARS = 1500  # of a page, roughly: only to guess where the middle of a document lies
DEFINITIONS_IN = 3000  # characters at a document's beginning in which things are introduced
MAX_CHARS, MAX_WORDS, MAX_CHARS_CJK = 60, 8, 24  # of a heading: a longer one is a sentence
MAX_TITLE, MAX_TITLE_CJK = 60, 30

COMMON = frozenset(
    """
    contents|table of contents|introduction|overview|summary|executive summary|references|bibliography|appendix|
    appendices|index|acknowledgements|acknowledgments|acknowledgement|abstract|conclusion|conclusions|notes|see also|
    external links|further reading|sources|citations|background|discussion|results|methods|preface|foreword|
    list of figures|list of tables|revision history|document history|change log|changelog|copyright|disclaimer|about|
    contact|contacts|contact us|miscellaneous|other|others|general|description|purpose|scope|figure|figures|table|
    tables|example|examples|note|warning|caution|important|page|chapter|section|part|cover|title|untitled|keywords|
    authors|author|authors' addresses|glossary|normative references|informative references|related work|
    future work|status of this memo|copyright notice|requirements language|conventions used in this document|
    frequently asked questions|faq|questions|attachment|attachments|annex|schedule|exhibit|version|date|name|footnotes|
    目录|目次|前言|引言|绪论|简介|介绍|概述|概要|摘要|总结|小结|结论|参考文献|参考资料|附录|附件|附表|致谢|索引|后记|序|序言|
    版权|声明|免责声明|说明|备注|注释|参见|外部链接|扩展阅读|关键词|其他|其它|总则|附则|注意|警告|图|表|示例|例子|正文|封面
    """.replace("\n", "")
    .replace("    ", "")
    .split("|")
)
_NUMBERING = re.compile(
    r"(?:(?:chapter|section|part|appendix|annex|article|figure|fig\.|table)\s+[\dIVXLC]+(?:[.\-]\d+)*|"
    r"[§(]?\d{1,3}(?:\.\d+)*(?:[.):]|(?=\s))|[IVXLC]+[.)]|[A-Z][.)]|第[一二三四五六七八九十百\d]+[章节条编部篇]|[表图]\s*\d+(?:[.\-]\d+)*|"
    r"[（(]?[一二三四五六七八九十]+[）)、.．])(?:\s*[:.：、—–-])?\s*(?=\D)",
    re.IGNORECASE,
)
_BEGINNINGS = {
    "how to": "How do I",
    "when to": "When should I",
    "where to": "Where can I",
    "what to": "What should I",
    "why to": "Why should I",
}
_ASKING_EN = re.compile(r"(?:how|what|why|when|where|who|which|can|do|does|is|are|should|may|must)\b", re.IGNORECASE)
_ASKING_ZH = re.compile(r"^(?:如何|怎么|怎样|什么是|为什么|为何|何时|哪些|哪里|谁)|(?:是什么|怎么办|为什么|吗)$")
_DEFINED = re.compile(
    r"(?P<the>(?:An?|The) )?(?P<term>[A-Za-z][\w+/-]*(?: [\w+/-]+){0,3})"
    r"(?: \((?P<aside>[^()]{1,80})\))?,? is (?:an?|the (?:process|practice|act|ability|name)) (?P<what>\w.*)"
)
# A few adjectives and a person: further on in the sentence somebody else is named.
_PERSON = re.compile(
    r"(?:(?!(?:of|by|for|in|to|from|with|that|which)\b)[\w-]+,? ){0,4}(?:act(?:or|ress)|singer|musician|artist|"
    r"politician|player|footballer|writer|author|poet|scientist|physicist|engineer|lawyer|jurist|king|queen|president|"
    r"director|producer|inventor|philosopher|historian)\b"
)
_DEFINED_ZH = re.compile(
    rf"(?:所谓)?(?P<term>[{CJK}A-Za-z0-9·-]{{2,12}})[，,]?是(?:指|一种|一个|一款|一项|一套|一门|一类)"
)
# What begins or stands in a Chinese subject that is no term by itself.
_NO_TERM_ZH = re.compile("^[这那它他她其本该此我你您每各]|[的了不就都也还而但如若或和与在]")
_NO_TERM = frozenset(
    """
    this that these those it he she they we you i there here what which who each one such another everything
    something nothing everyone all some any most many other same following above below first second last next
    company goal aim purpose result reason problem question answer example figure table section chapter
    """.split()  # noqa: SIM905  a list of words is read as a text
)
_ARTICLES = frozenset("a an the and or but nor is are was were be of to its their your our".split())  # noqa: SIM905
_CJK = re.compile(f"[{CJK}]")
_COUNT = re.compile(r"[\s\d.:]+$")
_WORD = re.compile(rf"[^\W\d_{CJK}]+(?:['’-][^\W\d_{CJK}]+)*")
_VOWEL = re.compile(r"[aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüýÿœαεηιουωаеёиоуыэюяії]", re.IGNORECASE)
_LATIN = re.compile(r"[a-z]", re.IGNORECASE)
_NO_WORDS = re.compile(r"https?:|www\.|@|[\\{}<>|~^_=]|\.{3}|\[\d|\bpages?\s\d", re.IGNORECASE)
_PAIRS = ("()", "[]", "{}", "“”", "（）", "《》", "「」", "【】")


@dataclass(frozen=True, slots=True)
class _Idea:
    """A question, and how good a kind of question it is: 0 is the best."""

    kind: int
    text: str


@dataclass(frozen=True, slots=True)
class _Where:
    """What is known of the pages that a question is made from: their words as written, and their language."""

    words: frozenset[str]
    chinese: bool


def suggest(catalog: Catalog, n: int) -> list[str]:
    """At most ``n`` questions, of as many documents as there are, none for a library without anything to ask about."""
    with catalog.snapshot():
        entries = list({entry.id: entry for entry in catalog.entries()}.values())
        chance = random.Random(catalog.generation().stamp)
        looked_at = _sample(entries, n * DOCUMENTS, chance)
        titles = Titles(entries, looked_at)
        found: list[list[str]] = []
        for entry in looked_at:
            if ideas := _ideas(catalog, entry, titles, chance):
                found.append(ideas)
            if len(found) >= n:
                break
    return _dealt(found, n)


def _sample(entries: Sequence[Entry], size: int, chance: random.Random) -> list[Entry]:
    """Some documents in an order of chance; their ids are hashes, so the order of ids says nothing about them."""
    return chance.sample(sorted(entries, key=lambda entry: entry.id), min(size, len(entries)))


def _dealt(found: Sequence[Sequence[str]], n: int) -> list[str]:
    """The first question of each document, then the second of each, and so on; none twice."""
    longest = max(map(len, found), default=0)
    rounds = (ideas[turn] for turn in range(longest) for ideas in found if turn < len(ideas))
    return list({question.casefold(): question for question in rounds}.values())[:n]


def _ideas(catalog: Catalog, entry: Entry, titles: Titles, chance: random.Random) -> list[str]:
    """Questions about one document, the best kind first; within a kind, what chance picks."""
    parts = [catalog.excerpt(entry.id, 0, CHARS)]
    if entry.pages * PAGE_CHARS > 2 * CHARS:
        at = chance.randrange(CHARS, entry.pages * PAGE_CHARS)
        parts.append(catalog.excerpt(entry.id, at, at + CHARS))
    excerpts = [part for part in parts if part is not None]
    text = "\n".join(part.text for part in excerpts)
    where = _Where(words_of(text), _is_in_chinese(text))
    title = titles.of(entry, where.words)
    ideas = [*_definitions(excerpts[0].text, where)] if excerpts else []
    for part in excerpts:
        ideas += _about_headings(part, title, where)
        ideas += _about_tables(part, title, where)
    ideas = list(dict.fromkeys(ideas))
    chance.shuffle(ideas)
    return [idea.text for idea in sorted(ideas, key=lambda idea: idea.kind)]


def _about_headings(part: Excerpt, title: str, where: _Where) -> Iterator[_Idea]:
    for heading in part.headings:
        bare = _bare(heading.title, title)
        if question := asked(bare, where.words):
            if _tells(question, 2):
                yield _Idea(0, question)
        elif is_topic(bare) and not _alike(bare, title):
            yield _Idea(2, _about(settled(bare, where.words), title, chinese=where.chinese))


def _about_tables(part: Excerpt, title: str, where: _Where) -> Iterator[_Idea]:
    for table in part.tables:
        bare = _bare(table.title, title)
        if is_topic(bare) and _tells(bare, 2) and len(table.rows) > 1 and not _alike(bare, title):
            yield _Idea(3, f"表格“{bare}”说明了什么？" if where.chinese else f"What does the table “{bare}” show?")


def _bare(name: str, title: str) -> str:
    """A heading without its number, and without what it repeats of the document's title."""
    name = collapse(name)
    bare = _NUMBERING.sub("", name, count=1) if _NUMBERING.match(name) else name
    first, separator, rest = _partition(bare)
    return rest if separator and _alike(first, title) else bare


def _partition(text: str) -> tuple[str, str, str]:
    found = re.search(r"\s[-–—·|]\s|: |：", text)
    return (text[: found.start()], found[0], text[found.end() :]) if found else (text, "", "")


def _definitions(text: str, where: _Where) -> Iterator[_Idea]:
    """Things that a sentence says what they are."""
    for start, end in sentences(text[:DEFINITIONS_IN]):
        if question := defined(collapse(text[start:end]), where.words):
            yield _Idea(1, question)


def defined(sentence: str, words: frozenset[str]) -> str:
    """The question that a sentence answers by saying what a thing is, empty where it says no such thing.

    ``words`` are those of the pages around it, as written.
    """
    if found := _DEFINED_ZH.match(sentence):
        term = found["term"]
        return f"什么是{term}？" if is_chinese(term) and not _NO_TERM_ZH.search(term) and is_topic(term) else ""
    if (found := _DEFINED.match(sentence)) and _is_term(found["term"], found["the"] or ""):
        is_person = _PERSON.match(found["what"]) or "born" in (found["aside"] or "")
        who = "Who" if is_person and not found["the"] else "What"
        return f"{who} is {(found['the'] or '').lower()}{settled(found['term'], words)}?"
    return ""


def _is_term(term: str, article: str) -> bool:
    """Whether a sentence's subject is a name, or a thing in general ("a heat pump"), and not one that was mentioned."""
    words = term.split()
    is_name = any(word[0].isupper() for word in words)
    if not (is_name or article in ("A ", "An ")) or not is_topic(term):
        return False
    lowered = [word.lower() for word in words]
    return not any(word in _NO_TERM or word in STOP_WORDS - {"of", "and", "for", "in"} for word in lowered)


def asked(heading: str, words: frozenset[str]) -> str:
    """A heading that asks by itself, as a question; empty for any other. ``words`` as in ``defined``."""
    if not is_readable(heading) or len(heading) > 2 * MAX_CHARS:
        return ""
    if has_cjk(heading):
        bare = heading.rstrip("？?。：:")
        return f"{bare}？" if is_chinese(bare) and _ASKING_ZH.search(bare) and len(bare) <= 2 * MAX_CHARS_CJK else ""
    for begins, asks in _BEGINNINGS.items():
        if heading.lower().startswith(f"{begins} ") and is_topic(rest := heading[len(begins) + 1 :].rstrip("?")):
            return f"{asks} {settled(rest, words)}?"
    if heading.endswith("?") and heading.count("?") == 1 and _ASKING_EN.match(heading):
        first, _, rest = heading.partition(" ")
        return f"{first.capitalize()} {settled(rest, words)}"
    return ""


def _about(topic: str, title: str, *, chinese: bool) -> str:
    if chinese:
        return f"关于“{topic}”，{f'《{title}》' if title else '这些文档'}是怎么说的？"
    return f"What does “{title}” say about {topic}?" if title else f"What do the documents say about {topic}?"


def _is_in_chinese(text: str) -> bool:
    """Whether a text is written in Chinese: a fifth of its letters are, as one of them says what five others say."""
    beginning = text[:DEFINITIONS_IN]
    return is_chinese(beginning) and len(_CJK.findall(beginning)) >= sum(map(str.isalpha, beginning)) / 5


class Titles:
    """What documents are called in a question."""

    def __init__(self, entries: Sequence[Entry], looked_at: Sequence[Entry]) -> None:
        self._many = {title for title, count in Counter(entry.title for entry in entries).items() if count > 1}
        # The name of a site or series behind a dash: what several titles end with tells none of them apart.
        tails = Counter(tail for entry in looked_at if (tail := _tail(entry.title)))
        self._tails = {tail for tail, count in tails.items() if count > 1}

    def of(self, entry: Entry, words: frozenset[str]) -> str:
        """The title, or the file's name where the title tells nothing; empty where neither does."""
        title = collapse(entry.title)
        if _tail(title) in self._tails:
            title = title.removesuffix(_tail(title))
        stem = collapse(re.sub(r"[_]+", " ", PurePosixPath(entry.document).stem))
        for name in ([] if entry.title in self._many else [title]) + [stem]:
            longest = MAX_TITLE_CJK if has_cjk(name) else MAX_TITLE
            if is_readable(name) and _tells(name, 1) and len(name) <= longest and _is_balanced(name):
                shown = settled(name, words) if name.isupper() else name
                return shown[:1].upper() + shown[1:]
        return ""


def _tail(title: str) -> str:
    """``" - Site"`` of ``"Subject - Site"``; empty where there is none."""
    found = re.search(r"\s+[-–—|·]\s+[^-–—|·]{2,30}$", title)
    return found[0] if found and found.start() else ""


def is_topic(text: str) -> bool:
    """Whether a heading names something that one may ask about.

    >>> [is_topic(text) for text in ("Calendar Year Deductible", "Table of Contents", "3.2", "the change is clear to")]
    [True, False, False, False]
    """
    bare = text.strip()
    if has_cjk(bare):
        if len(bare) > MAX_CHARS_CJK or len(bare) < 2:
            return False
    elif len(bare) > MAX_CHARS or len(bare.split()) > MAX_WORDS or len(bare) < 4:
        return False
    if _COUNT.sub("", bare).lower() in COMMON or bare[-1] in ",;:-–—.，；：、。…/&" or not is_readable(bare):
        return False
    words = bare.lower().split()
    ends_well = words[-1] not in PREPOSITIONS | _ARTICLES
    return ends_well and _is_balanced(bare) and _tells(bare, 1)


def is_readable(text: str) -> bool:
    """Whether a text seems to be words: half of it letters or more, of which those of Latin words can be spoken."""
    solid = [c for c in text if not c.isspace()]
    if not solid or "\ufffd" in text or not all(c.isprintable() for c in text):
        return False
    if sum(c.isalpha() for c in solid) < len(solid) / 2 or _NO_WORDS.search(text):
        return False
    words = _WORD.findall(text)
    if any(map(_mixed, words)):
        return False
    silent = [word for word in words if len(word) > 3 and not word.isupper() and not _VOWEL.search(word)]
    return not [word for word in silent if _LATIN.search(word)] and not _spaced_out(words)


def _mixed(word: str) -> bool:
    """Small and capital letters in turn, as no name has them."""
    return len(re.findall(r"[a-z][A-Z]", word)) > 2


def _spaced_out(words: Sequence[str]) -> bool:
    """``"W a r r a n t y"``: letters set apart by a layout."""
    return len(words) > 3 and sum(len(word) == 1 for word in words) > len(words) / 2


def _tells(text: str, least: int) -> bool:
    """Whether there are so many content words; in Chinese, where words are not set apart, twice as many characters."""
    if has_cjk(text):
        return sum(has_cjk(c) for c in text) >= max(2, 2 * least)
    words = [word for word in content(text) if len(word) > 2 or word.isupper()]
    return len(words) >= least and any(_WORD.fullmatch(word) or len(word) > 3 for word in words)


def _is_balanced(text: str) -> bool:
    return all(text.count(pair[0]) == text.count(pair[1]) for pair in _PAIRS) and text.count('"') % 2 == 0


def _alike(one: str, other: str) -> bool:
    """Whether one of two names says no more than the other."""
    left, right = ("".join(c for c in text.lower() if c.isalnum()) for text in (one, other))
    return bool(left and right) and (left in right or right in left)


def settled(name: str, words: frozenset[str]) -> str:
    """A heading as it reads in the middle of a sentence: in small letters where the pages also write all its words so.

    A name keeps its capitals, and of what is all capitals only codes and short words keep them.
    ``words`` are those of the pages, as written.
    """
    shouts = name.isupper()
    capitals = [word for word in _WORD.findall(name) if word[0].isupper() and (shouts or not _is_code(word))]
    small = {word: word.lower() for word in capitals if word.lower() in words}
    if shouts:
        small = {word: small.get(word, word.capitalize() if len(word) > 5 else word) for word in capitals}
    elif len(small) < len(set(capitals)):
        return name
    return _WORD.sub(lambda match: small.get(match[0], match[0]), name)


def words_of(text: str) -> frozenset[str]:
    """The words of a text as they are written, without numbers and CJK."""
    return frozenset(_WORD.findall(text))


def _is_code(word: str) -> bool:
    """``"UDP"``, but not ``"A"``."""
    return word.isupper() and len(word) > 1
