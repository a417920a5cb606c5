"""Sets of questions on the disk: read from any format, written in our own, fitted to a library.

The nouns stand in ragapp.eval.questions and can be had here as well; what each format looks like is told in
ragapp.eval.formats.
"""

from __future__ import annotations

import glob
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from ragapp.errors import ConfigError
from ragapp.eval import formats
from ragapp.eval.entries import of_rows
from ragapp.eval.questions import (
    Dataset,
    Gold,
    Question,
    is_same_document,
    lines_of,
    of_questions,
    parts_of,
    shape_of,
)
from ragapp.eval.sources import write_whole
from ragapp.eval.values import counted

__all__ = [
    "Dataset",
    "Gold",
    "Question",
    "completed",
    "is_same_document",
    "load",
    "of_questions",
    "of_rows",
    "placed",
    "save",
    "shape_of",
]

_ESCAPED = re.compile(r"\[([*?\[])\]")  # as glob.escape writes a character that a pattern would read


def load(path: Path, *, format: str = "", split: str = "test") -> Dataset:
    """The questions of a file or folder, in any format of ragapp.eval.formats, told from what it holds.

    ``format`` names one instead, ``split`` the qrels of a BEIR folder. Raises ReadError with the file, the line, what
    is wrong with it and what to do.
    """
    return formats.read(path, format=format, split=split)


def save(dataset: Dataset, path: Path) -> None:
    """Write the questions as JSON lines that ``load`` reads back the same; whole, or not at all.

    The name and the warnings of the set are not kept. Raises ConfigError where the file cannot be written.
    """
    write_whole(path, lines_of(dataset.questions))


def completed(dataset: Dataset, *originals: Dataset) -> Dataset:
    """The set with what its paraphrases do not say: a question whose tag ``of`` names the id of a question in
    ``originals`` takes from it what it has not itself, gold and answers above all.

    It is another set, with a fingerprint and warnings of its own; questions that name no original, or one that is not
    there, stay as they are and are counted. Raises ConfigError where two originals have one id, and where no question
    names one of them.
    """
    known = of_questions("of the originals", (question for each in originals for question in each.questions))
    by_id = {question.id: shape_of(question) for question in known.questions}
    alone = sum(question.tags.get("of", "") not in by_id for question in dataset.questions)
    if alone == len(dataset.questions):
        raise ConfigError(
            f"No question of the set {dataset.name} names one of the originals.",
            'A paraphrase says by "of" which question it stands for: {"id": "p1", "of": "q1", "question": "…"}.',
        )
    told = [f"{counted(alone, 'question')} left without an original: none that is there is named."] if alone else []
    rows = []
    for question in dataset.questions:
        own, original = shape_of(question), by_id.get(question.tags.get("of", ""), {})
        tags = {**original.get("tags", {}), **question.tags}
        rows.append((f"{dataset.name}: {question.id}", {**original, **own, "tags": tags}))
    return of_rows(rows, dataset.name, told)


# -- a set and a library ---------------------------------------------------------------------------------------------


def placed(dataset: Dataset, documents: Collection[str]) -> Dataset:
    """The set for a library that holds these documents: its places and scopes under the library's own names.

    A name means the document that it ends, or that ends it (``is_same_document``); of several the exact one, else the
    one that shares most. What is not there, or could be several, is left out: places, documents of a scope, and
    questions of which nothing is left, counted in the warnings. The fingerprint stays that of the whole set.

    Raises ConfigError where questions name documents and the library holds none of them.
    """
    names = _Names(documents)
    fitted = [_fitted(question, names) for question in dataset.questions]
    kept = tuple(question for question in fitted if question)
    if not kept or ((names.unknown or names.ambiguous) and not names.found):
        missing = _some(names.unknown or names.ambiguous)
        raise ConfigError(
            f"The library has none of the documents that the set {dataset.name} names: {missing}.",
            "Ingest them first, or name the library that holds them with --library.",
        )
    return replace(dataset, questions=kept, warnings=(*dataset.warnings, *_misses(names, len(fitted) - len(kept))))


class _Names:
    """The names of a library's documents, and which names of a set were found among them."""

    def __init__(self, documents: Collection[str]) -> None:
        self.all = frozenset(documents)
        self.by_file: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(self.all):
            self.by_file[_file_of(name)].append(name)
        self.found: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.ambiguous: Counter[str] = Counter()

    def document(self, name: str) -> str:
        """The library's name of a document; nothing where there is none, or more than one."""
        best = self._nearest(name)
        (self.unknown if not best else self.found if len(best) == 1 else self.ambiguous)[name] += 1
        return best[0] if len(best) == 1 else ""

    def scope(self, pattern: str) -> str:
        """A pattern for the library's names; nothing where no document fits it.

        A pattern that is a name without wildcards means its document, in whichever folder the library has it.
        """
        name = _ESCAPED.sub(r"\1", pattern)
        if glob.escape(name) == pattern:
            return glob.escape(self.document(name))
        fits = any(fnmatchcase(each, pattern) for each in self.all)
        (self.found if fits else self.unknown)[pattern] += 1
        return pattern if fits else ""

    def _nearest(self, name: str) -> list[str]:
        if name in self.all:
            return [name]
        alike = [each for each in self.by_file.get(_file_of(name), ()) if is_same_document(name, each)]
        nearest = max((_shared(name, each) for each in alike), default=0)
        return [each for each in alike if _shared(name, each) == nearest]


def _file_of(name: str) -> str:
    return next(iter(parts_of(name)[-1:]), "")


def _shared(one: str, other: str) -> int:
    return min(len(parts_of(one)), len(parts_of(other)))


def _fitted(question: Question, names: _Names) -> Question | None:
    """The question in the library's names; None where its documents, or all that it is asked of, are not there."""
    found = [(gold, names.document(gold.document)) for gold in question.gold]
    gold = tuple(replace(gold, document=name) for gold, name in found if name)
    where = tuple(filter(None, map(names.scope, question.where)))
    if (question.gold and not gold) or (question.where and not where):
        return None
    return replace(question, gold=gold, where=where)


def _misses(names: _Names, left_out: int) -> Iterator[str]:
    if names.unknown:
        yield f"{counted(len(names.unknown), 'document')} of the set not in the library: {_some(names.unknown)}."
    if names.ambiguous:
        yield (
            f"{counted(len(names.ambiguous), 'name')} that several documents of the library have: "
            f"{_some(names.ambiguous)}. Give their folders too."
        )
    if left_out:
        yield f"{counted(left_out, 'question')} left out: none of their documents is known in the library."


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
