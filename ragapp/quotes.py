"""Answers made of quotes: no model, the sentences that answer, each with its page."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ragapp.citations import cite_span
from ragapp.injection import suspicious
from ragapp.ports import Embedder, Library, TokenEmbedder, Words
from ragapp.questions import is_of_kind, kind_of_answer, share, terms, token_weight
from ragapp.text import collapse, has_cjk, is_chinese, no_answer, sentences, trimmed
from ragapp.types import Answer, Citation, Event, Passage, Query, Token

CANDIDATE_PASSAGES = 5  # sentences are taken from this many passages: more cost time and win nothing
# Of passages that were widened, as many are read whole as fit into this; of the others the part that was found. About
# 2,000 tokens, which take 50 ms. A CJK character is a token of its own.
READ_CHARS = 8000
CJK_CHARS = 4  # what a CJK character counts in that
PARAGRAPH = "\n\n"
MIN_QUOTE_CHARS = 12
MIN_QUOTE_CHARS_CJK = 5
MAX_QUOTE_CHARS = 700
MAX_HEADS_CHARS = 240  # of a table's column heads behind a quoted row
PART_TOLD = 0.5  # of what a part of the question tells: a sentence with less is no answer to that part

_BULLET = re.compile(r"[•●○▪■◦‣\uf0b7]\s*")
_TOC_LINE = re.compile(r"\.{5,}|(?:\. ){5,}|_{5,}")


@dataclass(frozen=True, slots=True)
class Weights:
    """What speaks for a sentence, each between 0 and 1, and how much it counts in the log-odds of being the answer.

    ``meaning`` is the MaxSim, ``words`` the share of the question's information that its words carry, ``before`` and
    ``header`` the share that only the sentence before it and the line above its chunk carry, ``kind`` whether it has
    the date, number or name that is asked for. Further quotes are at most ``margin`` below the first.

    Fitted as a choice among the sentences of a question (softmax, maximum likelihood, rounded) on every third question
    of xquad_en, for CJK on every fourth of xquad_zh; judged on other sets, see eval/LOG.md.
    """

    meaning: float
    words: float
    before: float
    header: float
    kind: float
    margin: float


WEIGHTS = Weights(meaning=10.0, words=6.0, before=4.0, header=2.0, kind=1.5, margin=3.0)
WEIGHTS_CJK = Weights(meaning=5.0, words=14.0, before=6.0, header=0.5, kind=2.5, margin=2.5)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is read of a passage: its text, or the part of it that was found, from ``start`` of the document on."""

    passage: Passage
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence that may be quoted."""

    reading: _Reading
    place: int  # of its reading, from 0
    start: int
    end: int
    text: str

    @property
    def span(self) -> tuple[int, int]:
        """Where it stands in the text that is read."""
        return self.start - self.reading.start, self.end - self.reading.start


@dataclass(frozen=True, slots=True)
class QuoteAnswerer:
    """Picks the sentences that answer and quotes them, each with its page; needs no language model.

    A sentence is scored by late interaction (Khattab & Zaharia 2020): for every word of the question the best cosine
    with one of the sentence's tokens, the tokens being embedded in the context of their whole passage, so that "it"
    and "the company" carry what they stand for; and by shared words, see Weights. Embedders without token vectors
    score by sentence vectors. The row of a table is followed by the heads of its columns, outside of the quotation
    marks, as they do not stand in the row.

    Where a question has parts, the best sentence for each comes first, if it speaks of what the part asks for; so there
    may be as many quotes as parts, though fewer are set.

    Whether the library holds the answer at all is not decided here; only where there is nothing to quote it says so.
    """

    embedder: Embedder
    words: Words
    stored: Library
    quotes: int = 3

    def answer(self, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
        readings = self._readings(passages[: CANDIDATE_PASSAGES * max(1, len(query.parts))])
        written: list[str] = []
        citations: list[Citation] = []
        for candidate in self._best(query, list(_candidates(readings)), readings):
            passage = candidate.reading.passage
            cited = cite_span(passage, candidate.start, candidate.end, len(citations) + 1, self.stored)
            if not cited or any(c.state != "verified" for c in cited):
                continue
            citations += cited
            marks = "".join(f"[{c.marker}]" for c in cited)
            piece = f"{PARAGRAPH if written else ''}“{candidate.text}” {marks}{self._heads(query, candidate)}"
            written.append(piece)
            yield from (Token(part) for part in re.findall(r"\S+\s*|\s+", piece))
        if not written:
            return (yield from _nothing(query, passages))
        return Answer("".join(written), tuple(citations), tuple(passages), "stop")

    def _readings(self, passages: Sequence[Passage]) -> list[_Reading]:
        """The passages' texts, as far as the time for reading them goes; of the rest what was found itself."""
        readings: list[_Reading] = []
        left = READ_CHARS
        for passage in passages:
            chunk = passage.chunk
            size = len(chunk.text) * (CJK_CHARS if has_cjk(chunk.text) else 1)
            if readings and size > left:
                found = self.stored.core(passage).chunk
                if chunk.start <= found.start < found.end <= chunk.end:
                    chunk = found
            left -= size
            readings.append(_Reading(passage, chunk.text, chunk.start))
        return readings

    def _scores(
        self,
        question: str,
        meaning: NDArray[np.float64],
        candidates: Sequence[_Candidate],
        readings: Sequence[_Reading],
    ) -> NDArray[np.float64]:
        """The log-odds of each candidate to be the answer, up to a constant."""
        weights = _weights(question)
        wanted, kind = terms(self.words, question), kind_of_answer(question)
        scores = weights.meaning * meaning
        headers = [set(self.words.words(_above(reading.passage))) for reading in readings]
        before: set[str] = set()
        for i, candidate in enumerate(candidates):
            if i and candidates[i - 1].place != candidate.place:
                before = set()
            having = set(self.words.words(candidate.text))
            scores[i] += weights.words * share(wanted, having) + weights.before * share(wanted, before - having)
            scores[i] += weights.header * share(wanted, headers[candidate.place] - having)
            scores[i] += weights.kind * is_of_kind(kind, question, candidate.text)
            before = having
        return scores

    def _meanings(
        self, questions: Sequence[str], candidates: Sequence[_Candidate], readings: Sequence[_Reading]
    ) -> list[NDArray[np.float64]]:
        """How near each candidate's meaning is to each question's: cosines, ``(candidates,)`` for a question."""
        if not candidates:
            return [np.empty(0)] * len(questions)
        if not isinstance(self.embedder, TokenEmbedder):
            vectors = [np.asarray(self.embedder.embed_query(question), dtype=np.float64) for question in questions]
            texts = [candidate.text for candidate in candidates]
            rows = np.asarray(self.embedder.embed_documents(texts), dtype=np.float64)
            return [rows @ vector for vector in vectors]
        # The passages are read once, however many questions there are.
        states = self.embedder.embed_tokens([*questions, *(reading.text for reading in readings)])
        asked, held = states[: len(questions)], states[len(questions) :]
        spans = [self.embedder.spans(reading.text) for reading in readings]
        inside = [_inside(c.span, spans[c.place]) for c in candidates]
        found: list[NDArray[np.float64]] = []
        for question, tokens in zip(questions, asked, strict=True):
            weights = np.array([token_weight(question[start:end]) for start, end in self.embedder.spans(question)])
            near = [tokens @ state.T for state in held]
            each = [_max_sim(near[c.place], weights, within) for c, within in zip(candidates, inside, strict=True)]
            found.append(np.array(each))
        return found

    def _best(
        self, query: Query, candidates: Sequence[_Candidate], readings: Sequence[_Reading]
    ) -> Iterator[_Candidate]:
        """The best candidate of each part, the best of all, and those near it that say something else, up to the
        number of quotes."""
        said: list[str] = []
        *by_part, whole = self._scored([*query.parts, query.sought], candidates, readings)
        for part, scores in zip(query.parts, by_part, strict=True):
            # A part may be a bare name; what is asked about it says the whole question.
            best = candidates[int(np.argmax(scores + whole))] if candidates else None
            if best and self._speaks_of(part, best) and _is_new(best, said):
                yield best
        order = sorted(range(len(candidates)), key=lambda i: (-whole[i], i))
        for i in order:
            if len(said) >= self.quotes or whole[i] < whole[order[0]] - _weights(query.sought).margin:
                return
            if _is_new(candidates[i], said):
                yield candidates[i]

    def _scored(
        self, questions: Sequence[str], candidates: Sequence[_Candidate], readings: Sequence[_Reading]
    ) -> list[NDArray[np.float64]]:
        """Every candidate's score for each question."""
        meanings = self._meanings(questions, candidates, readings)
        pairs = zip(questions, meanings, strict=True)
        return [self._scores(question, meaning, candidates, readings) for question, meaning in pairs]

    def _speaks_of(self, part: str, candidate: _Candidate) -> bool:
        """Whether a sentence, with what stands above it, has most of what a part of the question tells."""
        having = {*self.words.words(candidate.text), *self.words.words(_above(candidate.reading.passage))}
        return share(terms(self.words, part), having) >= PART_TOLD

    def _heads(self, query: Query, candidate: _Candidate) -> str:
        """The heads of the columns behind the row of a table, in the question's language; else nothing."""
        start, end = candidate.span
        if "\t" not in candidate.reading.text[start:end]:
            return ""
        around = self.stored.around(candidate.reading.passage.chunk.document_id, candidate.start, candidate.end)
        tables = around.tables if around else ()
        columns = next((t.columns for t in tables if t.start <= candidate.start and candidate.end <= t.end), ())
        heads = " | ".join(head for head, _ in groupby(collapse(column) for column in columns) if head)
        # A figure between the heads would look like a mark of our own.
        heads = re.sub(r"\s*\[\d+\]", "", heads)
        if not heads or len(heads) > MAX_HEADS_CHARS:
            return ""
        return f"（各列：{heads}）" if is_chinese(query.text) else f" (columns: {heads})"


