"""What an ingest did, and where it stands meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from ragapp.erasure import Receipt


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was not read, and why; ``hint`` says what can be done, and whether an older reading stays.

    ``needs_password``: the right password would open it.
    """

    path: str
    error: str
    hint: str = ""
    needs_password: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A file that is in the library with something to know about it."""

    path: str
    warning: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of one file, told while a run goes on: it is being read ("reading"), or it is through.

    ``path`` is the file as it was found, ``document_id`` what it stands for when it is in the library ("added",
    "changed", "kept"), ``failure`` why it is not ("failed"), ``warning`` what users must know of it.
    """

    path: str
    state: str
    document_id: str | None = None
    failure: Failure | None = None
    warning: str = ""


@dataclass(slots=True)
class Report:
    """Counts of files by what became of them, and of the pages and chunks that were added or changed.

    ``embedded`` counts the chunks that had no vector yet: an edited document costs only what is new in it.
    ``pages_by_ocr`` counts the pages whose text was recognised in a picture.
    """

    added: int = 0
    changed: int = 0
    dropped: int = 0
    kept: int = 0
    failed: list[Failure] = field(default_factory=list)
    warnings: list[Notice] = field(default_factory=list)
    pages: int = 0
    chunks: int = 0
    embedded: int = 0
    pages_by_ocr: int = 0
    seconds: float = 0.0
    others: int = 0  # files of kinds that are not read
    erased: Receipt | None = None  # the receipt of the documents that were dropped

    def as_dict(self) -> dict[str, object]:
        plain = asdict(replace(self, erased=None))
        return {**plain, "erased": None if self.erased is None else self.erased.as_dict()}


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: one file is at ``stage`` "read", "ocr", "embed" or "done", at ``pages`` of ``of_pages``.

    ``pages_done`` counts pages, and ``bytes_done`` bytes of files, that are through, of ``bytes`` in all; ``seconds``
    have passed since the start. Files are at several stages at once: reading runs ahead of embedding.
    """

    file: str
    stage: str
    files_done: int
    files: int
    pages: int
    of_pages: int
    pages_done: int
    bytes_done: int = 0
    bytes: int = 0
    seconds: float = 0.0

    @property
    def pages_per_second(self) -> float:
        """Pages that are through and those of the file at work, over the time since the start."""
        at_work = self.pages if self.stage in ("embed", "ocr") else 0
        return (self.pages_done + at_work) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """What is left at the speed so far, by bytes of files; None while that says nothing."""
        if self.bytes_done <= 0 or self.seconds < 1:
            return None
        return self.seconds * (self.bytes - self.bytes_done) / self.bytes_done


def page_ranges(numbers: Sequence[int]) -> str:
    """Page numbers for people: ``4-9, 12``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
