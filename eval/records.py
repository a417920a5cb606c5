"""What one run of a set left behind: a record a question, and the manifest that says how it was made.

A run is a folder: ``run.json`` (the manifest), ``questions.jsonl`` (the set, with the documents named as the library
names them), ``records.jsonl`` (a record a line, in the order in which they were done), ``traces/`` (a trace for each
answer that can be replayed; see ragapp.trace) and, where a model judged it, ``judged.jsonl`` (ragapp.eval.judging). A
line is on the disk before the next question begins: whatever ends a run, it goes on from there. One process writes a
run at a time, and any number may read it meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

from filelock import FileLock, Timeout

from ragapp.errors import ConfigError, LibraryLocked, NotFound, RagappError, ReadError
from ragapp.eval import dataset as sets
from ragapp.eval.dataset import Dataset
from ragapp.store import sync_folder
from ragapp.trace import plain
from ragapp.types import Rank

FORMAT = "ragapp-run"
VERSION = 1
MANIFEST, QUESTIONS, RECORDS, TRACES, LOCK = "run.json", "questions.jsonl", "records.jsonl", "traces", "lock"
MAX_NAME = 100  # bytes
SLUG = 60  # bytes of a slug
_NAME = re.compile(r"[\w][\w.=+@,-]*")
_NOT_IN_A_SLUG = re.compile(r"[^\w.=-]+")
# What decides what a run is, besides its questions, settings and library; and how people call it.
_MAKERS = {
    "kind": "Kind of run", "flow": "Flow", "k": "Hits", "seed": "Seed", "embedder": "Embedder", "model": "Model",
    "version": "Version of ragapp",
}  # fmt: skip

Kind = Literal["search", "ask"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found, best first in its list. ``start`` and ``end`` are offsets in the document's text.

    ``gold`` says whether it overlaps a gold quote of its question, None where the question has no quote or the quote
    was not found in the document.
    """

    document: str
    page: int
    chunk: int
    start: int
    end: int
    score: float
    text: str
    found_by: Mapping[str, Rank] = field(default_factory=dict)
    gold: bool | None = None


