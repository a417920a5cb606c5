"""Office, web and text files: looked at, checked against bombs, read by the reader of their kind, put together.

A file is read as what its first bytes say where they are plain (a web page saved as .docx), else as what its name says.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from ragapp.errors import ReadError
from ragapp.ingest.headings import clean_name, is_meaningful
from ragapp.ingest.limits import Limits
from ragapp.ingest.readers import named_bytes, plain
from ragapp.ingest.readers.archive import Archive, encrypted
from ragapp.ingest.readers.blocks import Block, NewPage, Para, Title, build
from ragapp.text import collapse
from ragapp.types import Document

MEDIA_TYPES = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".html": "text/html",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".eml": "message/rfc822",
    ".epub": "application/epub+zip",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".rtf": "application/rtf",
}
KINDS = {
    **{suffix: suffix for suffix in MEDIA_TYPES},
    ".docm": ".docx", ".pptm": ".pptx", ".xlsm": ".xlsx", ".htm": ".html", ".xhtml": ".html", ".markdown": ".md",
    ".text": ".txt", ".log": ".txt",
}  # fmt: skip
MAX_MAILS = 4  # mails inside mails
MAX_TITLE_CHARS = 200
FLOWING = frozenset({".html", ".md", ".txt", ".eml"})  # kinds without pages, which are cut where they are long
_PACKED = frozenset({".docx", ".pptx", ".xlsx", ".epub", ".odt"})
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FOREIGN = {b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"GIF8": "a picture", b"\x7fELF": "a program",
            b"Rar!": "an archive", b"7z\xbc\xaf": "an archive", b"\x1f\x8b": "an archive"}  # fmt: skip

Found = tuple[list[Block], dict[str, str]]


class OfficeReader:
    """Reads every kind of ``KINDS``. ``on_page(done, total)`` is called for every page when the file has been read."""

    def __init__(
        self, on_page: Callable[[int, int], None] = lambda done, total: None, limits: Limits | None = None
    ) -> None:
        self._on_page = on_page
        self._limits = limits or Limits()

    def read(self, path: Path, password: str | None = None) -> Document:
        """The document in a file. Raises ReadError for anything that cannot be read."""
        return self.read_any(path, [password] if password else [])

    def read_any(self, path: Path, passwords: Sequence[str]) -> Document:
        """The document in a file. Office files with passwords are refused, whatever the passwords."""
        name, data = named_bytes(path)
        kind = kind_of(data, name)
        try:
            blocks, metadata = _read(data, kind, name, self._limits, 0)
            content = build(blocks, self._limits, name, flow=kind in FLOWING)
        except RecursionError as error:
            raise ReadError(f"{name} is nested too deeply to be read.", "Save it anew in its program.") from error
        for page in content.pages:
            self._on_page(page.number, len(content.pages))
        return Document(
            id=hashlib.sha256(data).hexdigest(),
            uri=Path(os.path.realpath(path)).as_uri(),
            title=_title(metadata.get("title", ""), blocks, name),
            media_type=MEDIA_TYPES[kind],
            text=content.text,
            pages=content.pages,
            headings=content.headings,
            metadata={**{key: value[:500] for key, value in metadata.items()}, "reader": "office"},
            tables=content.tables,
        )


def kind_of(data: bytes, name: str) -> str:
    """The kind to read a file as. Raises ReadError when it is empty, or plainly something that cannot be read here."""
    named = KINDS.get(PurePath(name).suffix.lower(), "")
    if not data:
        raise ReadError(f"{name} is empty (0 bytes).", "Fetch it again from where it came.")
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"%pdf-"):
        raise ReadError(f"{name} is a PDF.", "Rename it to end in .pdf, and ingest it again.")
    if data.startswith(_OLE):
        raise _of_ole(data, name)
    if data.startswith(b"PK\x03\x04"):
        return _packed_kind(data, name) or _checked_archive(named, name)
    if head.startswith(b"{\\rtf"):
        return ".rtf"
    foreign = next((what for magic, what in _FOREIGN.items() if data.startswith(magic)), None)
    if foreign:
        raise ReadError(f"{name} is {foreign}, whatever its name says.", "Give it the ending of what it is.")
    if named in _PACKED or named == ".rtf":
        if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in head:
            return ".html"
        raise ReadError(
            f"{name} is damaged, or not what its name says: it does not begin like a {named} file.",
            "Open it in its program and save it anew.",
        )
    if not named:
        raise ReadError(f"{name} is of no kind that can be read.")
    return named


def _of_ole(data: bytes, name: str) -> ReadError:
    """What stands in the container of the old Office: a new file under a password, or an old one."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return encrypted(name)
    return ReadError(
        f"{name} is in the format of Office before 2007 (or a mail of Outlook).",
        "Open it in its program and save it as .docx, .pptx, .xlsx or .eml.",
    )


