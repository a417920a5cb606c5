"""Answerers: quotes without any model, or a chat model that cites its passages."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ragapp.citations import cite_claims, cite_span
from ragapp.ports import Embedder, Library, TokenEmbedder, Words
from ragapp.rerankers import max_sim, scaled
from ragapp.text import collapse, has_cjk, no_answer, sentences
from ragapp.types import Answer, Citation, Event, FinishReason, Passage, Query, Token, Usage

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

CANDIDATE_PASSAGES = 5  # sentences are taken from this many passages: more cost time and win nothing
PARAGRAPH = "\n\n"
MIN_QUOTE_CHARS = 12
MIN_QUOTE_CHARS_CJK = 5
NEAR_BEST = 0.75  # further quotes must score this share of the first one's
STOP_WORDS = frozenset(
    """
    a about all an and any are as at be been between but by can could did do does during for from had has have how i if
    in into is it its many me more most much my no not of on or our should so than that the their them there these they
    this to was we were what when where which who whom whose why will with would you your
    """.split()  # noqa: SIM905  a list of words is read as a text
)
# Below these the best passage is taken not to hold the answer. Round numbers, set by looking at questions whose answers
# were known to be missing; a calibrated probability is the business of a later version.
MIN_COVERAGE = 0.45
MIN_COSINE = 0.35

_TOC_LINE = re.compile(r"\.{5,}|(?:\. ){5,}|_{5,}")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence that may be quoted."""

    passage: Passage
    place: int  # of its passage, from 0
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class QuoteAnswerer:
    """Picks the sentences that answer and quotes them, each with its page; needs no language model.

    A sentence's score is the mean of four views of it, each put between 0 and 1 over the candidates: MaxSim of the
    embedder's token vectors, cosine of the sentence vectors, the share of the question's information its words carry
    (idf), and its passage's rank score. When the best passages hold too little of the question, it says so.
    """

    embedder: Embedder
    words: Words
    library: Library
    quotes: int = 3

    def answer(self, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
        candidates = list(self._candidates(passages[:CANDIDATE_PASSAGES]))
        if not candidates or not self._is_covered(query.text, passages):
            text = no_answer(query.text)
            yield Token(text)
            return Answer(text, (), tuple(passages), "no_evidence")
        scores = self._scores(query.text, candidates, passages)
        written: list[str] = []
        citations: list[Citation] = []
        for candidate in self._best(candidates, scores):
            chunk = candidate.passage.chunk
            cited = cite_span(candidate.passage, candidate.start, candidate.end, len(citations) + 1, self.library)
            if not cited or any(c.state != "verified" for c in cited):
                continue
            citations += cited
            marks = "".join(f"[{c.marker}]" for c in cited)
            words = collapse(chunk.text[candidate.start - chunk.start : candidate.end - chunk.start])
            piece = f"{PARAGRAPH if written else ''}“{words}” {marks}"
            written.append(piece)
            yield from (Token(part) for part in re.findall(r"\S+\s*|\s+", piece))
        return Answer("".join(written), tuple(citations), tuple(passages), "stop")

    def _candidates(self, passages: Sequence[Passage]) -> Iterator[_Candidate]:
        """The sentences of the passages, each once though passages overlap."""
        seen: set[tuple[str, int]] = set()
        for place, passage in enumerate(passages):
            chunk = passage.chunk
            for start, end in sentences(chunk.text):
                text = collapse(chunk.text[start:end])
                least = MIN_QUOTE_CHARS_CJK if has_cjk(text) else MIN_QUOTE_CHARS
                key = (chunk.document_id, chunk.start + end)
                if len(text) < least or _TOC_LINE.search(text) or key in seen:
                    continue
                seen.add(key)
                yield _Candidate(passage, place, chunk.start + start, chunk.start + end, text)

    def _is_covered(self, question: str, passages: Sequence[Passage]) -> bool:
        """Whether the best passages share enough of the question's words, or of its meaning."""
        wanted = self._weights(question)
        total = sum(wanted.values())
        best = 0.0
        for passage in passages[:3]:
            having = set(self.words.words(f"{passage.chunk.header}\n{passage.chunk.text}"))
            best = max(best, sum(weight for word, weight in wanted.items() if word in having) / total if total else 0.0)
        cosines = [p.found_by["dense"].score for p in passages[:3] if "dense" in p.found_by]
        cosine = max(cosines, default=0.0)
        if has_cjk(question):
            return best >= MIN_COVERAGE / 2
        return best >= MIN_COVERAGE and cosine >= MIN_COSINE

    def _weights(self, question: str) -> dict[str, float]:
        """The question's index terms that tell something, with their inverse document frequency."""
        content = " ".join(word for word in re.findall(r"[\w'’-]+", question) if word.lower() not in STOP_WORDS)
        return {word: self.words.weight(word) for word in self.words.words(content or question)}

    def _scores(
        self, question: str, candidates: Sequence[_Candidate], passages: Sequence[Passage]
    ) -> NDArray[np.float64]:
        wanted = self._weights(question)
        having = [set(self.words.words(candidate.text)) for candidate in candidates]
        lexical = np.array([sum(w for word, w in wanted.items() if word in words) for words in having])
        ranked = np.array([candidate.passage.score for candidate in candidates])
        views = [scaled(lexical), scaled(ranked)]
        texts = [candidate.text for candidate in candidates]
        if isinstance(self.embedder, TokenEmbedder):
            views.append(scaled(max_sim(self.embedder, question, texts)))
        asked = np.asarray(self.embedder.embed_query(question), dtype=np.float32)
        rows = np.asarray(self.embedder.embed_documents(texts), dtype=np.float32)
        views.append(scaled((rows @ asked).astype(np.float64)))
        mean: NDArray[np.float64] = np.mean(views, axis=0)
        return mean

    def _best(self, candidates: Sequence[_Candidate], scores: NDArray[np.float64]) -> Iterator[_Candidate]:
        """The best candidate, and those near it that say something else, up to the number of quotes."""
        order = sorted(range(len(candidates)), key=lambda i: (-scores[i], i))
        said: list[str] = []
        for i in order:
            if len(said) == self.quotes or scores[i] < NEAR_BEST * scores[order[0]]:
                return
            text = candidates[i].text.casefold()
            if not any(text in other or other in text for other in said):
                said.append(text)
                yield candidates[i]


@dataclass(frozen=True, slots=True)
class ChatAnswerer:
    """Asks a LangChain chat model, with as many passages as its window holds, and resolves the markers it writes.

    ``count`` gives the tokens of messages by the model's own tokenizer, ``window`` how many it reads and writes
    together, ``reserve`` how many of them are kept for the answer.
    """

    model: Any
    library: Library
    window: Callable[[], int]
    count: Callable[[Sequence[BaseMessage]], int]
    reserve: int

    def answer(self, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
        """Raises ContextTooLong when not even one passage fits, ModelError when the model fails."""
        from ragapp.prompts import pack

        window = self.window()
        wanted = cast("int", query.options.get("max_tokens") or self.reserve)
        messages, kept = pack(query, passages, window - min(wanted, window // 2), self.count)
        options = dict(query.options)
        if query.seed is not None:
            options["seed"] = query.seed
        parts: list[str] = []
        reason: FinishReason = "stop"
        usage = Usage()
        # Closing the model's stream is what stops the model, also when this generator is closed half way.
        with closing(self.model.stream(messages, **options)) as stream:
            for chunk in stream:
                text = str(chunk.text)
                if text:
                    parts.append(text)
                    yield Token(text)
                if chunk.response_metadata.get("finish_reason") == "length":
                    reason = "length"
                if chunk.usage_metadata:
                    usage = Usage(chunk.usage_metadata["input_tokens"], chunk.usage_metadata["output_tokens"])
        text = "".join(parts)
        citations = tuple(cite_claims(text, kept, self.library))
        if no_answer(query.text).rstrip(".。") in text and not citations:
            reason = "no_evidence"
        return Answer(text, citations, tuple(passages), reason, usage)
