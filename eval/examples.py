"""Questions that a library answers, and others that it does not: made of one set of questions and several libraries.

A file holds a question a line, ``{"question"}``, and where the answer stands as far as that is known:
``"gold": [{"pdf", "page" | "pages"}]``, or ``"pdf"`` and ``"gold_pages"``, or ``"doc"`` and ``"spans": [{"text"}]``.
Pages count from 1. ``"answers"`` are strings any of which answers.

Unanswerable examples are made of answerable questions in three ways, from easy to hard:

- elsewhere: asked to libraries that hold none of the documents of its own,
- document: asked to its own library, the documents that answer held back,
- passages: asked to its own library, only the passages that answer held back: a near miss.

Where the answer's words are found in what is left, there is no example. Where they are not known, some of what is
called unanswerable can be answered all the same: nobody read the rest of the library.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ragapp.errors import ReadError
from ragapp.ports import Tools
from ragapp.types import Passage, Query

Kind = Literal["answerable", "unanswerable", "elsewhere", "document", "passages"]

DEEPER = 3  # times as many candidates are looked for where some are held back
LOOKED_AT = 8  # passages in which the answer must not stand when it is called held back
PIECE = 30  # characters of a span that a passage must share to hold a part of it
STRIDE = 10
SHAPE = 'Each line is {"question": "…", "gold": [{"pdf": "…", "pages": [1]}]}.'


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the names of the files that answer it, their pages, and strings that a passage with it has.

    ``answers`` answer by themselves; of ``spans`` a piece is enough. Both are folded.
    """

    text: str
    documents: frozenset[str] = frozenset()
    pages: frozenset[tuple[str, int]] = frozenset()
    answers: tuple[str, ...] = ()
    spans: tuple[str, ...] = ()

    def is_from(self, passage: Passage) -> bool:
        """Whether a passage is of a document that answers."""
        return Path(passage.document).name in self.documents

    def answering(self, passages: Sequence[Passage]) -> list[Passage]:
        """Those that hold a part of what answers: by their words where these are found, else by their page."""
        own = [passage for passage in passages if self.is_from(passage)]
        pieces = [*self.answers, *(piece for span in self.spans for piece in _pieces(span))]
        texts = [folded(passage.chunk.text) for passage in own]
        said = [p for p, text in zip(own, texts, strict=True) if any(piece in text for piece in pieces)]
        return said or [p for p in own if (Path(p.document).name, p.chunk.page) in self.pages]


@dataclass(frozen=True, slots=True)
class Pair:
    """A question, the candidates that a library gave for it, and of what kind the two are together."""

    kind: Kind
    question: str
    passages: tuple[Passage, ...]


def folded(text: str) -> str:
    """Without white space, upper case and forms of the same character."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).lower()


def _pieces(span: str) -> list[str]:
    return [span[at : at + PIECE] for at in range(0, max(1, len(span) - PIECE + 1), STRIDE)]


def asked_of(path: Path) -> list[Asked]:
    """The questions of a file. Raises ReadError for a file that is not there, not JSON lines, or empty."""
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        found = [_asked(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadError(f"The questions in {path} cannot be read: {error}", SHAPE) from None
    if not found:
        raise ReadError(f"{path} holds no questions.", SHAPE)
    return found


def _asked(row: Mapping[str, Any]) -> Asked:
    text = row["question"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"the question {text!r} is not a text")
    gold = [(Path(each["pdf"]).name, each.get("pages") or [each["page"]]) for each in row.get("gold", ())]
    if "pdf" in row:
        gold.append((Path(row["pdf"]).name, row.get("gold_pages", ())))
    if "doc" in row:
        gold.append((Path(row["doc"]).name, ()))
    return Asked(
        text,
        frozenset(name for name, _ in gold),
        frozenset((name, int(page)) for name, pages in gold for page in pages),
        tuple(filter(None, map(folded, row.get("answers", ())))),
        tuple(filter(None, (folded(each["text"]) for each in row.get("spans", ())))),
    )


def drawn(questions: Sequence[Asked], most: int) -> list[Asked]:
    """So many of the questions, by chance but always the same ones."""
    return sorted(questions, key=lambda asked: _lot(asked.text))[:most]


def elsewhere(question: str, libraries: Sequence[str], count: int) -> list[str]:
    """So many of the libraries, by chance but always the same ones for a question."""
    return sorted(libraries, key=lambda name: _lot(f"{name}\0{question}"))[:count]


def _lot(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def found(tools: Tools, question: str) -> list[Passage]:
    """What the judge sees of a library: found and reranked."""
    query = Query(question)
    return tools.reranker.rerank(query.sought, tools.retriever.retrieve(query, tools.depth))


def pairs(tools: Tools, asked: Asked) -> Iterator[Pair]:
    """A question with its own library: answerable, and as if the documents or passages that answer were not there."""
    yield Pair("answerable", asked.text, tuple(found(tools, asked.text)))
    if not asked.documents:
        return
    query = Query(asked.text)
    deep = tools.retriever.retrieve(query, tools.depth * DEEPER)
    held: dict[Kind, list[Passage]] = {
        "document": [p for p in deep if asked.is_from(p)],
        "passages": asked.answering(deep),
    }
    for kind, passages in held.items():
        gone = {passage.chunk.id for passage in passages}
        left = [passage for passage in deep if passage.chunk.id not in gone]
        if gone and left and not _leaks(asked, left):
            yield Pair(kind, asked.text, tuple(tools.reranker.rerank(query.sought, left[: tools.depth])))


def _leaks(asked: Asked, passages: Sequence[Passage]) -> bool:
    """Whether the answer's words stand in what was left."""
    texts = [folded(passage.chunk.text) for passage in passages[:LOOKED_AT]]
    return any(answer in text for answer in asked.answers for text in texts)
