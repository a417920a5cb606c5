"""What the members of a row mean: rows of a file become questions, and what is wrong with one is said with its place.

A row is an object of JSON, or a row of a spreadsheet under the names of its columns. Beside our own members (see
``shape_of``) those of other people's files are understood:

- ``gold``: ``{document | pdf | doc | file, page | pages, quote | text, relevance}``, one or a list of them; or a
  document beside the question, with ``gold_pages | pages | page``, and ``quote`` or ``spans: [{text}]``;
- ``answer``, ``expected_answer``, ``reference``, ``ground_truth``, ``expected`` for an answer; an ``expected`` that
  says "not answerable", or ``is_impossible``, for none;
- ``turns``: what the user said one after the other, the last of it is the question;
- ``index_scope``: the names of the only documents that are asked;
- ``page_base``: 0 where pages are counted from 0; all rows of a file count alike;
- ``dimensions``: tags. Other plain values become tags where a few of them return again and again in the file.
"""

from __future__ import annotations

import difflib
import glob
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from ragapp.errors import ReadError
from ragapp.eval.questions import Dataset, Gold, Question, of_questions
from ragapp.eval.values import (
    Wrong,
    counted,
    flag_of,
    is_given,
    list_of,
    object_of,
    pages_of,
    plain_of,
    shown,
    text_of,
    texts_of,
    whole_characters,
    whole_of,
)
from ragapp.types import Turn

SHAPE = 'A question is {"id": "q1", "question": "…", "gold": [{"document": "a.pdf", "pages": [1]}], "answers": ["…"]}.'

DOCUMENT = ("document", "pdf", "doc", "file")
PAGES = ("pages", "page", "gold_pages")
ANSWERS = ("answers", "answer", "expected_answer", "reference", "ground_truth")
KNOWN = {
    "id", "_id", "question", "query", "turns", "gold", "spans", "quote", "relevance", "must_contain", "match",
    "answerable", "is_impossible", "expected", "history", "where", "index_scope", "page_base", "tags", "dimensions",
    "of", "metadata", *DOCUMENT, *PAGES, *ANSWERS,
}  # fmt: skip

PLACE = {*DOCUMENT, *PAGES, "quote", "text", "spans", "relevance"}
IN_GOLD = "gold."  # before what a gold place says, in warnings

