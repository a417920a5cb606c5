"""A small library with everything in it, and what it answers: to be damaged, and compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ragapp import Rag
from ragapp.catalog import Catalog
from ragapp.config import load
from ragapp.lexicon import Lexicon
from ragapp.testing import document_of
from ragapp.types import Document, Heading, Page, Table
from ragapp.vectors import VectorIndex
from tests.libraries import FINGERPRINT, contents, open_catalog, put

CONFIG = load({"embedder.name": "hashing", "embedder.width": 32})
QUESTIONS = ("How long is the warranty of the pump?", "现金流量表在哪里？", "Which boats float on the river?")


def _long(subject: str, lines: int) -> str:
    return "\n".join(f"Line {n} says that the {subject} number {n} weighs {n * 7} grams." for n in range(lines))


def _with_layout(document: Document) -> Document:
    """Tables, and the marks of a page that was read by OCR and of one that could not be read."""
    first, *rest = document.pages
    words = ((0, 3, 1.0, 2.0, 30.0, 12.0), (4, 9, 31.5, 2.0, 60.0, 12.0))
    pages = (Page(first.number, first.start, first.end, "iv", "image", "ocr", ((0, 5, 3),), words), *rest)
    table = Table(1, 0, 12, "Table 1", ("Year", "Sales"), ((0, 4), (5, 12)))
    return replace(document, pages=pages, tables=(table,), metadata={"author": "Ada Lovelace"})


DOCUMENTS = {
    "pump.pdf": document_of(
        "The warranty of the pump is 24 months long.", _long("pump", 60), name="pump.pdf", title="Pump manual",
        headings=[Heading(1, "Warranty", 0)],
    ),
    "deep/boats.pdf": _with_layout(document_of("Boats float on the river.", "Rafts do not.", name="boats.pdf")),
    "中文.pdf": document_of("公司的现金流量表列示经营活动。", "资产负债表在第三页。", name="zh.pdf"),
    "fruit.pdf": document_of(_long("apple", 90), "", "Pears are green.", name="fruit.pdf"),
}  # fmt: skip


def publish(catalog: Catalog) -> None:
    """Both search caches, as an ingest leaves them."""
    for cache in (VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)):
        cache.publish()
        cache.close()


def build(folder: Path) -> None:
    catalog = open_catalog(folder)
    for name, document in DOCUMENTS.items():
        put(catalog, document, name, header=f"{document.title} › part")
    publish(catalog)
    catalog.close()


def held(folder: Path) -> dict[str, Any]:
    """What a library holds, by file name. Raises LibraryError."""
    catalog = Catalog(folder, create=False)
    try:
        return contents(catalog)
    finally:
        catalog.close()


def answers(folder: Path) -> list[Any]:
    """Everything that searching and asking gives: texts, places, scores, quotes. Raises LibraryError."""
    found: list[Any] = []
    with Rag.open(folder, config=CONFIG, create=False) as rag:
        for question in QUESTIONS:
            for p in rag.search(question, k=6):
                c = p.chunk
                found.append((p.document, p.title, p.score, c.text, c.start, c.end, c.page, c.headings, c.parent))
            answer = rag.ask(question)
            found.append((answer.text, [(c.quote, c.page, c.start, c.end, c.state) for c in answer.citations]))
    return found
