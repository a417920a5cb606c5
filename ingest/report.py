"""What an ingest did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was not read, and why; ``hint`` says what can be done, and whether an older reading stays."""

    path: str
    error: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A file that is in the library with something to know about it."""

    path: str
    warning: str


@dataclass(slots=True)
class Report:
    """Counts of files by what became of them, and of the pages and chunks that were added or changed."""

    added: int = 0
    changed: int = 0
    dropped: int = 0
    kept: int = 0
    failed: list[Failure] = field(default_factory=list)
    warnings: list[Notice] = field(default_factory=list)
    pages: int = 0
    chunks: int = 0
    seconds: float = 0.0
    others: int = 0  # files of kinds that are not read

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an ingest stands: one file is at ``stage`` "read", "embed" or "done", at ``pages`` of ``of_pages``.

    ``pages_done`` counts pages that are in the library, over all files of the run.
    """

    file: str
    stage: str
    files_done: int
    files: int
    pages: int
    of_pages: int
    pages_done: int
