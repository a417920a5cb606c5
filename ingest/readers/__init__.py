"""Readers: one file in, one document out, or a ReadError that says why not. Each loads on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Protocol

from ragapp.errors import ReadError
from ragapp.ingest.limits import Limits
from ragapp.types import Document

SUFFIXES: tuple[str, ...] = (
    ".pdf", ".docx", ".docm", ".pptx", ".pptm", ".xlsx", ".xlsm", ".html", ".htm", ".xhtml", ".md", ".markdown",
    ".txt", ".text", ".log", ".csv", ".tsv", ".eml", ".epub", ".odt", ".rtf",
)  # fmt: skip
"""What can be read, PDFs first."""

_SCAN = "scan or print it into a .pdf; pages without text are read when tesseract is installed, or ragapp[ocr]"
_SHEET = "open it in a spreadsheet program and save it as .xlsx"
_SLIDES = "open it in a presentation program and save it as .pptx"
_TEXT = "open it in its program and save it as .docx or .pdf"
_UNPACK = "unpack it and ingest the folder"

EXTRAS: Mapping[str, str] = MappingProxyType({
    ".doc": "save it as .docx (LibreOffice: soffice --headless --convert-to docx)",
    ".dot": "save it as .docx", ".wps": "save it as .docx", ".wpd": "save it as .docx", ".pages": _TEXT,
    ".ppt": "save it as .pptx (LibreOffice: soffice --headless --convert-to pptx)",
    ".key": _SLIDES, ".odp": _SLIDES, ".dps": _SLIDES,
    ".xls": "save it as .xlsx (LibreOffice: soffice --headless --convert-to xlsx)",
    ".xlsb": _SHEET, ".ods": _SHEET, ".numbers": _SHEET, ".et": _SHEET,
    ".msg": "save it as .eml in the mail program", ".pst": "save its mails as .eml", ".mbox": "save its mails as .eml",
    ".mobi": "convert it to .epub (calibre: ebook-convert)", ".azw3": "convert it to .epub (calibre: ebook-convert)",
    ".djvu": "convert it to .pdf (ddjvu -format=pdf)", ".ps": "convert it to .pdf (ps2pdf)",
    ".xps": "print it into a .pdf",
    ".tex": "typeset it, or rename a copy to .txt", ".rst": "rename a copy to .txt", ".org": "rename a copy to .txt",
    ".adoc": "rename a copy to .txt", ".json": "rename a copy to .txt", ".xml": "rename a copy to .txt",
    ".jsonl": "rename a copy to .txt", ".yaml": "rename a copy to .txt", ".yml": "rename a copy to .txt",
    ".mht": "save the page as .html", ".mhtml": "save the page as .html",
    ".png": _SCAN, ".jpg": _SCAN, ".jpeg": _SCAN, ".tif": _SCAN, ".tiff": _SCAN, ".bmp": _SCAN, ".gif": _SCAN,
    ".webp": _SCAN, ".heic": _SCAN,
    ".zip": _UNPACK, ".7z": _UNPACK, ".rar": _UNPACK, ".tar": _UNPACK, ".gz": _UNPACK,
})  # fmt: skip
"""Kinds that are not read as they are: the step or the program that makes them readable, as the end of a sentence."""


class Reader(Protocol):
    """Reads one file. Raises ReadError for anything that it cannot read."""

    def read_any(self, path: Path, passwords: Sequence[str]) -> Document: ...


def reader_for(
    path: Path,
    on_page: Callable[[int, int], None] = lambda done, total: None,
    limits: Limits | None = None,
    *,
    pdf: str = "pdfium",
) -> Reader:
    """The reader for a file, by its name. ``pdf`` names the one for PDFs: "pdfium" or "hi_res" (``ragapp[layout]``)."""
    if PurePath(path).suffix.lower() == ".pdf":
        if pdf == "hi_res":
            from ragapp.ingest.readers.hires import HiResReader

            return HiResReader(on_page, limits)
        from ragapp.ingest.readers.pdf import PdfReader

        return PdfReader(on_page, limits=limits)
    from ragapp.ingest.readers.office import OfficeReader

    return OfficeReader(on_page, limits)


def named_bytes(path: Path) -> tuple[str, bytes]:
    """A file's name as it may be printed and stored, though it need not be UTF-8 on disk, and its bytes."""
    name = path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        return name, path.read_bytes()
    except OSError as error:
        raise ReadError(f"{name} cannot be read: {error.strerror}.") from error


def cannot_read(suffix: str) -> str:
    """Why a kind of file cannot be read and what would help, as the end of a sentence about the file."""
    extra = EXTRAS.get(suffix.lower())
    if extra:
        return f"is not of a kind that can be read as it is: {extra}"
    return f"is not of a kind that can be read ({', '.join(SUFFIXES)})"
