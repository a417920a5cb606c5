"""What a benchmark measured: rounds of ingest and questions for each side, growth, the Llama path, the machine's roof.

Units: seconds in ``_s``, milliseconds in ``_ms``, megabytes of 2**20 bytes in ``_mb``, shares 0 to 1, pages from 1.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ingested:
    """One ingest of all files in a process of its own.

    ``ingest_s`` runs from the first file to the saved index, with imports and the model's loading done before;
    ``process_s`` is the whole process with both. ``parts`` are its stages in seconds, where they follow one another.
    ``tokens`` counts those of the texts that were to be embedded, without special tokens, ``unread`` those beyond what
    the embedder reads of a text, ``cut`` the texts that have such. ``peak_mb`` is the process with its children.
    """

    ingest_s: float
    process_s: float
    pages: int
    texts: int
    tokens: int
    unread: int
    cut: int
    peak_mb: float
    index_mb: float
    failed: tuple[str, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def pages_per_s(self) -> float:
        return self.pages / self.ingest_s

    @property
    def tokens_per_s(self) -> float:
        """Tokens that were really embedded, by the time of the whole ingest."""
        return (self.tokens - self.unread) / self.ingest_s

    @property
    def unread_share(self) -> float:
        return self.unread / self.tokens if self.tokens else 0.0

    @property
    def cut_share(self) -> float:
        return self.cut / self.texts if self.texts else 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """All questions in a process of its own. ``cold_s`` runs from its start to the first result."""

    cold_s: float
    warm_ms: float
    p95_ms: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Hits:
    """How often a gold page was found: among the first 1 and 5, and the mean of 1/rank (0 beyond 10).

    ``near_5`` and ``near_mrr`` also take the page before and after. ``questions`` is how many have a gold page.
    """

    questions: int
    at_1: float
    at_5: float
    mrr: float
    near_5: float
    near_mrr: float


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are compared. ``asked`` and ``hits`` are by mode ("dense", "hybrid"), the default mode first.

    Round i of ``ingested`` and of each list in ``asked`` stand beside round i of every other side. ``error`` says why
    there is nothing, or why a later round is missing.
    """

    name: str
    versions: Mapping[str, str] = field(default_factory=dict)
    ingested: tuple[Ingested, ...] = ()
    asked: Mapping[str, tuple[Asked, ...]] = field(default_factory=dict)
    hits: Mapping[str, Hits] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Grown:
    """What a library of ``pages`` made-up pages costs one side; ``skipped`` says why it was not measured."""

    side: str
    pages: int
    ingested: Ingested | None = None
    asked: Asked | None = None
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure of several rounds: the median, the least, the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        held = sorted(values)
        return cls(statistics.median(held), held[0], held[-1]) if held else None


@dataclass(frozen=True, slots=True)
class Writing:
    """The Llama path beside plain transformers, on the same weights, by turns: one value a round in each tuple.

    ``lookup`` holds ratios of the speed with prompt lookup to that without, by case. ``first_s`` is the time to the
    first token. Tokens per second count from the first token on.
    """

    model: str
    dtype: str
    prompt_tokens: int
    tokens: int
    first_s: Mapping[str, tuple[float, ...]]
    tokens_per_s: Mapping[str, tuple[float, ...]]
    lookup: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Roof:
    """How near the machine's limits the two heavy loops come.

    ``share`` is ``reached / limit``, each in ``unit`` per second.
    """

    what: str
    unit: str
    limit: float
    reached: float
    how: str

    @property
    def share(self) -> float:
        return self.reached / self.limit


@dataclass(frozen=True, slots=True)
class Bench:
    """A whole benchmark. ``sides[0]`` is ragapp. ``command`` makes it again; ``notes`` are to be read with it."""

    command: str
    started: str
    seconds: float
    machine: str
    docs: str
    files: int
    rounds: int
    questions: int
    sides: tuple[Side, ...]
    grown: tuple[Grown, ...] = ()
    writing: Writing | None = None
    roofs: tuple[Roof, ...] = ()
    notes: tuple[str, ...] = ()
