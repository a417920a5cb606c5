"""What the read path may see of the library: texts and pages of the documents whose passages it was given."""

from __future__ import annotations

from dataclasses import replace

from ragapp.catalog import Catalog
from ragapp.errors import NotFound
from ragapp.types import Excerpt, Passage


class StoredText:
    """ports.Library over the catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def text_of(self, document_id: str) -> str:
        try:
            return self._catalog.document(document_id).text
        except NotFound:
            return ""  # removed while the answer was written: nothing of it can be verified any more

    def words(self, document_id: str, start: int, end: int) -> str:
        pages = self._catalog.pages(document_id, start, end)
        return "".join(text[max(0, start - page.start) : max(0, end - page.start)] for page, text in pages)

    def page_at(self, document_id: str, offset: int) -> int:
        pages = self._catalog.pages(document_id, offset, offset + 1)
        return pages[0][0].number if pages else 0

    def page_parts(self, document_id: str, start: int, end: int) -> list[tuple[int, int, int]]:
        pages = self._catalog.pages(document_id, start, end)
        return [(page.number, max(start, page.start), min(end, page.end)) for page, _ in pages]

    def around(self, document_id: str, start: int, end: int) -> Excerpt | None:
        return self._catalog.excerpt(document_id, start, end)

    def core(self, passage: Passage) -> Passage:
        key = passage.chunk.id
        # What a retriever of the user's own found has no id, and lies in no library.
        found = self._catalog.chunks([key]) if key else {}
        return replace(passage, chunk=found[key][0]) if key in found else passage
