"""PDFs by the page models of unstructured (its strategy "hi_res"), for layouts that other readers cannot follow.

It needs the extra ``ragapp[layout]``, which brings models and torchvision and takes seconds a page. Titles become
headings, tables keep their rows; there are no boxes, as the text is no longer the file's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.headings import clean_name
from ragapp.ingest.limits import Limits
from ragapp.ingest.readers import named_bytes
from ragapp.ingest.readers.blocks import Block, NewPage, Para, Title, build
from ragapp.ingest.readers.partition import quiet_import
from ragapp.text import collapse
from ragapp.types import Document

MEDIA_TYPE = "application/pdf"
INSTALL = "pip install 'ragapp[layout]'"
_RUNNING = ("Header", "Footer", "PageNumber")


class HiResReader:
    """Reads PDFs by looking at their pages. ``on_page(done, total)`` is called for every page at the end."""

    def __init__(
        self, on_page: Callable[[int, int], None] = lambda done, total: None, limits: Limits | None = None
    ) -> None:
        self._on_page = on_page
        self._limits = limits or Limits()

    def read(self, path: Path, password: str | None = None) -> Document:
        """The document in a file. Raises ReadError when it cannot be read or the extra is missing."""
        return self.read_any(path, [password] if password else [])

    def read_any(self, path: Path, passwords: Sequence[str]) -> Document:
        """The document in a file that opens without a password or with one of these."""
        name, data = named_bytes(path)
        if b"%PDF-" not in data[: 1 << 16]:
            raise ReadError(f"{name} is not a PDF.", "Fetch it again from where it came.")
        elements = _elements(path, passwords, name)
        content = build(_blocks(elements), self._limits, name)
        for page in content.pages:
            self._on_page(page.number, len(content.pages))
        title = next((heading.title for heading in content.headings), "")
        return Document(
            id=hashlib.sha256(data).hexdigest(),
            uri=Path(os.path.realpath(path)).as_uri(),
            title=collapse(title) or clean_name(name),
            media_type=MEDIA_TYPE,
            text=content.text,
            pages=content.pages,
            headings=content.headings,
            metadata={"reader": "unstructured hi_res"},
            tables=content.tables,
        )


def _elements(path: Path, passwords: Sequence[str], name: str) -> list[Any]:
    try:
        partition_pdf = quiet_import("unstructured.partition.pdf").partition_pdf
    except ImportError as error:
        raise ReadError(f"{name} cannot be read in high resolution: a part of it is missing.", INSTALL) from error
    wrong = None
    for password in (None, *passwords):
        try:
            return list(
                partition_pdf(
                    filename=str(path), strategy="hi_res", infer_table_structure=True, languages=["eng", "chi_sim"],
                    password=password,
                )
            )  # fmt: skip
        except (MemoryError, RecursionError):
            raise
        except ImportError as error:
            raise ReadError(f"{name} cannot be read in high resolution: a part of it is missing.", INSTALL) from error
        except Exception as error:  # noqa: BLE001  models, poppler and pdfminer each raise errors of their own
            wrong = error
    raise ReadError(f"{name} could not be read in high resolution: {wrong}.", 'Set [ingest] pdf = "pdfium".') from wrong


def _blocks(elements: Sequence[Any]) -> Iterator[Block]:
    page = 1
    for element in elements:
        number = element.metadata.page_number or page
        for _ in range(max(0, number - page)):
            yield NewPage()
        page = max(page, number)
        text = (element.text or "").strip()
        if element.category in (*_RUNNING, "PageBreak") or not text:
            continue
        if element.category == "Title":
            yield Title((element.metadata.category_depth or 0) + 1, text)
        elif element.category == "Table" and element.metadata.text_as_html:
            yield from _table(element.metadata.text_as_html, text)
        else:
            yield Para(f"- {text}" if element.category == "ListItem" else text, tight=element.category == "ListItem")


def _table(html: str, text: str) -> Iterator[Block]:
    from ragapp.ingest.readers.web import table_of

    grid = table_of(html)
    yield grid if grid is not None else Para(text)
