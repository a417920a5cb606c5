"""Answers made of quotes: no model, the sentences that answer, each with its page."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragapp.citations import cite_span
from ragapp.ports import Embedder, Library, TokenEmbedder, Words
from ragapp.rerankers import scaled
from ragapp.text import collapse, has_cjk, no_answer, sentences, trimmed
from ragapp.types import Answer, Citation, Event, Passage, Query, Token

if TYPE_CHECKING:
    pass

CANDIDATE_PASSAGES = 5  # sentences are taken from this many passages: more cost time and win nothing
PARAGRAPH = "\n\n"
MIN_QUOTE_CHARS = 12
MIN_QUOTE_CHARS_CJK = 5
MAX_QUOTE_CHARS = 700
LEXICAL_WEIGHT = 0.2
LEXICAL_WEIGHT_CJK = 0.7
NEAR_BEST = 0.6  # further quotes must score this share of the first one's
STOP_WORDS = frozenset(
    """
    a about all an and any are as at be been between but by can could did do does during for from had has have how i if
    in into is it its many me more most much my no not of on or our should so than that the their them there these they
    this to was we were what when where which who whom whose why will with would you your
    """.split()  # noqa: SIM905  a list of words is read as a text
)
FUNCTION_WORD_WEIGHT = 0.25  # what a stop word of the question counts beside a content word
# Below this the passages are taken not to hold the answer: the mean of how much of the question's information the best
# passage's words carry, its cosine, and the best sentence's MaxSim. A round number between what questions with and
# without an answer reach; a calibrated probability is the business of a later version.
MIN_EVIDENCE = 0.4
MIN_COVERAGE_CJK = 0.18  # of the pairs of characters; many of them straddle two words and stand nowhere

_BULLET = re.compile(r"[•●○▪■◦‣\uf0b7]\s*")
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

    A sentence is scored by late interaction (Khattab & Zaharia 2020): for every word of the question the best cosine
    with one of the sentence's tokens, the tokens being embedded in the context of their whole passage, so that "it"
    and "the company" carry what they stand for. Embedders without token vectors score by sentence vectors. Where the
    embedder cannot read the script, shared words decide. When the passages hold too little of the question, it says so.
    """

    embedder: Embedder
    words: Words
    stored: Library
    quotes: int = 3

    def answer(self, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
        looked_at = passages[:CANDIDATE_PASSAGES]
        candidates = list(self._candidates(looked_at))
        meaning = self._meaning(query.text, candidates, looked_at)
        if not candidates or not self._is_evidence(query.text, looked_at, meaning):
            return (yield from _nothing(query, passages))
        lexical = self._shared_words(query.text, candidates)
        weight = LEXICAL_WEIGHT_CJK if has_cjk(query.text) else LEXICAL_WEIGHT
        scores = (1 - weight) * scaled(meaning) + weight * lexical
        written: list[str] = []
        citations: list[Citation] = []
        for candidate in self._best(candidates, scores):
            cited = cite_span(candidate.passage, candidate.start, candidate.end, len(citations) + 1, self.stored)
            if not cited or any(c.state != "verified" for c in cited):
                continue
            citations += cited
            marks = "".join(f"[{c.marker}]" for c in cited)
            piece = f"{PARAGRAPH if written else ''}“{candidate.text}” {marks}"
            written.append(piece)
            yield from (Token(part) for part in re.findall(r"\S+\s*|\s+", piece))
        if not written:
            return (yield from _nothing(query, passages))
        return Answer("".join(written), tuple(citations), tuple(passages), "stop")

    def _candidates(self, passages: Sequence[Passage]) -> Iterator[_Candidate]:
        """The sentences of the passages, each once though passages overlap."""
        seen: set[tuple[str, int]] = set()
        for place, passage in enumerate(passages):
            chunk = passage.chunk
            for left, end in _quotable(chunk.text):
                bullet = _BULLET.match(chunk.text, left, end)
                start = bullet.end() if bullet else left
                text = collapse(chunk.text[start:end])
                least = MIN_QUOTE_CHARS_CJK if has_cjk(text) else MIN_QUOTE_CHARS
                key = (chunk.document_id, chunk.start + end)
                if len(text) < least or key in seen or text in chunk.headings or _TOC_LINE.search(text):
                    continue
                seen.add(key)
                yield _Candidate(passage, place, chunk.start + start, chunk.start + end, text)

    def _meaning(
        self, question: str, candidates: Sequence[_Candidate], passages: Sequence[Passage]
    ) -> NDArray[np.float64]:
        """How near each candidate's meaning is to the question's, a cosine, ``(candidates,)``."""
        if not candidates:
            return np.empty(0)
        if not isinstance(self.embedder, TokenEmbedder):
            vector = np.asarray(self.embedder.embed_query(question), dtype=np.float64)
            texts = [candidate.text for candidate in candidates]
            cosines: NDArray[np.float64] = np.asarray(self.embedder.embed_documents(texts), dtype=np.float64) @ vector
            return cosines
        asked, *states = self.embedder.embed_tokens([question, *(p.chunk.text for p in passages)])
        weights = np.array([_token_weight(question[start:end]) for start, end in self.embedder.spans(question)])
        spans = [self.embedder.spans(passage.chunk.text) for passage in passages]
        near = [asked @ state.T for state in states]
        return np.array([_max_sim(near[c.place], weights, _inside(c, spans[c.place])) for c in candidates])

    def _is_evidence(self, question: str, passages: Sequence[Passage], meaning: NDArray[np.float64]) -> bool:
        """Whether the best passages hold enough of the question's words and meaning."""
        wanted = self._weights(question)
        total = sum(wanted.values())
        coverage = 0.0
        for passage in passages[:3]:
            having = set(self.words.words(f"{passage.chunk.header}\n{passage.chunk.text}"))
            held = sum(weight for word, weight in wanted.items() if word in having)
            coverage = max(coverage, held / total if total else 0.0)
        if has_cjk(question):
            # The built-in embedder reads English: of a Chinese question only the words tell something.
            return coverage >= MIN_COVERAGE_CJK
        cosine = max((p.found_by["dense"].score for p in passages[:3] if "dense" in p.found_by), default=0.0)
        return (coverage + cosine + float(meaning.max())) / 3 >= MIN_EVIDENCE

    def _weights(self, question: str) -> dict[str, float]:
        """The question's index terms that tell something, with their inverse document frequency."""
        content = " ".join(word for word in re.findall(r"[\w'’-]+", question) if word.lower() not in STOP_WORDS)
        return {word: self.words.weight(word) for word in self.words.words(content or question)}

    def _shared_words(self, question: str, candidates: Sequence[_Candidate]) -> NDArray[np.float64]:
        """How much of the question's information the words of each candidate carry, between 0 and 1."""
        wanted = self._weights(question)
        having = [set(self.words.words(candidate.text)) for candidate in candidates]
        return scaled(np.array([sum(w for word, w in wanted.items() if word in words) for words in having]))

    def _best(self, candidates: Sequence[_Candidate], scores: NDArray[np.float64]) -> Iterator[_Candidate]:
        """The best candidate, and those near it that say something else, up to the number of quotes."""
        order = sorted(range(len(candidates)), key=lambda i: (-scores[i], i))
        said: list[str] = []
        for i in order:
            if len(said) == self.quotes or scores[i] < NEAR_BEST * scores[order[0]]:
                return
            letters = "".join(c for c in candidates[i].text.casefold() if c.isalnum())
            if not any(letters in other or other in letters for other in said):
                said.append(letters)
                yield candidates[i]


def _quotable(text: str) -> Iterator[tuple[int, int]]:
    """The spans of the sentences; one too long to be a sentence (a table has no full stops) is taken line by line."""
    for start, end in sentences(text):
        if end - start <= MAX_QUOTE_CHARS:
            yield start, end
        else:
            lines = re.finditer(r"[^\n]+", text[start:end])
            yield from (span for m in lines for span in trimmed(text, start + m.start(), start + m.end()))


def _nothing(query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
    """The answer that there is none, in the question's language."""
    text = no_answer(query.text)
    yield Token(text)
    return Answer(text, (), tuple(passages), "no_evidence")


def _token_weight(token: str) -> float:
    """What a token of the question counts: nothing for punctuation, little for a stop word."""
    if not any(c.isalnum() for c in token):
        return 0.0
    return FUNCTION_WORD_WEIGHT if token.lower() in STOP_WORDS else 1.0


def _inside(candidate: _Candidate, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Which of its passage's tokens lie in a candidate."""
    start, end = candidate.start - candidate.passage.chunk.start, candidate.end - candidate.passage.chunk.start
    return [i for i, (left, right) in enumerate(spans) if left >= start and right <= end]


def _max_sim(near: NDArray[np.float32], weights: NDArray[np.float64], tokens: list[int]) -> float:
    """The weighted mean over the question's tokens of the best cosine with one of some tokens."""
    if not tokens or not weights.sum():
        return 0.0
    return float(near[:, tokens].max(axis=1) @ weights / weights.sum())