def _weights(question: str) -> Weights:
    return WEIGHTS_CJK if has_cjk(question) else WEIGHTS


def _is_new(candidate: _Candidate, said: list[str]) -> bool:
    """Whether a candidate says something else than what was ``said``; then it is said now."""
    letters = "".join(c for c in candidate.text.casefold() if c.isalnum())
    if any(letters in other or other in letters for other in said):
        return False
    said.append(letters)
    return True


def _candidates(readings: Sequence[_Reading]) -> Iterator[_Candidate]:
    """The sentences of what is read, each once though passages overlap."""
    seen: set[tuple[str, int]] = set()
    for place, reading in enumerate(readings):
        chunk = reading.passage.chunk
        # An order to whoever reads is no answer: quoted, it would look like one.
        orders = [(left, right) for left, right, _ in suspicious(reading.text)]
        for left, end in _quotable(reading.text):
            bullet = _BULLET.match(reading.text, left, end)
            start = bullet.end() if bullet else left
            text = collapse(reading.text[start:end])
            least = MIN_QUOTE_CHARS_CJK if has_cjk(text) else MIN_QUOTE_CHARS
            key = (chunk.document_id, reading.start + end)
            if len(text) < least or key in seen or text in chunk.headings or _TOC_LINE.search(text):
                continue
            if any(left < right and begin < end for begin, right in orders):
                continue
            seen.add(key)
            if not _is_head(reading.text[start:end], chunk.header):
                yield _Candidate(reading, place, reading.start + start, reading.start + end, text)


