"""The second reader: pypdf, for files and pages that pdfium cannot load. It knows no places, so there are no boxes."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.limits import Limits

MENDABLE = "Open it in a viewer and save it anew; then ingest it again."
RESCUED_PAGES = 50  # of a file that pdfium opens; each costs a second look at the file's structure

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def read_all(
    name: str,
    data: bytes,
    passwords: Sequence[str],
    *,
    reason: str,
    limits: Limits,
    on_page: Callable[[int, int], None],
) -> tuple[list[str], dict[str, str]]:
    """The texts of all pages, and the document's metadata.

    Raises ReadError, with the ``reason`` that pdfium gave, when it cannot read them.
    """
    try:
        reader = _opened(data, passwords)
        total = len(reader.pages)
        check_pages(name, total, limits)
        texts: list[str] = []
        chars = 0
        for index, page in enumerate(reader.pages):
            texts.append(_clean(page.extract_text()))
            chars += len(texts[-1])
            check_chars(name, chars, limits)
            on_page(index + 1, total)
    except (MemoryError, ReadError):
        raise
    except Exception as error:
        # pypdf's errors on broken files are of many kinds, AttributeError and TypeError among them.
        raise ReadError(f"{name} is damaged: {reason}.", MENDABLE) from error
    if not texts:
        raise ReadError(f"{name} is damaged: {reason}.", MENDABLE)
    return texts, _metadata(reader)


def _metadata(reader: Any) -> dict[str, str]:
    found = {}
    try:
        for key, value in (reader.metadata or {}).items():
            text = _CONTROL.sub(" ", str(value)).strip()
            if text:
                found[str(key).lstrip("/").lower()] = text[:500]
    except Exception:  # noqa: BLE001  the text is read; what stands beside it must not lose it
        return found
    return found


class Rescue:
    """Single pages of a file that pdfium opens, for those that it cannot load."""

    def __init__(self, data: bytes, password: str | None, total: int) -> None:
        self._data = data
        self._passwords = [password] if password else []
        self._total = total
        self._left = RESCUED_PAGES
        self._reader: Any = None

    def text(self, index: int) -> str | None:
        """The text of a page, from 0; None where pypdf cannot read it either, or sees other pages."""
        if self._left <= 0:
            return None
        self._left -= 1
        try:
            if self._reader is None:
                self._reader = _opened(self._data, self._passwords)
            if len(self._reader.pages) != self._total:
                return None
            return _clean(self._reader.pages[index].extract_text())
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  pypdf's errors on broken pages are of any kind; the page stays unread
            return None


def _opened(data: bytes, passwords: Sequence[str]) -> Any:
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
    if reader.is_encrypted:
        next((p for p in ["", *passwords] if reader.decrypt(p)), None)
    return reader


def check_pages(name: str, pages: int, limits: Limits) -> None:
    """Raise ReadError when a file claims more pages than it may."""
    if pages > limits.pages:
        raise ReadError(
            f"{name} claims {pages:,} pages, more than the {limits.pages:,} that a file may have.",
            "Raise [ingest] max_pages.",
        )


def check_chars(name: str, chars: int, limits: Limits) -> None:
    """Raise ReadError when a file holds more text than it may."""
    if chars > limits.chars:
        raise ReadError(
            f"{name} holds more than the {limits.chars:,} characters of text that a file may have.",
            "Split it into smaller files.",
        )


def _clean(text: str) -> str:
    return _CONTROL.sub(" ", text.replace("\r\n", "\n"))
