"""For authors of parts: doubles that need no model, and the contracts of ``ports`` as checks.

A check raises AssertionError with a sentence that says what is broken; a part that passes may be named in
``ragapp.toml``. Speed and quality are not covered: ``ragapp eval`` measures those.

>>> check_embedder(HashingEmbedder())
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, cast, get_args

import numpy as np

from ragapp.budget import Budget
from ragapp.catalog import embedded_text
from ragapp.chat import ScriptedChat
from ragapp.embedders import HashingEmbedder
from ragapp.lexicon import spread
from ragapp.ports import Chunker, Embedder, Flow, Reranker, Tokenizer, Tools, Words, Writer
from ragapp.rerankers import KeepOrder
from ragapp.text import trimmed
from ragapp.types import (
    Answer,
    Chunk,
    Citation,
    Cited,
    Document,
    Done,
    Event,
    Expansion,
    FinishReason,
    Found,
    Heading,
    Page,
    Passage,
    Query,
    Table,
    Token,
    Usage,
    Waiting,
    Written,
)

__all__ = [
    "CountedWords",
    "FixedTools",
    "HashingEmbedder",
    "ScriptedChat",
    "ScriptedWriter",
    "check_chunker",
    "check_edit",
    "check_embedder",
    "check_events",
    "check_flow",
    "document_of",
    "passage_of",
]

TEXTS = (
    "Cash flows from operating activities rose by 4.2 percent in 2018.",
    "The warranty covers parts and labour for twenty-four months.",
    "现金流量表列示了本年度的经营活动。",
    "naïve café — “quotes”, ﬁ ligatures, emoji 🎉 and soft\u00adhyphens",
    "",
    "word " * 1500,
)
ALIKE = 0.999  # cosine of two vectors of one text; half precision differs a little with the batch


# -- doubles ---------------------------------------------------------------------------------------------------------


def document_of(
    *pages: str,
    name: str = "sample.pdf",
    title: str = "",
    headings: Sequence[Heading] = (),
    tables: Sequence[Table] = (),
) -> Document:
    """A document with these texts as its pages, each closed by a line end as the readers do it."""
    texts = [f"{page}\n" for page in pages]
    starts = [sum(map(len, texts[:i])) for i in range(len(texts))]
    return Document(
        id=hashlib.sha256("\f".join(texts).encode("utf-8", "surrogatepass")).hexdigest(),
        uri=f"file:///documents/{name}",
        title=title or name.rpartition(".")[0],
        media_type="application/pdf",
        text="".join(texts),
        pages=tuple(Page(n, at, at + len(text)) for n, (at, text) in enumerate(zip(starts, texts, strict=True), 1)),
        headings=tuple(headings),
        tables=tuple(tables),
    )


def passage_of(document: Document, start: int = 0, end: int | None = None, *, score: float = 1.0) -> Passage:
    """A passage that is a span of a document, the whole text by default."""
    end = len(document.text) if end is None else end
    page = next(page.number for page in document.pages if page.end > start)
    chunk = Chunk(1, document.id, document.text[start:end], start, end, page)
    return Passage(chunk, document.uri.rpartition("/")[2], document.title, score)


class CountedWords:
    """What some texts know of words: lower-cased words, pairs of CJK characters, inverse document frequency over them.

    Fulfils ``ports.Words`` without an index; words are not stemmed.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._size = len(texts)
        self._having = Counter(word for text in texts for word in self.words(text))

    def words(self, text: str) -> list[str]:
        return list(dict.fromkeys(re.findall(r"\w+", spread(text).lower())))

    def weight(self, word: str) -> float:
        having = self._having[word]
        return math.log(1 + (self._size - having + 0.5) / (having + 0.5))


