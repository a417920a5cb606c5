"""What the model has read lately, kept so that the next prompt that begins alike is not read again from its start.

Turns of a conversation share the system prompt, and often the passages. A prompt is read in steps of ``STEP`` tokens
from its beginning, and only whole steps are taken over: what is computed then is, to the bit, what would have been
computed without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

__all__ = ["STEP", "Prefixes"]

STEP = 128  # tokens; running answers wait for one step of a newcomer's prompt at a time


class Kept(Protocol):
    """A cache; ``size`` in bytes."""

    @property
    def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Entry:
    tokens: tuple[int, ...]
    cache: Kept


class Prefixes:
    """The caches of the last ``most`` prompts, while they take ``limit()`` bytes together or less.

    A cache that is kept is never written at the positions of its tokens again. May be used from several threads.
    """

    def __init__(self, limit: Callable[[], int], most: int = 4) -> None:
        self._limit, self._most = limit, most
        self._entries: list[_Entry] = []  # the last used at the end
        self._lock = threading.Lock()

    def find(self, tokens: Sequence[int]) -> tuple[Kept | None, int]:
        """The cache that shares the most whole steps with a prompt, and how many tokens those are; (None, 0) else.

        At least one token of the prompt is left to be read, for it tells what comes next.
        """
        with self._lock:
            shared = [(_shared(entry.tokens, tokens), n) for n, entry in enumerate(self._entries)]
            length, best = max(shared, default=(0, 0))
            if not length:
                return None, 0
            entry = self._entries.pop(best)
            self._entries.append(entry)
            return entry.cache, length

    def keep(self, tokens: Sequence[int], cache: Kept) -> None:
        """Keep the cache of a prompt that was read, in place of those that it continues, and of the oldest."""
        new = _Entry(tuple(tokens[: len(tokens) // STEP * STEP]), cache)
        if not new.tokens:
            return
        with self._lock:
            others = [entry for entry in self._entries if new.tokens[: len(entry.tokens)] != entry.tokens]
            entries = [*others, new][-self._most :]
            limit = self._limit()
            while entries and sum(entry.cache.size for entry in entries) > limit:
                entries.pop(0)
            self._entries = entries

    def clear(self) -> None:
        with self._lock:
            self._entries = []

    def __len__(self) -> int:
        return len(self._entries)


def _shared(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many tokens two beginnings share, in whole steps, with one of ``theirs`` left over."""
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
    return max(0, min(alike, len(theirs) - 1)) // STEP * STEP
