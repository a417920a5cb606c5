"""Questions with what is known of their answers: where they stand, how they read, or that there is none.

Pages count from 1. A gold place names a document and, as far as known, its pages and the words that answer.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from ragapp.errors import ConfigError
from ragapp.types import Turn


@dataclass(frozen=True, slots=True)
class Gold:
    """A place that answers. ``pages`` and ``quote`` are empty where only the document is known.

    ``relevance`` is the grade of qrels: 1 and above is relevant, more is better.
    """

    document: str
    pages: tuple[int, ...] = ()
    quote: str = ""
    relevance: int = 1


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a set.

    ``answers`` are texts any of which is right; of ``must_contain`` ``match`` says whether any or all must stand in
    the answer. ``answerable`` is False where the documents do not answer. ``where`` keeps only documents whose name
    matches one of its patterns, as in Query. ``tags`` are facts to group by ("difficulty": "easy").
    """

    id: str
    text: str
    gold: tuple[Gold, ...] = ()
    answers: tuple[str, ...] = ()
    must_contain: tuple[str, ...] = ()
    match: Literal["any", "all"] = "any"
    answerable: bool = True
    history: tuple[Turn, ...] = ()
    where: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dataset:
    """The questions of a file, in its order, ids unique.

    ``fingerprint`` is the sha256 of the questions as ``save`` writes them, whatever they were read from; a set that is
    fitted to a library keeps that of the whole set. ``warnings`` are sentences about what was left out or looks wrong,
    each with a count.
    """

    name: str
    questions: tuple[Question, ...]
    fingerprint: str
    warnings: tuple[str, ...] = ()


def is_same_document(gold: str, named: str) -> bool:
    """Whether a name in a question file means a document of a library: equal, or one ends the other's path."""
    one, other = parts_of(gold), parts_of(named)
    shorter = min(len(one), len(other))
    return shorter > 0 and one[-shorter:] == other[-shorter:]


def parts_of(name: str) -> tuple[str, ...]:
    """The folders and the file of a name, whichever slashes and forms of a letter it was written with."""
    return PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")).parts


def of_questions(name: str, questions: Iterable[Question], warnings: Sequence[str] = ()) -> Dataset:
    """A set of these questions. Raises ConfigError where there is none, or two have one id."""
    kept = tuple(questions)
    if not kept:
        raise ConfigError(f"The set {name} holds no questions.")
    twice = [key for key, count in Counter(question.id for question in kept).items() if count > 1]
    if twice:
        raise ConfigError(f'The set {name} has more than one question with the id "{twice[0]}".')
    digest = hashlib.sha256("".join(lines_of(kept)).encode())
    return Dataset(name, kept, digest.hexdigest(), tuple(warnings))


def lines_of(questions: Iterable[Question]) -> Iterator[str]:
    """The questions as lines of our own format, each with its line end."""
    return (json.dumps(shape_of(question), ensure_ascii=False) + "\n" for question in questions)


def shape_of(question: Question) -> dict[str, Any]:
    """The question as JSON: ``{id, question, gold: [{document, pages, quote, relevance}], answers, must_contain, match,
    answerable, history: [{role, content}], where, tags}``; what is as by default is left out.
    """
    facts = {
        "gold": [_gold_shape(gold) for gold in question.gold],
        "answers": list(question.answers),
        "must_contain": list(question.must_contain),
        "history": [{"role": turn.role, "content": turn.text} for turn in question.history],
        "where": list(question.where),
        "tags": dict(sorted(question.tags.items())),
    }
    shape: dict[str, Any] = {"id": question.id, "question": question.text}
    shape |= {name: value for name, value in facts.items() if value}
    if question.match != "any":
        shape["match"] = question.match
    if not question.answerable:
        shape["answerable"] = False
    return shape


def _gold_shape(gold: Gold) -> dict[str, Any]:
    shape: dict[str, Any] = {"document": gold.document}
    if gold.pages:
        shape["pages"] = list(gold.pages)
    if gold.quote:
        shape["quote"] = gold.quote
    if gold.relevance != 1:
        shape["relevance"] = gold.relevance
    return shape
