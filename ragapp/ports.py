"""The contracts. A part is anything that fits one of these; built-in parts use the same door as a user's own.

A flow is a function ``(tools, query) -> Iterator[Event]``. Not streaming is the last event; cancelling is
``.close()`` on the iterator, which runs every ``finally`` down to the model.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ragapp.budget import Budget
from ragapp.types import Answer, Chunk, Document, Event, Excerpt, Expansion, Passage, Query, Written

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


class Reader(Protocol):
    """Turns one file into a document, or raises ReadError."""

    def read(self, path: Path, password: str | None = None) -> Document: ...


class Chunker(Protocol):
    """Cuts a document into chunks in order; every chunk's text is the document's own text at its span.

    A ``fingerprint`` (str) that changes with whatever changes the chunks lets ``ragapp reindex`` know when they are
    old; without one the name of the class stands for it.
    """

    def chunk(self, document: Document) -> Sequence[Chunk]: ...


@runtime_checkable
class Embedder(Protocol):
    """A structural subset of LangChain's ``Embeddings``: rows of floats, all of one width."""

    def embed_documents(self, texts: list[str]) -> ArrayLike: ...

    def embed_query(self, text: str) -> ArrayLike: ...


class Tokenizer(Protocol):
    """What a chunker needs to know of an embedder: where its tokens lie, and how many it reads.

    ``max_tokens`` counts what is left for text after the model's own special tokens.
    """

    @property
    def max_tokens(self) -> int: ...

    def spans(self, text: str) -> Sequence[tuple[int, int]]: ...


@runtime_checkable
class TokenEmbedder(Protocol):
    """An embedder that also gives a unit vector for every token, for late interaction.

    ``embed_tokens`` returns one ``(tokens, width)`` float32 array a text, special tokens left out: a row for each of
    the text's ``spans``.
    """

    def spans(self, text: str) -> Sequence[tuple[int, int]]: ...

    def embed_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]: ...


class Retriever(Protocol):
    """Finds at most ``k`` passages, best first."""

    def retrieve(self, query: Query, k: int) -> list[Passage]: ...


class Reranker(Protocol):
    """Puts passages into a new order; it may drop some, and never adds any."""

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]: ...


class Gatherer(Protocol):
    """Makes passages to be read out of passages that were found: neighbours joined, nothing twice, best first.

    Each keeps id, page, score and ``found_by`` of the best one that it was made of; its text is still the document's
    own text at its span.
    """

    def gather(self, query: Query, passages: Sequence[Passage]) -> list[Passage]: ...


class Judge(Protocol):
    """Says how likely it is that passages, as search and reranker gave them, hold the answer."""

    @property
    def threshold(self) -> float:
        """Below it a question is not answered."""
        ...

    def confidence(self, query: Query, passages: Sequence[Passage]) -> float:
        """A probability, from 0 to 1."""
        ...


class Writer(Protocol):
    """A language model that flows ask for short texts: rewritten questions, hypothetical passages, verdicts.

    ``task`` names one of the prompts (prompts.TASKS), ``values`` are its variables. Raises ModelError.
    """

    def write(
        self, task: str, query: Query, values: Mapping[str, str], max_tokens: int
    ) -> Generator[Event, None, Written]: ...


class Answerer(Protocol):
    """Writes the answer: yields Token events and returns the Answer whose text they spell."""

    def answer(self, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]: ...


class Library(Protocol):
    """What the read path may ask of a library about a document whose passage it was given."""

    def text_of(self, document_id: str) -> str:
        """The whole text."""
        ...

    def words(self, document_id: str, start: int, end: int) -> str:
        """The text between two offsets, taken from the stored pages."""
        ...

    def page_at(self, document_id: str, offset: int) -> int:
        """The number of the page that an offset lies on."""
        ...

    def page_parts(self, document_id: str, start: int, end: int) -> Sequence[tuple[int, int, int]]:
        """A span cut at page borders: ``(page, start, end)`` for every page it touches."""
        ...

    def around(self, document_id: str, start: int, end: int) -> Excerpt | None:
        """The pages that a span touches, with their headings and tables; None for a document that is not there."""
        ...

    def core(self, passage: Passage) -> Passage:
        """The passage as its chunk was found, without neighbours that were joined to it; itself where it is no more."""
        ...


class Words(Protocol):
    """What a library knows of words: its index terms and how much each one tells (inverse document frequency)."""

    def words(self, text: str) -> list[str]: ...

    def weight(self, word: str) -> float: ...


class Tools(Protocol):
    """What a flow works with; shared by all questions but for the budget.

    ``k`` passages may be cited, out of ``depth`` that are looked at closely. ``writer`` is None where no language model
    is set.
    """

    @property
    def k(self) -> int: ...

    @property
    def depth(self) -> int: ...

    @property
    def retriever(self) -> Retriever: ...

    @property
    def reranker(self) -> Reranker: ...

    @property
    def judge(self) -> Judge: ...

    @property
    def gatherer(self) -> Gatherer: ...

    @property
    def answerer(self) -> Answerer: ...

    @property
    def writer(self) -> Writer | None: ...

    @property
    def words(self) -> Words: ...

    @property
    def expansion(self) -> Expansion: ...

    @property
    def budget(self) -> Budget: ...


class Flow(Protocol):
    """The whole way from a question to an answer, as events."""

    def __call__(self, tools: Tools, query: Query) -> Iterator[Event]: ...
