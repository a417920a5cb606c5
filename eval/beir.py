"""BEIR folders: ``corpus.jsonl`` {_id, title, text}, ``queries.jsonl`` {_id, text, metadata} and qrels, the grades.

Grades stand in ``qrels/SPLIT.tsv`` or ``qrels.tsv``: query, document and grade, set apart by tabs under a line of
heads; or without heads in the four columns of TREC. A document's name is that of the file which ``export`` writes for
it. Answers are read from ``metadata.answers`` where a folder has them. Source: Thakur et al. 2021.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragapp.errors import ReadError
from ragapp.eval.sources import Source, Text, file_names, lines, objects, readable
from ragapp.eval.values import counted

SHAPE = 'A line of queries.jsonl is {"_id": "…", "text": "…"}, one of qrels: question, document, grade.'
TEXT_BYTES = 64 << 20  # of a line of the corpus: whole books are among them

Grades = dict[str, dict[str, int]]


def is_beir(path: Path) -> bool:
    return (path / "queries.jsonl").is_file() and (path / "corpus.jsonl").is_file()


def source(folder: Path, split: str) -> Source:
    """The questions that the split grades, in the order of ``queries.jsonl``, and the corpus.

    Raises ReadError for a folder without one of its files, lines that are wrong, and an unknown split.
    """
    grades, told = _grades(_qrels(folder, split))
    queries = dict(_texts_of(folder / "queries.jsonl"))
    names = file_names(key for key, _ in _texts_of(folder / "corpus.jsonl"))
    graded = {document for found in grades.values() for document in found}
    rows = [(place, _row(key, row, grades[key], names)) for key, (place, row) in queries.items() if grades.get(key)]
    return Source(
        rows,
        SHAPE,
        (*told, *_left_out(grades, queries, graded - names.keys())),
        lambda: _texts(folder, names),
    )


def _row(key: str, row: Mapping[str, Any], grades: Mapping[str, int], names: Mapping[str, str]) -> dict[str, Any]:
    metadata = row.get("metadata")
    facts = metadata if isinstance(metadata, Mapping) else {}
    absent = file_names(document for document in grades if document not in names)
    gold = [{"document": names.get(d) or absent[d], "relevance": grade} for d, grade in grades.items()]
    plain = {name: value for name, value in facts.items() if isinstance(value, str | int | float)}
    return {"id": key, "question": row.get("text"), "gold": gold, "answers": facts.get("answers"), "metadata": plain}


def _texts_of(path: Path) -> Iterator[tuple[str, tuple[str, Mapping[str, Any]]]]:
    """``(id, (place, row))`` of each line. Raises ReadError for a line without an id, and an id that is there twice."""
    seen: dict[str, str] = {}
    for place, row in objects(path, TEXT_BYTES):
        key = row.get("_id", row.get("id"))
        if not isinstance(key, str | int) or not str(key).strip():
            raise ReadError(f'{place}: there is no "_id".', 'A line is {"_id": "…", "text": "…"}.')
        before = seen.setdefault(str(key), place)
        if before != place:
            raise ReadError(f'{place}: the id "{key}" is that of {before} too.', "Give every line its own id.")
        yield str(key), (place, row)


def _texts(folder: Path, names: Mapping[str, str]) -> Iterator[Text]:
    """The documents: title and text, as BEIR puts them together for search."""
    for key, (place, row) in _texts_of(folder / "corpus.jsonl"):
        parts = [row.get("title") or "", row.get("text") or ""]
        if not all(isinstance(part, str) for part in parts):
            raise ReadError(f"{place}: title or text is no text.", 'A line is {"_id": "…", "title": "…", "text": "…"}.')
        yield Text(names[key], readable("\n\n".join(part.strip() for part in parts if part.strip())))


# -- qrels -----------------------------------------------------------------------------------------------------------


def _qrels(folder: Path, split: str) -> Path:
    for path in (folder / "qrels" / f"{split}.tsv", folder / "qrels.tsv"):
        if re.fullmatch(r"[\w.-]+", split) and path.is_file():
            return path
    there = ", ".join(sorted(path.stem for path in (folder / "qrels").glob("*.tsv")))
    raise ReadError(
        f'{folder} has no qrels of the split "{split}".',
        f"There is: {there}. Name one with --split." if there else "They stand in qrels/SPLIT.tsv or qrels.tsv.",
    )


def _grades(path: Path) -> tuple[Grades, list[str]]:
    """The grades of 1 and more by question and document, and what is odd about them. The higher of two counts."""
    grades: Grades = {}
    seen: dict[tuple[str, str], int] = {}
    contrary: set[tuple[str, str]] = set()
    for number, (place, line) in enumerate(lines(path)):
        cells = [cell.strip() for cell in line.split("\t" if "\t" in line else None)]
        if number == 0 and not _is_grade(cells[-1]):
            continue
        query, document, grade = _judged(cells, place)
        known = seen.get((query, document), grade)
        contrary |= {(query, document)} if known != grade else set()
        seen[query, document] = max(known, grade)
    for (query, document), grade in seen.items():
        found = grades.setdefault(query, {})
        if grade > 0:
            found[document] = grade
    told = f"{counted(len(contrary), 'pair')} of question and document with different grades: the higher one counts."
    return grades, [told] * bool(contrary)


def _judged(cells: list[str], place: str) -> tuple[str, str, int]:
    if len(cells) == 4:  # TREC's second column says nothing
        del cells[1]
    if len(cells) != 3 or not all(cells) or not _is_grade(cells[2]):
        raise ReadError(f"{place}: this is no grade of a document.", "A line is: question, document, whole number.")
    return cells[0], cells[1], int(float(cells[2]))


def _is_grade(cell: str) -> bool:
    return re.fullmatch(r"-?\d{1,9}(?:\.0+)?", cell) is not None


def _left_out(grades: Grades, queries: Mapping[str, object], absent: set[str]) -> Iterator[str]:
    ungraded = len(queries) - len(queries.keys() & grades.keys())
    if ungraded:
        yield f"{counted(ungraded, 'question')} left out: no grades in this split."
    nothing = sum(not found for key, found in grades.items() if key in queries)
    if nothing:
        yield f"{counted(nothing, 'question')} left out: no relevant document is known."
    unknown = len(grades.keys() - queries.keys())
    if unknown:
        yield f"{counted(unknown, 'graded question')} not in queries.jsonl."
    if absent:
        yield f"{counted(len(absent), 'graded document')} not in corpus.jsonl."
