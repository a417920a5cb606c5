"""What kind a file is of, by its bytes, before it is read: for files whose names somebody else has chosen."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from ragapp.errors import ReadError
from ragapp.ingest.readers import SUFFIXES, cannot_read, plain
from ragapp.ingest.readers.office import KINDS, kind_of
from ragapp.ingest.readers.pdf import check_kind

HEAD = 1 << 16
TAIL = 1 << 20  # office files have their list of parts at the end
_TEXTS = frozenset({".txt", ".md", ".csv", ".tsv"})


def readable_name(path: Path, name: str) -> str:
    """The name under which a file can be read as what it is: its own, or with an ending added to it.

    Looks at the two ends of the file. Raises ReadError for what cannot be read, and OSError.
    """
    data, shown = _ends(path), PurePath(name).name
    suffix = PurePath(name).suffix.lower()
    if not data:
        raise ReadError(f"{shown} is empty (0 bytes).", "Fetch it again from where it came.")
    if data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"%PDF-"):
        return name if suffix == ".pdf" else f"{name}.pdf"
    if suffix == ".pdf":
        return _not_quite_a_pdf(data, name, shown)
    if suffix in SUFFIXES:
        _check(data, shown, suffix)
        return name
    return f"{name}{_guessed(data, shown, suffix)}"


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= HEAD + TAIL:
            return file.read()
        head = file.read(HEAD)
        file.seek(size - TAIL)
        return head + file.read()


def _check(data: bytes, shown: str, suffix: str) -> None:
    """Raise ReadError where the bytes are plainly not of a kind that a file of this name can be read as."""
    kind = kind_of(data, shown)
    if kind == KINDS[suffix] and kind in _TEXTS:
        plain.decoded(data[:HEAD], shown)


def _not_quite_a_pdf(data: bytes, name: str, shown: str) -> str:
    """A PDF with stray bytes in front, or an office file that was saved under a PDF's name."""
    try:
        return f"{name}{kind_of(data, 'unnamed')}"
    except ReadError:
        check_kind(shown, data)
        return name


def _guessed(data: bytes, shown: str, suffix: str) -> str:
    """The ending for a file whose own says nothing to us. A text is taken for one only where it has none at all."""
    try:
        return kind_of(data, "unnamed")
    except ReadError:
        if suffix:
            raise ReadError(f"{shown} {cannot_read(suffix)}.") from None
    kind_of(data, f"{shown}.txt")
    plain.decoded(data[:HEAD], shown)
    return ".txt"
