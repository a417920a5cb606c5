"""Chat models beside a library's own: each built once, a few of them kept, the least recently asked let go first.

What a model takes of memory is the user's: no more than ``BESIDE`` of them are held at a time, and one that writes just
now is never let go. Nothing is loaded here; a model loads its weights for its first answer.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from ragapp.errors import ModelError, Overloaded
from ragapp.ports import Answerer, Gatherer, Writer

BESIDE = 2  # models, each of which may take gigabytes
RETRY_S = 5


@dataclass(frozen=True, slots=True)
class Voice:
    """What of a flow's tools depends on who writes. ``chat`` is None for quotes."""

    chat: Any
    gatherer: Gatherer
    answerer: Answerer
    writer: Writer | None


class Loan:
    """One answer's use of a voice: it lasts until ``close``, or until nobody holds it any more."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self.is_over = False

    def close(self) -> None:
        self.is_over = True


@dataclass(slots=True)
class _Held:
    voice: Voice
    loans: WeakSet[Loan] = field(default_factory=WeakSet)

    @property
    def is_idle(self) -> bool:
        return all(loan.is_over for loan in self.loans)


class Voices:
    """At most ``most`` voices by the name of their model; ``make`` builds one. Safe to share between threads."""

    def __init__(self, make: Callable[[str], Voice], most: int = BESIDE) -> None:
        self._make, self._most = make, most
        self._lock = threading.Lock()
        self._held: OrderedDict[str, _Held] = OrderedDict()  # the least recently asked first

    def lend(self, model: str) -> Loan:
        """The voice of a model, for one answer.

        Raises Overloaded where the model would be one too many and all others write, ConfigError and ModelError for a
        model that cannot be used.
        """
        with self._lock:
            if model not in self._held:
                made = self._made(model)
                self._make_room()
                self._held[model] = _Held(made)
            held = self._held[model]
            self._held.move_to_end(model)
            loan = Loan(held.voice)
            held.loans.add(loan)
            return loan

    def chat_of(self, model: str) -> Any:
        """The chat model that is held under a name; None where none is."""
        with self._lock:
            held = self._held.get(model)
            return held.voice.chat if held else None

    def drop(self, model: str) -> None:
        """Hold a model no longer; answers in the making end with it."""
        with self._lock:
            self._held.pop(model, None)

    def _made(self, model: str) -> Voice:
        try:
            return self._make(model)
        except ModelError:
            # It may be the memory that the idle ones hold which it lacks.
            idle = [name for name, held in self._held.items() if held.is_idle]
            for name in idle:
                del self._held[name]
            if not idle:
                raise
        gc.collect()
        return self._make(model)

    def _make_room(self) -> None:
        while len(self._held) >= self._most:
            idle = next((name for name, held in self._held.items() if held.is_idle), None)
            if idle is None:
                raise Overloaded(
                    f"{self._most} other models are writing answers, and no more are kept in memory at a time.",
                    "Ask again in a moment, or ask without naming a model.",
                    RETRY_S,
                )
            del self._held[idle]