FEW = 20  # different values of a member that can be grouped by
TAG_CHARS = 80
MOST_TOLD = 8  # members in one warning
_CLOSE = 0.85  # likeness of a misspelt member to one that is known
_UNANSWERABLE = re.compile(
    r"\s*(?:not answerable|unanswerable|no answer|cannot be answered|不可回答|无法回答|没有答案|无答案)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A question, where it stood, the page base of its pages (None where it has none), and what else its row says."""

    place: str
    question: Question
    base: int | None
    rest: Mapping[str, Any] = field(default_factory=dict)


def of_rows(
    rows: Iterable[tuple[str, Mapping[str, Any]]], name: str, warnings: Sequence[str] = (), *, hint: str = SHAPE
) -> Dataset:
    """The set made of rows, each with the place that errors name ("qa.jsonl:7"), and a hint at how a row should be.

    Rows without an id are numbered. Raises ReadError for the first row that is wrong, with the number of the others,
    for an id that is there twice, for rows that count pages differently, and where there are no rows.
    """
    entries = _entries(rows, hint)
    if not entries:
        raise ReadError(f"{name} holds no questions.", hint)
    _check_ids(entries)
    _check_bases(entries)
    tags = _grouping(entries)
    questions = [_tagged(entry, tags) for entry in entries]
    told = [*warnings, *_unused(entries, tags), *_doubts(questions)]
    return of_questions(name, questions, told)


def _entries(rows: Iterable[tuple[str, Mapping[str, Any]]], hint: str) -> list[Entry]:
    entries, wrong = [], []
    for number, (place, row) in enumerate(rows, 1):
        try:
            entries.append(_entry(place, row, number))
        except Wrong as error:
            wrong.append((place, error))
    if wrong:
        place, first = wrong[0]
        others = f" {len(wrong) - 1} more are wrong, the next at {wrong[1][0]}." if len(wrong) > 1 else ""
        raise ReadError(f"{place}: {first}.{others}", first.hint or hint)
    return entries


def _check_ids(entries: Sequence[Entry]) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        before = seen.setdefault(entry.question.id, entry.place)
        if before != entry.place:
            raise ReadError(
                f'{entry.place}: the id "{entry.question.id}" is that of {before} too.',
                "Give every question its own id.",
            )


def _check_bases(entries: Sequence[Entry]) -> None:
    """Pages that count from 0 in one row and from 1 in another are an accident, however both are marked."""
    first = {entry.base: entry.place for entry in reversed(entries)}
    if 0 in first and 1 in first:
        raise ReadError(
            f"{first[1]}: pages count from 1 here, and from 0 at {first[0]}.",
            'Count all pages alike: give every question the same "page_base", or none for pages from 1.',
        )


def _grouping(entries: Sequence[Entry]) -> frozenset[str]:
    """The members whose values make groups: short ones, few of them, each there twice or more on average."""
    values: defaultdict[str, list[Any]] = defaultdict(list)
    for entry in entries:
        for name, value in entry.rest.items():
            values[name].append(value)
    return frozenset(name for name, found in values.items() if _is_plain(name) and _makes_groups(found))


def _is_plain(name: str) -> bool:
    """Whether a member can be a tag: it is no slip of the pen, and not about one gold place."""
    return _meant(name) in ("", name) and not name.startswith(IN_GOLD)


def _makes_groups(values: Sequence[Any]) -> bool:
    if not all(isinstance(value, str | int | float) and 0 < len(str(value).strip()) <= TAG_CHARS for value in values):
        return False
    return len(set(values)) <= min(FEW, len(values) // 2)


def _meant(name: str) -> str:
    """The member that a misspelt name seems to mean; nothing where it looks like none."""
    return next(iter(difflib.get_close_matches(name.strip().lower(), KNOWN, 1, _CLOSE)), "")


def _tagged(entry: Entry, names: frozenset[str]) -> Question:
    tags = {name: plain_of(value, name) for name, value in entry.rest.items() if name in names}
    return replace(entry.question, tags={**tags, **entry.question.tags})


def _unused(entries: Sequence[Entry], tags: frozenset[str]) -> Iterator[str]:
    counts = Counter(name for entry in entries for name in entry.rest if name not in tags)
    if counts:
        told = [f'"{name}" ({count:,}{_instead(name)})' for name, count in counts.most_common(MOST_TOLD)]
        more = [f"and {len(counts) - MOST_TOLD:,} more"] * (len(counts) > MOST_TOLD)
        yield f"Not used, with the number of questions that have it: {', '.join([*told, *more])}."


def _instead(name: str) -> str:
    meant = _meant(name.removeprefix(IN_GOLD))
    return f', did you mean "{meant}"?' if meant not in ("", name) else ""


def _doubts(questions: Sequence[Question]) -> Iterator[str]:
    sought = [q for q in questions if q.answerable]
    bare = sum(not (q.gold or q.answers or q.must_contain) for q in sought)
    if bare:
        yield f"{counted(bare, 'question')} without gold place and answer: only times and refusals can be measured."
    placeless = sum(not q.gold for q in sought) - bare
    if placeless:
        yield f"{counted(placeless, 'question')} without gold place: whether it is found cannot be measured."
    pageless = sum(bool(q.gold) and not any(g.pages for g in q.gold) for q in sought)
    if pageless and any(g.pages for q in sought for g in q.gold):
        yield f"{counted(pageless, 'question')} with a gold document and no page, unlike the others."
    both = sum(not q.answerable and bool(q.gold or q.answers or q.must_contain) for q in questions)
    if both:
        yield (
            f"{counted(both, 'question')} marked as not answerable, with an answer or a gold place all the same: "
            "it is not used."
        )
    alike = len(questions) - len({(" ".join(q.text.split()), q.history, q.where) for q in questions})
    if alike:
        yield f"{counted(alike, 'question')} asked before in the same set, under another id."


# -- one row ---------------------------------------------------------------------------------------------------------


def _entry(place: str, row: Mapping[str, Any], number: int) -> Entry:
    said = {name: value for name, value in row.items() if value is not None}
    base = _base(said)
    text, history = _asked(said)
    gold = tuple(dict.fromkeys(_gold(said, base)))
    question = Question(
        id=_id(said, number),
        text=text,
        gold=gold,
        answers=_answers(said),
        must_contain=texts_of(said.get("must_contain", ()), "must_contain"),
        match=_match(said),
        answerable=_answerable(said),
        history=history,
        where=_where(said),
        tags=_tags(said),
    )  # fmt: skip
    rest = {name: value for name, value in said.items() if name not in KNOWN}
    return Entry(place, question, base if any(g.pages for g in gold) else None, {**_about(said), **rest})


def _id(row: Mapping[str, Any], number: int) -> str:
    value = row.get("id", row.get("_id", number))
    return text_of(value, "id")


def _asked(row: Mapping[str, Any]) -> tuple[str, tuple[Turn, ...]]:
    """The question, and what was said before it."""
    history = tuple(_turn(turn) for turn in list_of(row.get("history", ()), "history"))
    for name in ("question", "query"):
        if name in row:
            return _sought(row[name]), history
    turns = texts_of(row.get("turns", ()), "turns")
    if not turns:
        raise Wrong("there is no question")
    return _sought(turns[-1]), (*history, *(Turn("user", turn) for turn in turns[:-1]))


def _sought(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"the question is {shown(value)} and no text")
    if not any(char.isalnum() for char in value):
        raise Wrong(f"the question {shown(value)} is empty")
    return whole_characters(value, "question")


def _turn(value: object) -> Turn:
    turn = object_of(value, "history")
    role = turn.get("role")
    if role not in ("user", "assistant", "system"):
        raise Wrong(
            f'the role of a turn is {role!r}', 'A turn is {"role": "user" | "assistant" | "system", "content": "…"}.'
        )  # fmt: skip
    return Turn(
        cast(Literal["user", "assistant", "system"], role), text_of(turn.get("content", turn.get("text")), "content")
    )


def _answers(row: Mapping[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    for name in ANSWERS:
        value = row.get(name, ())
        # Hugging Face's SQuAD keeps the texts beside their offsets.
        found += texts_of(value.get("text", ()) if isinstance(value, Mapping) else value, name)
    expected = row.get("expected", "")
    if not (isinstance(expected, str) and _UNANSWERABLE.match(expected)):
        found += texts_of(expected, "expected")
    return tuple(dict.fromkeys(found))


def _answerable(row: Mapping[str, Any]) -> bool:
    if "answerable" in row:
        return flag_of(row["answerable"], "answerable")
    if "is_impossible" in row:
        return not flag_of(row["is_impossible"], "is_impossible")
    expected = row.get("expected")
    return not (isinstance(expected, str) and _UNANSWERABLE.match(expected))


def _where(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = texts_of(row.get("index_scope", ()), "index_scope")
    return (*texts_of(row.get("where", ()), "where"), *map(glob.escape, names))


def _match(row: Mapping[str, Any]) -> Literal["any", "all"]:
    value = row.get("match", "any")
    if value not in ("any", "all"):
        raise Wrong(
            f'"match" is {value!r}', '"match" is "any" or "all": how much of "must_contain" the answer must hold.'
        )
    return cast(Literal["any", "all"], value)


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    tags = {name: value for of in ("dimensions", "tags") for name, value in object_of(row.get(of, {}), of).items()}
    if "of" in row:
        tags["of"] = row["of"]
    return {whole_characters(name, "tags"): plain_of(value, name) for name, value in tags.items() if value is not None}


def _about(row: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that BEIR keeps in a member of their own, and what gold places say that nobody reads."""
    value, gold = row.get("metadata", {}), row.get("gold", ())
    places = [each for each in (gold if isinstance(gold, list | tuple) else [gold]) if isinstance(each, Mapping)]
    unread = {f"{IN_GOLD}{name}": each[name] for each in places for name in each if name not in PLACE}
    return {**(value if isinstance(value, Mapping) else {"metadata": value}), **unread}


# -- where the answer stands -----------------------------------------------------------------------------------------


def _gold(row: Mapping[str, Any], base: int) -> Iterator[Gold]:
    value = row.get("gold", ())
    for each in [value] if isinstance(value, Mapping | str) else list_of(value, "gold"):
        place = {"document": each} if isinstance(each, str) else object_of(each, "gold")
        if "page_base" in place:
            raise Wrong('"page_base" stands in a gold place', "It belongs beside the question, and is alike for all.")
        yield from _places(place, base, "text")
    if any(is_given(row.get(name)) for name in (*DOCUMENT, *PAGES, "spans", "quote")):
        yield from _places(row, base)


def _places(said: Mapping[str, Any], base: int, quote: str = "quote") -> Iterator[Gold]:
    """One gold place, or one for each span; ``quote`` is another name that the words may stand under."""
    said = {name: value for name, value in said.items() if is_given(value)}
    document = next((text_of(said[name], name) for name in DOCUMENT if name in said), "")
    if not document:
        raise Wrong("a place that answers names no document")
    pages = tuple(dict.fromkeys(page for name in PAGES for page in pages_of(said.get(name, ()), base)))
    grade = _grade(said.get("relevance", 1))
    for words in (*_spans(said), *texts_of(said.get("quote", said.get(quote, ())), "quote")) or ("",):
        yield Gold(document, pages, words, grade)


def _spans(said: Mapping[str, Any]) -> Iterator[str]:
    for span in list_of(said.get("spans", ()), "spans"):
        yield text_of(span if isinstance(span, str) else object_of(span, "spans").get("text"), "spans")


def _grade(value: object) -> int:
    grade = whole_of(value)
    if grade is None or grade < 1:
        raise Wrong(f'"relevance" is {shown(value)}', "A place that answers has the grade 1 or more.")
    return grade


def _base(row: Mapping[str, Any]) -> int:
    base = whole_of(row.get("page_base", 1))
    if base not in (0, 1):
        raise Wrong(f'"page_base" is {shown(row["page_base"])}', "Pages count from 0 or from 1.")
    return base