def _quotable(text: str) -> Iterator[tuple[int, int]]:
    """The spans of the sentences; one too long to be a sentence (a table has no full stops) is taken line by line."""
    for start, end in sentences(text):
        if end - start <= MAX_QUOTE_CHARS:
            yield start, end
        else:
            lines = re.finditer(r"[^\n]+", text[start:end])
            yield from (span for m in lines for span in trimmed(text, start + m.start(), start + m.end()))


def _is_head(row: str, header: str) -> bool:
    """Whether the row of a table is the heads of its columns, which stand in the chunk's header line."""
    cells = [collapse(cell) for cell in row.split("\t")]
    return len(cells) > 1 and all(cell in header for cell in cells)


def _above(passage: Passage) -> str:
    """What stands above a passage: its header line and its headings."""
    return "\n".join((passage.chunk.header, *passage.chunk.headings))


def _nothing(query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
    """The answer that there is none, in the question's language."""
    text = no_answer(query.text)
    yield Token(text)
    return Answer(text, (), tuple(passages), "no_evidence")


def _inside(span: tuple[int, int], tokens: Sequence[tuple[int, int]]) -> list[int]:
    """Which tokens lie in a span."""
    return [i for i, (left, right) in enumerate(tokens) if left >= span[0] and right <= span[1]]


def _max_sim(near: NDArray[np.float32], weights: NDArray[np.float64], tokens: list[int]) -> float:
    """The weighted mean over the question's tokens of the best cosine with one of some tokens."""
    if not tokens or not weights.sum():
        return 0.0
    return float(near[:, tokens].max(axis=1) @ weights / weights.sum())