@dataclass(frozen=True, slots=True)
class Cite:
    """A citation of an answer; ``gold`` as in Hit, for the quote itself."""

    marker: int
    document: str
    page: int
    quote: str
    state: str
    start: int
    end: int
    gold: bool | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What happened with one question.

    ``answer`` is None for a search. ``relevant`` counts what could have been found by level ("passages": chunks of the
    library that hold gold), where it is known. ``timings`` are seconds by step with ``total`` and, for an answer,
    ``first_token``. ``error`` is the sentence of what went wrong; all else is then empty.
    """

    id: str
    kind: Kind
    hits: tuple[Hit, ...] = ()
    answer: str | None = None
    citations: tuple[Cite, ...] = ()
    finish_reason: str = ""
    confidence: float | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    relevant: Mapping[str, int] = field(default_factory=dict)
    steps: tuple[Mapping[str, Any], ...] = ()
    trace: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """How a run was made: enough to make it again, and to know whether it can be gone on with.

    ``settings`` are those that are not the defaults, secrets left out. ``generation`` and ``stamp`` name the library's
    state. ``questions`` is how many the set has, ``machine`` what it ran on in words (cores, processor, memory).
    ``ended`` is empty while questions are left. ``workers`` is how many were asked at a time, ``chunker`` who cut the
    library's ``documents``. ``warnings`` are sentences about the set and how it fits the library, each with a count.
    """

    name: str
    set: str
    fingerprint: str
    questions: int
    kind: Kind
    flow: str
    k: int
    seed: int
    settings: Mapping[str, object]
    library: str
    generation: int
    stamp: str
    embedder: str
    model: str
    version: str
    started: str
    ended: str = ""
    machine: str = ""
    workers: int = 1
    chunker: str = ""
    documents: int = 0
    warnings: tuple[str, ...] = ()


class RunFolder:
    """One run on the disk. Made by ``create``, opened to go on by ``resume``, or to be read by ``open``."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._lock: FileLock | None = None
        self._file: BinaryIO | None = None

    @property
    def name(self) -> str:
        return self.manifest.name

    # -- making and opening --------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, manifest: Manifest, dataset: Dataset) -> Self:
        """Make the folder of a new run and hold it for writing. It appears whole or not at all.

        Raises ConfigError where something has that name already, RagappError for a disk that takes nothing.
        """
        if path.exists():
            raise ConfigError(f"{path} is there already.", "Give the run another name with --name.")
        making = path.with_name(f".making-{secrets.token_hex(6)}")
        try:
            (making / TRACES).mkdir(parents=True)
            sets.save(dataset, making / QUESTIONS)
            (making / RECORDS).touch()
            _write(making / MANIFEST, _manifest_json(manifest))
            making.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            raise RagappError(
                f"The run {path} cannot be written: {error.strerror}.", "Name another folder with --runs."
            ) from error
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return cls(path, manifest)._held()

    @classmethod
    def open(cls, path: Path) -> Self:
        """A run, to be read. Raises NotFound where there is none, and ConfigError for one that is newer or damaged."""
        return cls(path, _manifest_of(path))

    @classmethod
    def resume(cls, path: Path) -> Self:
        """A run, to be gone on with: what a kill left half written is dropped. Also raises LibraryLocked."""
        return cls.open(path)._held()

    def _held(self) -> Self:
        """The run with its lock, ready to be written."""
        lock = FileLock(self.path / LOCK, timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise LibraryLocked(
                f"Another process is working on the run {self.name}.", "Wait for it, or give this one another --name."
            ) from None
        except OSError as error:
            raise RagappError(f"The run {self.path} cannot be written: {error.strerror}.") from error
        self._lock = lock
        try:
            self._mend()
            self._file = (self.path / RECORDS).open("ab")
        except OSError as error:
            self.close()
            raise RagappError(f"The run {self.path} cannot be written: {error.strerror}.") from error
        return self

    def _mend(self) -> None:
        """Cut off what a kill left half written, and sweep away the traces that never got their names."""
        with (self.path / RECORDS).open("a+b") as file:
            file.seek(0)
            file.truncate(_whole_bytes(file.read()))
        (self.path / TRACES).mkdir(exist_ok=True)
        for left in (self.path / TRACES).glob(".*"):
            left.unlink(missing_ok=True)

    # -- writing -------------------------------------------------------------------------------------------------

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns. Raises RagappError for a disk that takes nothing."""
        if self._file is None:
            raise RagappError(f"The run {self.name} is open to be read only.")
        line = json.dumps(plain(record), ensure_ascii=False) + "\n"
        try:
            # Half of a character pair cannot be written as UTF-8; spelled out, JSON knows it.
            self._file.write(line.encode("utf-8", "backslashreplace"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RagappError(
                f"The run {self.path} cannot be written: {error.strerror}.", "What was done before is kept."
            ) from error

    def note(self, **changes: Any) -> None:
        """Change facts of the manifest: ``note(ended=…)``."""
        self.manifest = replace(self.manifest, **changes)
        try:
            _write(self.path / MANIFEST, _manifest_json(self.manifest))
        except OSError as error:
            raise RagappError(f"The run {self.path} cannot be written: {error.strerror}.") from error

    def finish(self, ended: str) -> None:
        """Say that no question is left. ``ended`` is the time, in ISO 8601."""
        self.note(ended=ended)
        self.close()

    def close(self) -> None:
        """Let the run go: another process may write it, and this one may still read it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading -------------------------------------------------------------------------------------------------

    def dataset(self) -> Dataset:
        """The questions as they were asked, under the set's own name and fingerprint."""
        held = sets.load(self.path / QUESTIONS)
        return replace(
            held, name=self.manifest.set, fingerprint=self.manifest.fingerprint, warnings=self.manifest.warnings
        )

    def records(self) -> list[Record]:
        """The records, in the order of the questions. Of a question that was asked again the last one counts.

        Raises ReadError for a line that is damaged; a last line without its end is somebody writing just now.
        """
        done = {record.id: record for record in self._lines()}
        order = {question.id: place for place, question in enumerate(self.dataset().questions)}
        return sorted(done.values(), key=lambda record: order.get(record.id, len(order)))

    def _lines(self) -> Iterator[Record]:
        path = self.path / RECORDS
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ReadError(f"The records {path} cannot be read: {error.strerror}.") from error
        for number, line in enumerate(data[: _whole_bytes(data)].splitlines(), 1):
            try:
                yield record_of(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ReadError(
                    f"{path}:{number} is no record: {error}.", "Delete the line, and the same command asks it again."
                ) from error

    def trace_path(self, trace: str) -> Path:
        """Where the trace of a record lies. Raises NotFound where it has none, or names one outside of the run."""
        path = self.path / trace
        if not trace or path.parent != self.path / TRACES or not path.is_file():
            raise NotFound(f"The run {self.name} has no trace {trace!r}.", "Only answers have one.")
        return path

    def remove(self) -> None:
        """Delete the run. Raises LibraryLocked while somebody writes it."""
        held = self if self._lock is not None else type(self).resume(self.path)
        # Under another name first: a kill leaves no half run behind that looks like one.
        gone = self.path.with_name(f".gone-{secrets.token_hex(6)}")
        try:
            self.path.rename(gone)
        except OSError as error:
            raise RagappError(f"The run {self.path} cannot be deleted: {error.strerror}.") from error
        finally:
            held.close()
        shutil.rmtree(gone, ignore_errors=True)


# -- names -------------------------------------------------------------------------------------------------------------


def run_path(runs: Path, name: str) -> Path:
    """The folder of the run of a name. Raises ConfigError for what is no name, such as a way out of the folder."""
    if not _NAME.fullmatch(name) or len(name.encode("utf-8")) > MAX_NAME:
        raise ConfigError(
            f"{name!r} is no name for a run.",
            f"Use letters, figures and . = + @ , _ -, at most {MAX_NAME} bytes, and begin with a letter or figure.",
        )
    return runs / name


def find_run(runs: Path, named: str) -> RunFolder:
    """The run that is meant by a name in ``runs``, or by the path of its folder. Raises NotFound, naming a near one."""
    place = Path(named)
    if (place / MANIFEST).is_file():
        return RunFolder.open(place)
    if _NAME.fullmatch(named) and (runs / named / MANIFEST).is_file():
        return RunFolder.open(runs / named)
    near = get_close_matches(named, _names_in(runs), n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]!r}?" if near else "`ragapp eval list` shows the runs; --runs DIR looks elsewhere."
    raise NotFound(f"There is no run {named!r} in {runs}.", hint)


def runs_in(runs: Path) -> Iterator[RunFolder]:
    """The runs of a folder, the oldest first. Those that cannot be read are left out."""
    found = []
    for name in _names_in(runs):
        try:
            found.append(RunFolder.open(runs / name))
        except RagappError:
            continue
    yield from sorted(found, key=lambda run: (run.manifest.started, run.name))


def _names_in(runs: Path) -> list[str]:
    try:
        return sorted(p.name for p in runs.iterdir() if not p.name.startswith(".") and (p / MANIFEST).is_file())
    except OSError:
        return []


def slug(text: str) -> str:
    """A text as part of a file's name: letters, figures and . = _ -, at most SLUG bytes."""
    kept = _NOT_IN_A_SLUG.sub("-", text).strip("-.=")
    return kept.encode("utf-8")[:SLUG].decode("utf-8", "ignore").strip("-.=")


def unlike(before: Manifest, now: Manifest) -> list[str]:
    """What would make a run another one, a sentence each; none where it can be gone on with."""
    found = [
        f"{what}: {getattr(before, name) or 'none'} then, {getattr(now, name) or 'none'} now."
        for name, what in _MAKERS.items()
        if getattr(before, name) != getattr(now, name)
    ]
    if (before.generation, before.stamp) != (now.generation, now.stamp):
        found.append("The library is another one, or it was changed since.")
    if before.fingerprint != now.fingerprint:
        found.append("The questions are not the same.")
    for key in sorted(before.settings.keys() | now.settings.keys()):
        one, other = (made.settings.get(key, "the default") for made in (before, now))
        if one != other:
            found.append(f"{key}: {one} then, {other} now.")
    return found


# -- to and from JSON --------------------------------------------------------------------------------------------------


def record_of(row: Mapping[str, Any]) -> Record:
    """The record that a line holds. Raises KeyError, TypeError or ValueError for anything else."""
    held = {f.name: row[f.name] for f in fields(Record) if f.name in row}
    if not isinstance(held["id"], str) or held["kind"] not in ("search", "ask"):
        raise ValueError("it has no id or no kind")
    hits = tuple(
        Hit(**{**hit, "found_by": {name: Rank(**rank) for name, rank in hit["found_by"].items()}})
        for hit in held.pop("hits", ())
    )
    citations = tuple(Cite(**cite) for cite in held.pop("citations", ()))
    return Record(**{**held, "hits": hits, "citations": citations, "steps": tuple(held.get("steps", ()))})


def _manifest_json(manifest: Manifest) -> str:
    return json.dumps({"format": FORMAT, "version_of_format": VERSION, **plain(manifest)}, ensure_ascii=False, indent=1)


def _manifest_of(path: Path) -> Manifest:
    try:
        row = json.loads((path / MANIFEST).read_bytes().decode("utf-8"))
        if row.get("format") != FORMAT:
            raise ValueError("it is no manifest of a run")
        newer = row["version_of_format"] > VERSION
        manifest = Manifest(**{f.name: row[f.name] for f in fields(Manifest) if f.name in row})
        manifest = replace(manifest, warnings=tuple(manifest.warnings))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"There is no run in {path}.", "`ragapp eval list` shows what is there.") from None
    except OSError as error:
        raise ConfigError(f"The run {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path / MANIFEST} is damaged: {error}.", "`ragapp eval run … --fresh` makes the run anew."
        ) from error
    if newer:
        raise ConfigError(f"The run {path} was made by a newer ragapp.", "Read it with that one.")
    return manifest


# -- the disk ----------------------------------------------------------------------------------------------------------


def _whole_bytes(data: bytes) -> int:
    """How many bytes of a file of lines belong to lines that have their end."""
    return data.rfind(b"\n") + 1


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises OSError."""
    made = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    try:
        with made.open("wb") as file:
            file.write(text.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
        sync_folder(path.parent)
    finally:
        made.unlink(missing_ok=True)