def _packed_kind(data: bytes, name: str) -> str | None:
    """The kind of a zip file by its first members, None when it is none of ours."""
    if b"mimetypeapplication/epub+zip" in data[:200]:
        return ".epub"
    if b"mimetypeapplication/vnd.oasis.opendocument.text" in data[:200]:
        return ".odt"
    members = data[-(1 << 20) :] + data[: 1 << 16]
    for kind, member in ((".docx", b"word/document"), (".pptx", b"ppt/presentation"), (".xlsx", b"xl/workbook")):
        if member in members:
            return kind
    return KINDS.get(PurePath(name).suffix.lower()) if PurePath(name).suffix.lower() in _PACKED else None


def _checked_archive(named: str, name: str) -> str:
    if named in _PACKED:
        return named
    raise ReadError(f"{name} is an archive, whatever its name says.", "Unpack it and ingest what it holds.")


def _read(data: bytes, kind: str, name: str, limits: Limits, depth: int) -> Found:
    """Blocks and metadata by the reader of a kind, which is imported when the first file of the kind is met."""
    if kind in _PACKED:
        return _read_packed(data, kind, name, limits)
    if kind == ".eml":
        return _read_mail(data, name, limits, depth)
    if kind in (".html", ".md"):
        from ragapp.ingest.readers.web import read_html, read_markdown

        return read_html(data, name) if kind == ".html" else read_markdown(plain.decoded(data, name), name)
    if kind == ".rtf":
        from ragapp.ingest.readers.rtf import read_rtf

        return read_rtf(data, name)
    return _read_text(plain.decoded(data, name), kind, name, limits), {}


def _read_text(text: str, kind: str, name: str, limits: Limits) -> list[Block]:
    if kind == ".txt":
        return list(plain.blocks(text))
    from ragapp.ingest.readers.sheets import read_csv

    return read_csv(text, limits, name, "\t" if kind == ".tsv" else "")


def _read_packed(data: bytes, kind: str, name: str, limits: Limits) -> Found:
    archive = Archive(data, name, limits)
    archive.check_parts()
    if kind == ".docx":
        from ragapp.ingest.readers.word import read_docx

        return read_docx(data, archive, name)
    if kind == ".pptx":
        from ragapp.ingest.readers.slides import read_pptx

        return read_pptx(data, name)
    if kind == ".xlsx":
        from ragapp.ingest.readers.sheets import read_xlsx

        return read_xlsx(data, archive, limits, name)
    if kind == ".epub":
        from ragapp.ingest.readers.book import read_epub

        return read_epub(archive, name)
    from ragapp.ingest.readers.opendocument import read_odt

    return read_odt(archive, name)


def _read_mail(data: bytes, name: str, limits: Limits, depth: int) -> Found:
    from ragapp.ingest.readers.mail import read_eml

    def read_part(part: bytes, part_name: str) -> list[Block]:
        if part[:1024].lstrip().startswith(b"%PDF-"):
            return _read_pdf(part, part_name, limits)
        kind = kind_of(part, part_name)
        if depth >= MAX_MAILS:
            raise ReadError(f"{part_name} lies in too many mails.")
        return _read(part, kind, part_name, limits, depth + 1)[0]

    return read_eml(data, name, read_part)


def _read_pdf(data: bytes, name: str, limits: Limits) -> list[Block]:
    """The pages of a PDF that came with a mail, without its boxes.

    It is read from a file that has no name, so that nothing of it stays behind if this process is killed.
    """
    import tempfile

    from ragapp.ingest.readers.pdf import PdfReader

    with tempfile.TemporaryFile() as file:
        place = Path(f"/dev/fd/{file.fileno()}")
        if not place.exists():
            raise ReadError(f"{name} cannot be read where it is.", "Save it beside the mail.")
        file.write(data)
        file.seek(0)
        document = PdfReader(limits=limits).read(place)
    blocks: list[Block] = []
    for page in document.pages:
        blocks += [NewPage(f"page {page.label or page.number}"), Para(document.text[page.start : page.end])]
    return blocks


def _title(declared: str, blocks: Sequence[Block], name: str) -> str:
    """The title: the metadata's if it is meaningful, else the first heading, else the cleaned file name."""
    stem = PurePath(name).stem
    if is_meaningful(declared) and declared.casefold() != stem.casefold():
        return collapse(declared)[:MAX_TITLE_CHARS]
    is_sheet = PurePath(name).suffix.lower() in (".xlsx", ".xlsm")
    first = next((block.text for block in blocks if isinstance(block, Title)), "")
    if not is_sheet and any(char.isalnum() for char in first):
        return collapse(first)[:MAX_TITLE_CHARS]
    return clean_name(name)
