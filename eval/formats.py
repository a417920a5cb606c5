"""The formats that sets of questions come in, each read into a Dataset; and the texts that some bring along, as files.

- ``jsonl``: a question a line, our own or other people's (ragapp.eval.entries says which members); ``json``: a list of
  such objects.
- ``squad``: SQuAD 1.1 and 2.0, as published or a question a row (ragapp.eval.squad).
- ``beir``: a folder with ``corpus.jsonl``, ``queries.jsonl`` and qrels (ragapp.eval.beir).
- ``csv``: a spreadsheet saved as CSV or TSV, its columns named in English or Chinese (ragapp.eval.spreadsheets).

Not covered: parquet files, and archives that are still packed.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from ragapp.errors import ConfigError, ReadError
from ragapp.eval import beir, spreadsheets, squad
from ragapp.eval.entries import SHAPE, of_rows
from ragapp.eval.questions import Dataset
from ragapp.eval.sources import Source, Text, name_of, objects, parsed, text_of_file, unreadable, write_whole
from ragapp.eval.values import counted

FORMATS = ("jsonl", "json", "squad", "beir", "csv")
FILES = ("questions.jsonl", "qa.jsonl")  # what is meant by a folder that is none of BEIR's
START_BYTES = 1 << 16
TABLES = (".csv", ".tsv", ".tab")


@dataclass(frozen=True, slots=True)
class Imported:
    """A set that was taken over, and the files that were written of its documents."""

    dataset: Dataset
    files: tuple[Path, ...] = ()


def read(path: Path, *, format: str = "", split: str = "test") -> Dataset:
    """The questions of a file or folder; without ``format`` (one of FORMATS) it is told from what is there.

    ``split`` names the qrels of a BEIR folder. Raises ReadError with file, line, what is wrong and what to do, and
    ConfigError for a format that nobody knows.
    """
    path, kind = _meant(path, format)
    return _dataset(path, kind, _source(path, kind, split))


def export(source: Path, folder: Path, *, format: str = "", split: str = "test") -> Imported:
    """The questions, and a text file in ``folder`` for each document that they came with: ``ragapp ingest FOLDER``
    makes the library that the gold places name.

    Documents without text are left out and counted. Raises ConfigError where the format brings no documents, and for
    a file of that name which holds something else; ReadError as ``read``.
    """
    path, kind = _meant(source, format)
    found = _source(path, kind, split)
    dataset = _dataset(path, kind, found)
    if found.texts is None:
        raise ConfigError(
            f"{path} holds questions and no documents.", "Leave out --documents and ingest the documents themselves."
        )
    files, empty = _written(found.texts(), folder)
    told = (f"{counted(empty, 'document')} without text left out.",) if empty else ()
    return Imported(replace(dataset, warnings=(*dataset.warnings, *told)), files)


def _written(texts: Iterator[Text], folder: Path) -> tuple[tuple[Path, ...], int]:
    files, empty = [], 0
    for text in texts:
        if not text.text.strip():
            empty += 1
            continue
        path = folder / text.document
        _write(path, text.text + "\n")
        files.append(path)
    return tuple(files), empty


def _write(path: Path, text: str) -> None:
    """Write a document where there is none yet; the same one may be there already."""
    there = None
    with suppress(OSError, UnicodeDecodeError):
        there = path.read_bytes().decode("utf-8")
    if path.exists() and there != text:
        raise ConfigError(
            f"{path} is there already and holds something else.", "Name an empty folder for the documents."
        )
    if there is None:
        write_whole(path, [text], sync=False)


def _dataset(path: Path, kind: str, source: Source) -> Dataset:
    rows = iter(source.rows)
    first = next(rows, None)
    if first is None:
        raise ReadError(" ".join((f"{path} holds no questions.", *source.warnings)), source.hint)
    name = path.absolute().name if kind == "beir" else name_of(path)
    return of_rows(chain([first], rows), name, source.warnings, hint=source.hint)


# -- which format ----------------------------------------------------------------------------------------------------


def _meant(path: Path, format: str) -> tuple[Path, str]:
    """The file or folder to read, and its format."""
    if format and format not in FORMATS:
        raise ConfigError(f'There is no format "{format}".', f"There are: {', '.join(FORMATS)}.")
    if path.name == "queries.jsonl" and beir.is_beir(path.parent):
        path = path.parent
    if path.is_dir() and not beir.is_beir(path):
        path = _file_in(path)
    return path, format or ("beir" if path.is_dir() else _told(path))


def _file_in(folder: Path) -> Path:
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if len(found) == 1:
        return found[0]
    raise ReadError(
        f"{folder} is a folder, and not clearly a set of questions.",
        "Name the file of questions; a BEIR folder holds corpus.jsonl, queries.jsonl and qrels.",
    )


def _told(path: Path) -> str:
    """The format of a file: by its name for tables, else by its first characters."""
    if path.suffix.lower() in TABLES:
        return "csv"
    start = _start(path)
    if start.startswith("["):
        return "json"
    if start.startswith("{"):
        return "squad" if _is_published(start) else "jsonl"
    is_table = start.startswith("PK\x03\x04") or spreadsheets.has_questions(start)
    return "csv" if is_table and path.suffix.lower() not in (".jsonl", ".json") else "jsonl"


def _start(path: Path) -> str:
    """The first characters of a file, in whatever encoding: only to see what it is."""
    try:
        with path.open("rb") as file:
            data = file.read(START_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig", "replace").lstrip()


def _is_published(start: str) -> bool:
    """Whether a file that begins with an object is one of SQuAD's, and not a question a line."""
    try:
        row = json.loads(start.split("\n", 1)[0])
    except (ValueError, RecursionError):
        return '"paragraphs"' in start or '"data"' in start
    return squad.is_published(row)


# -- reading one -----------------------------------------------------------------------------------------------------


def _source(path: Path, kind: str, split: str) -> Source:
    if kind == "beir":
        return beir.source(path, split)
    if kind == "csv":
        return spreadsheets.source(path)
    if kind == "squad":
        return squad.of_published(str(path), parsed(text_of_file(path), str(path)))
    rows = iter(objects(path) if kind == "jsonl" else _listed(path))
    first = next(rows, None)
    if first is None:
        return Source((), SHAPE)
    rows = chain([first], rows)
    return squad.of_rows(rows) if squad.is_row(first[1]) else Source(rows, SHAPE)


def _listed(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a list, with their numbers."""
    found = parsed(text_of_file(path), str(path))
    if not isinstance(found, list):
        raise ReadError(f"{path} holds no list of questions.", SHAPE)
    for number, row in enumerate(found, 1):
        if not isinstance(row, Mapping):
            raise ReadError(f"{path}: entry {number} is no object.", SHAPE)
        yield f"{path}: entry {number}", row
