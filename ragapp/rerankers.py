"""Rerankers: a closer look at passages that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ragapp.ports import TokenEmbedder
from ragapp.types import Passage, Rank


class KeepOrder:
    """Leaves the order of the fusion as it is."""

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        return list(passages)


@dataclass(frozen=True, slots=True)
class LateInteraction:
    """MaxSim over the embedder's token vectors (Khattab & Zaharia 2020), averaged with the fused score.

    Both are put between 0 and 1 over the passages given; ``weight`` is the share of the MaxSim.
    """

    embedder: TokenEmbedder
    weight: float = 0.5

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        if not passages:
            return []
        texts = [passage.chunk.text for passage in passages]
        late = max_sim(self.embedder, question, texts)
        fused = scaled(np.array([passage.score for passage in passages]))
        total = self.weight * scaled(late) + (1 - self.weight) * fused
        order = sorted(range(len(passages)), key=lambda i: (-total[i], i))
        places = {i: place for place, i in enumerate(sorted(range(len(passages)), key=lambda i: (-late[i], i)), 1)}
        return [
            replace(passages[i], score=float(total[i]), found_by=_with(passages[i], places[i], late[i])) for i in order
        ]


def max_sim(embedder: TokenEmbedder, question: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """For every text the mean over the question's tokens of the best cosine with one of its tokens, ``(texts,)``."""
    asked, *tokens = embedder.embed_tokens([question, *texts])
    if len(asked) == 0:
        return np.zeros(len(texts))
    return np.array([float((asked @ t.T).max(axis=1).mean()) if len(t) else 0.0 for t in tokens])


def scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between 0 and 1; all 1 where they do not differ."""
    span = values.max() - values.min() if len(values) else 0.0
    result: NDArray[np.float64] = (values - values.min()) / span if span > 0 else np.ones_like(values)
    return result


def _with(passage: Passage, place: int, score: float) -> Mapping[str, Rank]:
    return {**passage.found_by, "late": Rank(place, float(score))}
