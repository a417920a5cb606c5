"""Cuts where neighbouring sentences part: as the embedder sees them.

After Kamradt's "semantic chunking" (2023), which compares the vectors of neighbouring windows of sentences. His cut at
a percentile of a document's distances moves all borders when one page changes, and gives chunks of any size. Here a
chunk ends at the widest gap between its least and its greatest size, which is a decision of the place alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ragapp.errors import ConfigError
from ragapp.ingest.chunkers import SpanChunker
from ragapp.ingest.packing import Measured, Piece, Span
from ragapp.ports import Embedder, Tokenizer
from ragapp.text import collapse

AT_ONCE = 1024  # windows handed to the embedder together


class SemanticChunker(SpanChunker):
    """Whole sentences between ``min_tokens`` and ``tokens``, ended where what follows is least like what was said.

    Likeness is the cosine of two windows of ``window`` sentences, one before and one behind the gap, both inside the
    section. Every sentence is embedded ``window`` times for this, besides its chunk. Vectors in half precision vary a
    little with their neighbours, so two gaps of nearly the same width may change places between two machines.
    """

    name = "semantic"

    def __init__(
        self, tokenizer: Tokenizer, embedder: Embedder, tokens: int = 200, min_tokens: int = 64, window: int = 2
    ) -> None:
        super().__init__(tokenizer, tokens)
        if not 0 < min_tokens <= tokens:
            raise ConfigError(
                f"chunker.min_tokens = {min_tokens} is not between 1 and chunker.tokens = {tokens}.", "Lower it."
            )
        if window < 1:
            raise ConfigError(f"chunker.window = {window} is less than one sentence.", "Set it to 1 or more.")
        self._embedder = embedder
        self._min_tokens = min_tokens
        self._window = window

    def _settings(self) -> dict[str, object]:
        seen_by = getattr(self._embedder, "fingerprint", type(self._embedder).__qualname__)
        sizes = {"tokens": self._tokens, "min_tokens": self._min_tokens, "window": self._window}
        return {**sizes, "embedder": seen_by}

    def _cut(self, measured: Measured, start: int, end: int) -> Iterator[Piece]:
        sections = list(measured.sections(start, end))
        for section, gaps in zip(sections, self._gaps(measured, sections), strict=True):
            first = 0
            while first < len(section):
                stop = self._stop(measured, section, gaps, first)
                yield measured.piece(section[first][0], section[stop - 1][1])
                first = stop

    def _stop(self, measured: Measured, section: Sequence[Span], gaps: NDArray[np.float64], first: int) -> int:
        """The sentence that a chunk from ``first`` on ends before; the rest of a section is kept whole if it fits."""
        start, last = section[first][0], section[-1][1]
        if first + 1 == len(section) or measured.count(start, last) <= self._tokens:
            return len(section)
        stop = first + 1
        while measured.count(start, section[stop][1]) <= self._tokens:
            stop += 1
        large = [
            at for at in range(first + 1, stop + 1) if measured.count(start, section[at - 1][1]) >= self._min_tokens
        ]
        # Neither side of the cut shall be too little to stand alone, where that can be had.
        fair = [at for at in large if measured.count(section[at][0], last) >= self._min_tokens]
        return max(fair or large or [stop], key=lambda at: gaps[at - 1])

    def _gaps(self, measured: Measured, sections: Sequence[Sequence[Span]]) -> Iterator[NDArray[np.float64]]:
        """For each section how far apart its neighbouring sentences are: ``(sentences - 1,)``, 1 less the cosine."""
        wanted = [section for section in sections if len(section) > 1]
        windows = [
            collapse(measured.text[section[at][0] : section[min(at + self._window, len(section)) - 1][1]])
            for section in wanted
            for at in range(len(section))
        ]
        rows = iter(self._vectors(windows))
        for section in sections:
            if len(section) < 2:
                yield np.empty(0)
                continue
            vectors = np.array([next(rows) for _ in section])
            before = vectors[np.maximum(np.arange(len(section) - 1) - self._window + 1, 0)]
            yield 1 - np.einsum("ij,ij->i", before, vectors[1:])

    def _vectors(self, texts: list[str]) -> Iterator[NDArray[np.float64]]:
        """Unit vectors of the texts, in order."""
        for at in range(0, len(texts), AT_ONCE):
            rows = np.asarray(self._embedder.embed_documents(texts[at : at + AT_ONCE]), dtype=np.float64)
            yield from rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
