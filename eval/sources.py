"""Files of questions as rows, each with its place for errors; the texts that some bring along, and names for these."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragapp.errors import ConfigError, ReadError

LINE_BYTES = 8 << 20  # of a question; what is longer is something else
FILE_BYTES = 1 << 30  # of a file that is read as a whole
GENERIC = frozenset(("qa", "questions", "queries", "data", "dataset", "set", "train", "dev", "test", "问题", "题库"))
NAME_CHARS = 80  # three bytes a Chinese character, and 255 bytes for the name of a file

_UNFIT = re.compile(r"[^\w .,()+@-]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)

Rows = Iterable[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Text:
    """A document that came with the questions, under the name that their gold places use."""

    document: str
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """What a file or folder holds: rows for ragapp.eval.entries, and, where it has any, its documents.

    ``hint`` says how a row should be.
    """

    rows: Rows
    hint: str
    warnings: tuple[str, ...] = ()
    texts: Callable[[], Iterator[Text]] | None = None


# -- reading ---------------------------------------------------------------------------------------------------------


def lines(path: Path, most: int = LINE_BYTES) -> Iterator[tuple[str, str]]:
    """The lines of a UTF-8 file that hold something, with their places ("qa.jsonl:7"), one in memory at a time.

    Only line feeds end a line: JSON may hold Unicode's other line ends as they are. Raises ReadError for a file that
    is not there, for bytes that are no UTF-8, and for a line of more than ``most`` bytes.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(most + 1), b""), 1):
                place = f"{path}:{number}"
                if len(line) > most:
                    raise ReadError(f"{place}: the line is longer than {most >> 20} MB.", "Is it a file of questions?")
                text = _utf8(line, place, "utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield place, text
    except OSError as error:
        raise unreadable(path, error) from error


def _utf8(line: bytes, place: str, encoding: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        raise ReadError(
            f"{place}: byte {error.start + 1} of the line is no UTF-8.", "Save the file as UTF-8."
        ) from None


def objects(path: Path, most: int = LINE_BYTES) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a file of JSON lines with their places. Raises ReadError for a line that is none."""
    for place, line in lines(path, most):
        row = parsed(line, place)
        if not isinstance(row, dict):
            raise ReadError(f"{place}: the line is no JSON object.", 'Each line is one object: {"question": "…", …}.')
        yield place, row


def parsed(text: str, place: str) -> Any:
    """The JSON of a text. Raises ReadError with ``place`` where it is none, or holds NaN, which is no JSON."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ReadError(f"{place}: the JSON is nested too deeply.", "Is it a file of questions?") from None
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise ReadError(f"{place}: this is no JSON: {error.msg} ({where}).", "Write one JSON object a line.") from None
    except ValueError as error:
        raise ReadError(f"{place}: this is no JSON: {error}.") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def whole(path: Path) -> bytes:
    """A file's bytes. Raises ReadError where it is not there, or too large to be a file of questions."""
    try:
        if path.stat().st_size > FILE_BYTES:
            raise ReadError(f"{path} is larger than {FILE_BYTES >> 30} GB.", "Cut it into several, or use JSON lines.")
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def text_of_file(path: Path) -> str:
    """A UTF-8 file's text. Raises ReadError with the line of what is no UTF-8."""
    data = whole(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ReadError(
            f"{path}:{line}: byte {error.start + 1} of the file is no UTF-8.", "Save the file as UTF-8."
        ) from None


def unreadable(path: Path, error: OSError) -> ReadError:
    return ReadError(f"{path} cannot be read: {error.strerror}.", "Name a file of questions, or a BEIR folder.")


def name_of(path: Path) -> str:
    """What a set is called: its file's name, or its folder's where the file is called like any other."""
    path = path.absolute()
    return path.parent.name if path.stem.casefold() in GENERIC and path.parent.name else path.stem


# -- writing ---------------------------------------------------------------------------------------------------------


def write_whole(path: Path, pieces: Iterable[str], *, sync: bool = True) -> None:
    """Write a text file so that it is there whole or not at all. Raises ConfigError where it cannot be written."""
    made = path.with_name(f".{secrets.token_hex(8)}.making")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with made.open("x", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(made, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.", "Name another place.") from error
    finally:
        with suppress(OSError):
            made.unlink()


def readable(text: str) -> str:
    """A text as a plain file can hold it: without halves of characters, and what makes it look like no text."""
    return _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))


def file_names(keys: Iterable[str]) -> dict[str, str]:
    """Names of text files for ids or titles: like these as far as files can be, and different even in folders that
    take capital letters for small ones. They hang on nothing but the keys.
    """
    plain = {key: _plain_name(key) for key in keys}
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for key, name in plain.items():
        alike[name.casefold()].append(key)
    for several in alike.values():
        if len(several) > 1:
            plain |= {key: _marked(plain[key], key) for key in several}
    return {key: f"{name}.txt" for key, name in plain.items()}


def _plain_name(key: str) -> str:
    name = _UNFIT.sub("_", unicodedata.normalize("NFC", key))[:NAME_CHARS].strip(" .")
    fits = name == key and name[:1].isalnum() and not _RESERVED.fullmatch(name)
    return name if fits else _marked(name, key)


def _marked(name: str, key: str) -> str:
    """The name with a part that only this key has."""
    return f"{name.lstrip('_.,()+@- ') or 'document'}-{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:10]}"