class ScriptedWriter:
    """A ``ports.Writer`` that gives ``replies`` one after the other, the last one for ever; an exception is raised.

    ``replies`` may also be told by task. ``asked`` holds the task and the values of every call, ``written`` the tokens
    (words) of all replies, ``closed`` the calls that were closed before their end.
    """

    def __init__(self, replies: Sequence[str | Exception] | Mapping[str, str | Exception] = ()) -> None:
        self._replies = replies
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.written = 0
        self.closed = 0

    def write(
        self, task: str, query: Query, values: Mapping[str, str], max_tokens: int
    ) -> Generator[Event, None, Written]:
        self.asked.append((task, dict(values)))
        reply = self._reply(task)
        try:
            yield Waiting(1)
            yield Waiting(0)
        except GeneratorExit:
            self.closed += 1
            raise
        if isinstance(reply, Exception):
            raise reply
        kept = re.findall(r"\S+\s*", reply)[:max_tokens]
        self.written += len(kept)
        return Written("".join(kept), Usage(1, len(kept)))

    def _reply(self, task: str) -> str | Exception:
        if isinstance(self._replies, Mapping):
            return self._replies.get(task, "")
        return self._replies[min(len(self.asked), len(self._replies)) - 1] if self._replies else ""


@dataclass(frozen=True, slots=True)
class FixedTools:
    """Tools that always find ``passages`` and always answer ``reply``, citing the first passage when there is one.

    Its judge is always as sure as ``sure``. ``asked`` holds the queries that were searched and, last, the one answered.
    """

    passages: tuple[Passage, ...] = ()
    reply: str = "It says so there [1]."
    k: int = 8
    depth: int = 40
    sure: float = 1.0
    threshold: float = 0.5
    reranker: Reranker = field(default_factory=KeepOrder)
    writer: Writer | None = None
    words: Words = field(default_factory=CountedWords)
    expansion: Expansion = field(default_factory=Expansion)
    budget: Budget = field(default_factory=Budget)
    asked: list[Query] = field(default_factory=list)

    @property
    def retriever(self) -> FixedTools:
        return self

    @property
    def judge(self) -> FixedTools:
        return self

    @property
    def gatherer(self) -> FixedTools:
        return self

    @property
    def answerer(self) -> FixedTools:
        return self

    def retrieve(self, query: Query, k: int) -> list[Passage]:
        self.asked.append(query)
        return list(self.passages[:k])

    def confidence(self, query: Query, passages: Sequence[Passage]) -> float:
        return self.sure

    def gather(self, query: Query, passages: Sequence[Passage]) -> list[Passage]:
        return list(passages)

    def answer(self, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
        self.asked.append(query)
        citations = _cited(passages[:1])
        for word in re.findall(r"\S+\s*|\s+", self.reply):
            yield Token(word)
            yield from (Cited(citation) for citation in citations if f"[{citation.marker}]" in word)
        return Answer(self.reply, citations, tuple(passages), "stop" if passages else "no_evidence")


def _cited(passages: Sequence[Passage]) -> tuple[Citation, ...]:
    return tuple(Citation(1, p, p.chunk.text, "verified", p.chunk.page, p.chunk.start, p.chunk.end) for p in passages)


# -- contracts -------------------------------------------------------------------------------------------------------


def check_embedder(embedder: Embedder, texts: Sequence[str] = TEXTS) -> None:
    """Rows of finite numbers, one a text and all of one width, that do not depend on their neighbours or their order.

    Where it also counts tokens (``ports.Tokenizer``), their spans must lie in the text, in order.
    """
    together = np.asarray(embedder.embed_documents(list(texts)), dtype=np.float64)
    assert together.ndim == 2, f"embed_documents gives {together.ndim} dimensions; rows of numbers are wanted."
    assert len(together) == len(texts), f"embed_documents gives {len(together)} rows for {len(texts)} texts."
    assert np.isfinite(together).all(), "embed_documents gives numbers that are infinite or not numbers."
    backwards = np.asarray(embedder.embed_documents(list(reversed(texts))), dtype=np.float64)[::-1]
    for text, row, other in zip(texts, together, backwards, strict=True):
        alone = np.asarray(embedder.embed_documents([text]), dtype=np.float64)[0]
        asked = np.asarray(embedder.embed_query(text), dtype=np.float64)
        assert asked.shape == row.shape, f"embed_query gives the shape {asked.shape}, embed_documents {row.shape}."
        for vector, when in ((alone, "alone"), (other, "among others in another order")):
            assert _cosine(row, vector) >= ALIKE, f"The vector of {text[:40]!r} is another one when embedded {when}."
    assert len(np.asarray(embedder.embed_documents([]))) == 0, "embed_documents gives rows for no texts at all."
    if hasattr(embedder, "spans"):
        _check_tokenizer(cast("Tokenizer", embedder), texts)
    if hasattr(embedder, "fingerprint"):
        assert embedder.fingerprint, "The fingerprint is empty: it must name what decides the vectors."
        assert embedder.fingerprint == embedder.fingerprint, "The fingerprint changes from one look to the next."


def _check_tokenizer(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
    assert tokenizer.max_tokens > 0, f"max_tokens is {tokenizer.max_tokens}."
    for text in texts:
        last = 0
        for start, end in tokenizer.spans(text):
            assert last <= start <= end <= len(text), (
                f"The token span ({start}, {end}) of {text[:40]!r} is out of order."
            )
            last = start


def _cosine(one: np.typing.NDArray[np.float64], other: np.typing.NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    if lengths == 0:
        return 1.0 if not one.any() and not other.any() else 0.0
    return float(one @ other) / lengths


def check_chunker(
    chunker: Chunker, documents: Iterable[Document], tokenizer: Tokenizer | None = None, *, complete: bool = True
) -> None:
    """Chunks in order, each the document's own text at its span, on a page it touches, the same every time.

    A row of one of the document's tables lies whole in a chunk, or is cut into chunks that hold nothing else. A
    chunk's parent holds it and lies in the document. Where it has a fingerprint, it is not empty and stays the same.
    With ``tokenizer`` header and text must fit into what the embedder reads; with ``complete`` every character that is
    not white space must be in a chunk.
    """
    if hasattr(chunker, "fingerprint"):
        assert chunker.fingerprint, "The fingerprint is empty: it must name what decides the chunks."
        assert chunker.fingerprint == chunker.fingerprint, "The fingerprint changes from one look to the next."
    for document in documents:
        chunks = list(chunker.chunk(document))
        assert chunks == list(chunker.chunk(document)), f"The chunks of {document.uri} are others the second time."
        _check_rows(document, chunks)
        covered = bytearray(len(document.text))
        last = (-1, -1)
        for chunk in chunks:
            where = f"The chunk at {chunk.start}-{chunk.end} of {document.uri}"
            assert 0 <= chunk.start < chunk.end <= len(document.text), f"{where} lies outside the text or is empty."
            assert chunk.text == document.text[chunk.start : chunk.end], f"{where} is not the text at its place."
            assert chunk.text.strip(), f"{where} is white space."
            assert chunk.document_id == document.id, f"{where} names another document."
            assert (chunk.start, chunk.end) > last, f"{where} is out of order."
            last = (chunk.start, chunk.end)
            touched = [p.number for p in document.pages if p.start < chunk.end and p.end > chunk.start]
            assert chunk.page in touched, f"{where} says page {chunk.page}, and lies on {touched}."
            if chunk.parent is not None:
                left, right = chunk.parent
                assert left <= chunk.start < chunk.end <= right, f"{where} is not in its parent at {left}-{right}."
                assert 0 <= left < right <= len(document.text), f"{where} has a parent outside the text."
            covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
            if tokenizer is not None:
                size = len(tokenizer.spans(f"{chunk.header}\n{chunk.text}"))
                limit = tokenizer.max_tokens
                assert size <= limit, f"{where} has {size} tokens with its header; the embedder reads {limit}."
        if complete:
            lost = next((i for i, c in enumerate(document.text) if not c.isspace() and not covered[i]), None)
            assert lost is None, f"The character {lost} of {document.uri} is in no chunk."


def _check_rows(document: Document, chunks: Sequence[Chunk]) -> None:
    for left, right in (row for table in document.tables for row in table.rows):
        start, end = next(trimmed(document.text, left, right), (left, left))
        touching = [chunk for chunk in chunks if chunk.start < end and chunk.end > start]
        whole = any(chunk.start <= start and end <= chunk.end for chunk in touching)
        cut = all(start <= chunk.start and chunk.end <= end for chunk in touching)
        assert whole or cut, f"The row at {left}-{right} of {document.uri} is cut, and shares a chunk with other text."


def check_edit(chunker: Chunker, before: Document, after: Document, share: float = 0.8) -> None:
    """An edit leaves at least this share of what was embedded as it was, so that little is embedded anew."""
    kept = {embedded_text(chunk) for chunk in chunker.chunk(after)}
    texts = [embedded_text(chunk) for chunk in chunker.chunk(before)]
    same = sum(text in kept for text in texts)
    assert same >= share * len(texts), f"Of {len(texts)} chunks of {before.uri} an edit left {same} as they were."


def check_flow(flow: Flow, tools: Tools, query: Query) -> Answer:
    """Run a flow to its end, check the laws of events, and that it can be closed after every one of them.

    Tools that are a dataclass have their budget renewed for every run.
    """
    events = list(flow(_renewed(tools), query))
    answer = check_events(events)
    for count in range(len(events)):
        running = flow(_renewed(tools), query)
        for _ in range(count):
            next(running)
        if isinstance(running, Generator):
            running.close()
            assert next(iter(running), None) is None, f"The flow goes on after it was closed at event {count}."
    return answer


def _renewed(tools: Tools) -> Tools:
    if not is_dataclass(tools) or isinstance(tools, type):
        return tools
    renewed: Any = replace(tools, budget=tools.budget.renewed())
    return cast("Tools", renewed)


def check_events(events: Iterable[Event]) -> Answer:
    """Exactly one Done, at the end; Found before the first Token; Tokens that spell the answer; citations in Found.

    A marker is Cited only when the Tokens have spelled it, and stands in the answer.
    """
    seen = list(events)
    done = [event for event in seen if isinstance(event, Done)]
    assert len(done) == 1, f"A flow ends with exactly one Done; this one has {len(done)}."
    assert isinstance(seen[-1], Done), f"The last event is {type(seen[-1]).__name__}, not Done."
    answer = done[0].answer
    kinds = [type(event) for event in seen]
    if Token in kinds:
        assert Found in kinds[: kinds.index(Token)], "A Token comes before the passages were found (Found)."
    spelled = "".join(event.text for event in seen if isinstance(event, Token))
    assert spelled == answer.text, f"The tokens spell {spelled[:60]!r}, the answer says {answer.text[:60]!r}."
    found = list(_found(seen))
    _check_cited(seen, found)
    for citation in answer.citations:
        assert citation.passage in found, f"Citation {citation.marker} cites a passage that was not in Found."
        assert f"[{citation.marker}]" in answer.text, f"The answer has no marker [{citation.marker}]."
    assert answer.finish_reason in get_args(FinishReason), f"The finish reason {answer.finish_reason!r} is not known."
    sure = answer.confidence
    assert sure is None or 0 <= sure <= 1, f"The confidence {sure} is no probability."
    waits = [event.position for event in seen if isinstance(event, Waiting)]
    assert all(position >= 0 for position in waits), f"Nobody waits at the position {min(waits)}."
    return answer


def _check_cited(events: Iterable[Event], found: Sequence[Passage]) -> None:
    spelled = ""
    for event in events:
        if isinstance(event, Token):
            spelled += event.text
        elif isinstance(event, Cited):
            marker = event.citation.marker
            assert f"[{marker}]" in spelled, f"The marker [{marker}] was Cited before the Tokens spelled it."
            assert event.citation.passage in found, f"Cited {marker} cites a passage that was not in Found."


def _found(events: Iterable[Event]) -> Iterator[Passage]:
    for event in events:
        if isinstance(event, Found):
            yield from event.passages
