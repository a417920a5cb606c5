"""Prompt lookup: what follows is guessed from where the last words stood before. Standard library only.

An answer from documents copies much of its prompt. The last tokens are sought earlier in prompt and answer, and what
stood behind them is the guess, which the model checks in one step (Saxena 2023, "Prompt Lookup Decoding").
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Lookup"]

_LENGTHS = (3, 2)  # of the ends that are sought, the longest first


class Lookup:
    """Knows where every two and three neighbouring tokens stood last; ``most`` tokens are guessed at a time."""

    def __init__(self, tokens: Iterable[int], most: int) -> None:
        self.tokens: list[int] = []
        self.most = most
        self._reach = most
        self._places: dict[tuple[int, ...], int] = {}  # neighbours -> where what follows them begins
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """Another token was written. The neighbours that end with it are noted only when something follows them."""
        for length in _LENGTHS:
            if len(self.tokens) >= length:
                self._places[tuple(self.tokens[-length:])] = len(self.tokens)
        self.tokens.append(token)

    def guess(self, room: int) -> list[int]:
        """Tokens that may come next, ``room`` at most; none where the end stood nowhere before."""
        most = min(room, self._reach)
        for length in _LENGTHS:
            at = self._places.get(tuple(self.tokens[-length:])) if len(self.tokens) >= length else None
            if at is not None and most > 0:
                return self.tokens[at : at + most]
        return []

    def learn(self, guessed: int, right: int) -> None:
        """Guess further after a guess that was right, and less far after one that was wrong: wrong ones cost time."""
        if guessed:
            self._reach = self.most if right == guessed else max(1, right + 1)
