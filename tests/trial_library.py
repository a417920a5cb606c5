"""A library for trials, filled without reading a file, and questions whose pages are known."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ragapp import Rag, parts
from ragapp.catalog import FileRow, embedded_text, text_hash
from ragapp.eval.dataset import Dataset, Gold, Question, of_questions
from ragapp.ingest.chunkers import chunker_fingerprint
from ragapp.testing import HashingEmbedder
from ragapp.types import Document, Heading, Page

PLACES = ("harbour", "quarry", "orchard", "foundry", "library", "station", "brewery", "castle", "mill", "garden")
THINGS = ("roof", "gate", "tower", "engine", "bridge", "cellar")
FILLER = "It was measured twice by the surveyor, who wrote the figure into the register of the county. " * 6


class Tokens(HashingEmbedder):
    """A double with token vectors, that counts what it is asked for."""

    calls: ClassVar[dict[str, int]] = {}

    def embed_documents(self, texts: list[str]) -> NDArray[np.float32]:
        self._count("documents", len(texts))
        return super().embed_documents(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        self._count("queries", 1)
        return super().embed_documents([text])[0]

    def embed_tokens(self, texts: list[str]) -> list[NDArray[np.float32]]:
        self._count("tokens", len(texts))
        return [super(Tokens, self).embed_documents([text[a:b] for a, b in self.spans(text)]) for text in texts]

    def _count(self, what: str, times: int) -> None:
        Tokens.calls[what] = Tokens.calls.get(what, 0) + times


EMBEDDER = f"{__name__}:Tokens"
SETTINGS: dict[str, Any] = {"embedder__name": EMBEDDER, "embedder__width": 48}


def document(name: str, pages: list[str], headings: list[str]) -> Document:
    found, marks, text = [], [], ""
    for number, (page, heading) in enumerate(zip(pages, headings, strict=True), 1):
        start = len(text)
        marks.append(Heading(1, heading, start))
        text += f"{heading}\n\n{page}\n"
        found.append(Page(number, start, len(text)))
    key = hashlib.sha256(text.encode()).hexdigest()
    return Document(key, f"file:///docs/{name}", name, "text/plain", text, tuple(found), tuple(marks))


def survey(place: str) -> Document:
    """A document of a page for every thing."""
    pages = [f"{FILLER}The {thing} of the {place} is {_figure(place, thing)} metres high. {FILLER}" for thing in THINGS]
    return document(f"survey-{PLACES.index(place)}.txt", pages, [f"Chapter {n}" for n in range(1, len(pages) + 1)])


def _figure(place: str, thing: str) -> int:
    return 100 + 10 * PLACES.index(place) + THINGS.index(thing)


def add(rag: Rag, made: Document, name: str) -> None:
    """Store a document as an ingest does."""
    chunker = parts.chunker_of(rag.config, rag.embedder)
    chunks = list(chunker.chunk(made))
    rows = rag.embedder.embed_documents([embedded_text(chunk) for chunk in chunks])
    if rag.catalog.embedder() is None:
        rag.catalog.set_embedder(rag.embedder.fingerprint)
        rag.catalog.set_chunker(chunker_fingerprint(chunker))
    vectors = dict(zip(map(text_hash, chunks), rows, strict=True))
    file = FileRow(f"file:///docs/{name}", name, made.id, len(made.text), 1)
    rag.catalog.put(file, made, chunks, vectors, rag.embedder.fingerprint)


def fill(folder: Path, **settings: object) -> Path:
    """A library of ten surveys."""
    with Rag.open(folder, **{**SETTINGS, **settings}) as rag:
        for number, place in enumerate(PLACES):
            add(rag, survey(place), f"survey-{number}.txt")
        rag.publish_caches()
    return folder


def questions(count: int = 30) -> Dataset:
    """Questions about one page each."""
    pairs = [(place, thing) for thing in THINGS for place in PLACES][:count]
    return of_questions("surveys", [question(place, thing) for place, thing in pairs])


def question(place: str, thing: str, *, number: str = "", pages: tuple[int, ...] = ()) -> Question:
    where = f"survey-{PLACES.index(place)}.txt"
    quote = f"The {thing} of the {place} is {_figure(place, thing)} metres high."
    gold = Gold(where, pages or (THINGS.index(thing) + 1,), quote)
    return Question(f"{place}-{thing}{number}", f"How high is the {thing} of the {place}?", (gold,))


def files_of(folder: Path) -> dict[str, str]:
    """The contents of all files of a folder, hashed; what SQLite makes for the time of reading is left out."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }
