"""Facts that a document states, as questions with the words that answer: by rules, in English and Chinese.

Told from structure alone: sentences that say what a thing is, how much or how many, when, where or by whom, what
for, why, or what in some case; headings; cells of tables. A rule that is not sure makes nothing, as a set of good
questions needs few of them and a bad one misleads. Not covered: whether another page answers as well; synth.py looks
at that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from ragapp.eval import told_en, told_zh
from ragapp.suggestions import asked, defined, is_readable, is_topic, settled, words_of
from ragapp.text import CJK, collapse, has_cjk, is_chinese, sentences
from ragapp.types import Document, Heading, Table
from ragapp.wording import content

Kind = Literal["definition", "heading", "table", "figure", "reason", "cloze"]

SHORTEST, LONGEST = 25, 220  # characters of a sentence that a question is made of
SHORTEST_CJK, LONGEST_CJK = 9, 90
CELL = 40  # characters of a table's cell or head that reads well in a question


@dataclass(frozen=True, slots=True)
class Fact:
    """``document.text[start:end]`` on ``page`` answers the question; ``answer`` is the part that one would say."""

    kind: Kind
    question: str
    answer: str
    start: int
    end: int
    page: int


def facts(document: Document, pages: Collection[int] | None = None, title: str = "") -> Iterator[Fact]:
    """What the document states on these pages, or on all, each question once; ``title`` is what people call it."""
    reader = _Reader(document, frozenset(p.number for p in document.pages) if pages is None else frozenset(pages))
    seen: set[str] = set()
    for fact in (*reader.sentences(), *reader.headings(title), *reader.tables(title)):
        if fact.question not in seen:
            seen.add(fact.question)
            yield fact


class _Reader:
    """One document, and the pages of it that are read."""

    def __init__(self, document: Document, pages: frozenset[int]) -> None:
        self._document = document
        self._pages = [page for page in document.pages if page.number in pages and not page.is_unread]
        self._words = _common("\n".join(document.text[page.start : page.end] for page in self._pages))

    def sentences(self) -> Iterator[Fact]:
        """Definitions and figures; of a sentence that gives no other question, a cloze."""
        text = self._document.text
        for page in self._pages:
            for left, end in sentences(text, page.start, page.end):
                bullet = _BULLET.match(text, left, end)
                start = bullet.end() if bullet else left
                sentence = collapse(text[start:end])
                if not is_sentence(sentence):
                    continue
                for kind, question, answer in told(sentence, self._words):
                    yield Fact(kind, question, answer, start, end, page.number)

    def headings(self, title: str) -> Iterator[Fact]:
        """Headings that ask, and headings that name a topic, answered by what begins below them."""
        counts = Counter(collapse(heading.title).casefold() for heading in self._document.headings)
        for heading in self._document.headings:
            named = collapse(heading.title)
            if counts[named.casefold()] > 1 or not title or (found := self._below(heading)) is None:
                continue
            start, end, page = found
            answer = collapse(self._document.text[start:end])
            bare = _NUMBER.sub("", named)
            question = asked(bare, self._words)
            if question := titled(question, title) if question else self._about(bare, answer, title):
                yield Fact("heading", question, answer, start, end, page)

    def _about(self, topic: str, below: str, title: str) -> str:
        """A question about a topic of which what stands below its heading speaks; empty for any other."""
        low = below.casefold()
        shared = [word for word in content(topic) if word.casefold()[:6] in low]
        if not is_topic(topic) or not shared or topic.casefold() in title.casefold() or topic.casefold() in _VAGUE:
            return ""
        if is_chinese(below):
            return f"关于“{topic}”，《{title}》是怎么说的？"
        return f"What does “{title}” say about {settled(topic, self._words)}?"

    def _below(self, heading: Heading) -> tuple[int, int, int] | None:
        """The first sentence below a heading, if it stands on the same page and is one; and the page."""
        text = self._document.text
        page = next((page for page in self._pages if page.start <= heading.start < page.end), None)
        if page is None:
            return None
        title = "".join(heading.title.split())
        for start, end in sentences(text, heading.start, page.end):
            if "".join(text[start:end].split()) in title:
                continue  # the heading itself, perhaps on several lines
            return (start, end, page.number) if is_sentence(collapse(text[start:end])) else None
        return None

    def tables(self, title: str) -> Iterator[Fact]:
        """A question for each cell that has the head of its row and of its column."""
        read = {page.number for page in self._pages}
        for table in self._document.tables:
            if table.page in read and len(table.rows) > 1:
                yield from self._cells(table, title)

    def _cells(self, table: Table, title: str) -> Iterator[Fact]:
        text = self._document.text
        rows = [(span, [collapse(cell) for cell in text[span[0] : span[1]].split("\t")]) for span in table.rows]
        columns = [collapse(column) for column in table.columns]
        heads = Counter(cells[0].casefold() for _, cells in rows)
        names = {column.casefold() for column in columns}
        if len(names) < len(columns):
            return  # two columns of one name: a cell's meaning is not sure
        for (start, end), cells in rows:
            row = _NUMBER.sub("", cells[0])
            if len(cells) != len(columns) or heads[cells[0].casefold()] > 1 or not is_topic(row) or row[0].isdigit():
                continue
            if names.intersection(cell.casefold() for cell in cells):
                continue  # the heads again, on a later page
            for column, cell in zip(columns[1:], cells[1:], strict=True):
                said = _FOOTNOTE.sub("", cell).strip(" ;,；，")
                if not (question := _of_cell(row, _FOOTNOTE.sub("", column), said)):
                    continue
                # A name says what is meant; "White" or "Complete series" only beside the document's.
                if not (is_named := _NAME.search(row)) and not title:
                    continue
                yield Fact("table", question if is_named else titled(question, title), said, start, end, table.page)


def is_sentence(text: str) -> bool:
    """Whether a text on one line is a whole sentence that can be read by itself, in English or Chinese."""
    if "\t" in text or not is_readable(text) or any(text.count(a) != text.count(b) for a, b in ("()", "（）", "“”")):
        return False
    if is_chinese(text) and len(re.findall(f"[{CJK}]", text)) * 3 >= len(text):
        return SHORTEST_CJK <= len(text) <= LONGEST_CJK and text[-1] in "。！"
    return SHORTEST <= len(text) <= LONGEST and text[0].isupper() and text[-1] == "." and not has_cjk(text)


def titled(question: str, title: str) -> str:
    """The question with the document that it is about, unless it names it."""
    if title in question:
        return question
    if is_chinese(question):
        return f"根据《{title}》，{question}"
    return f"{question.rstrip('?')} according to “{title}”?" if question.endswith("?") else f"{question} (“{title}”)"


def _common(text: str) -> frozenset[str]:
    """The words of a text as written; in small letters only those that are mostly written so ("cherokee" is a link)."""
    counts = Counter(_LETTERS.findall(text))
    rare = {
        word
        for word, count in counts.items()
        if word.islower() and counts[word.capitalize()] + counts[word.upper()] > 3 * count
    }
    return words_of(text) - rare


_Told = tuple[Kind, str, str]  # kind, question, answer
_BULLET = re.compile(r"(?:[•●○▪■◦‣–—*\uf0b7-]|\(?\d{1,3}[.)])\s+")
_NUMBER = re.compile(
    r"^(?:Q\s*[:.]\s*|(?:\d{1,3}(?:\.\d+)*[.):]?|[A-Z][.)]|[（(]?[一二三四五六七八九十]+[）)、.．]|第[一二三四五六七八九十\d]+[章节条])\s+)"
)
_NAME = re.compile(r"[A-Z][\w.'’-]* (?:(?:of|the|and|de|von) )*[A-Z]|[\"“]|[A-Za-z]+-?\d|[一-鿿]{4}")
_LETTERS = re.compile(r"[^\W\d_]+")
_VAGUE = frozenset(
    ("definitions", "values", "features", "history", "details", "information", "terms", "policy", "policies")
)
_FOOTNOTE = re.compile(r"(?:\s*(?:\[\w{1,4}\]|[*†‡]+))+$")
_YEAR = re.compile(r"(?:fiscal |year |FY ?)?((?:19|20)\d\d)年?", re.IGNORECASE)
# Heads of columns after which "of" can stand: what a row has, and not what it is one of.
_HAS = re.compile(
    r"(?:.* )?(?:date|name|type|city|country|state|capital|population|vote|age|venue|league|title|role|year|author|"
    r"address|phone|email|owner|status|unit|units|value|price|cost|fee|amount|rate|limit|size|weight|length|height|"
    r"width|area|speed|power|capacity|pressure|temperature|torque|voltage|number|code|part number|interval|duration|"
    r"term|score|total|percentage|share|deductible|copay|premium|maximum|minimum|default|meaning|description)"
    r"(?: (?:of|at|in) .*| \(.*\))?",
    re.IGNORECASE,
)


def told(sentence: str, words: frozenset[str]) -> list[_Told]:
    """All that one sentence tells, one question for each kind of it."""
    rules = told_zh if is_chinese(sentence) else told_en
    found: list[_Told] = []
    if not _NO_DEFINITION.search(sentence) and (question := defined(sentence, words)):
        found.append(("definition", question, _predicate(sentence)))
    elif made := rules.meaning(sentence):
        found.append(("definition", *made))
    if made := rules.figure(sentence, words):
        found.append(("figure", *made))
    if made := rules.reason(sentence, words):
        found.append(("reason", *made))
    if not found and (made := rules.cloze(sentence)):
        found.append(("cloze", *made))
    return [made for made in found if not _POINTS.search(made[1])]


# What only the sentences before could explain.
_POINTS = re.compile(r"\b(?:this|these|those|such|aforementioned)\b", re.IGNORECASE)
# Praise, and an example among others, say what a thing is like and not what it is.
_NO_DEFINITION = re.compile(
    r" is (?:an?|the) (?:very |most )?(?:important|leader|leading|common|great|good|key|essential|critical|crucial|"
    r"integral|valuable|vital|necessary|non-|part|type of service|member|significant|unique)|"
    r"^(?:由于|因为|虽然|如果|根据)"
)


def _predicate(sentence: str) -> str:
    """What a defining sentence says that its subject is."""
    _, _, rest = sentence.partition(" is ") if not is_chinese(sentence) else sentence.partition("是")
    return rest.rstrip("。.").removeprefix("指").strip("，, ")


def _of_cell(row: str, column: str, cell: str) -> str:
    """The question that a cell answers; empty where head or cell tell nothing."""
    year = _YEAR.fullmatch(column)
    if not any(c.isalnum() for c in cell) or len(cell) > CELL or not (year or is_topic(column)):
        return ""
    if is_chinese(f"{row}{column}"):
        return f"“{row}”的{column}是{'多少' if any(c.isdigit() for c in cell) else '什么'}？"
    if year:
        return f"What was given as “{row}” for {year[1]}?"
    if _HAS.fullmatch(column):
        return f"What is the {column[0].lower() if column[1:].islower() else column[0]}{column[1:]} of {row}?"
    return f"What is given as “{column}” for {row}?"
