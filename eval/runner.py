"""A set of questions put to a library, one record each, so that whatever ends a run, it goes on from there.

What is recorded: the deep search list of every question and, for a run of kind "ask", the answer with its citations,
steps, times and trace. The times of an answer are the flow's own; the search behind the list is made after it and not
counted in. A question that fails gives a record with its error, and is asked again when the run goes on.

A run goes on only as it began: the same questions, kind, flow, settings, library, embedder, model and version.

Not covered: the times of one question are those of a machine that answers ``workers`` questions at once; ask one at a
time where latency is what you measure.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count, islice
from pathlib import Path
from typing import Any

from ragapp import parts, registry
from ragapp.config import Config, explain
from ragapp.errors import ConfigError, RagappError
from ragapp.eval import dataset as sets
from ragapp.eval.dataset import Dataset, Question
from ragapp.eval.machine import machine
from ragapp.eval.places import PlaceFinder, Places, cite_of, hit_of
from ragapp.eval.records import Kind, Manifest, Record, RunFolder, run_path, slug, unlike
from ragapp.eval.values import counted
from ragapp.ingest.chunkers import chunker_fingerprint
from ragapp.rag import Rag
from ragapp.trace import plain, settings_of, without_login
from ragapp.types import Answer, Done, Event, Passage, Query, Step

DEPTH = 20  # hits recorded at least, so that recall@20 is known
LATE = "late"  # what the built-in reranker is called among those that found a hit
MISHAPS = 5  # kinds of warnings of answers that are told
HOPELESS = 5  # questions that fail at the begin, all of them, before the run is given up
# Settings that change no answer of a library that is there, and those that the manifest tells by itself.
_IRRELEVANT = ("server.", "ingest.", "answer.flow", "chat.model")

_Result = tuple[Record, RagappError | None]


def run(
    rag: Rag,
    dataset: Dataset,
    *,
    name: str,
    runs: Path,
    kind: Kind = "ask",
    flow: str | None = None,
    k: int = 10,
    seed: int = 0,
    workers: int = 1,
    resume: bool = True,
    traces: bool = True,
    progress: Callable[[int, int, Record], None] = lambda done, total, record: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> RunFolder:
    """Ask every question of a set that the run ``name`` in the folder ``runs`` has not answered yet.

    Of each search ``k`` hits are recorded, and at least DEPTH. ``workers`` questions are asked at a time. Without
    ``resume`` a run of that name is deleted first. ``progress`` is told of every new record, how many are done and how
    many there are. Once ``cancelled()`` is true the run ends after the present event; its manifest has no ``ended``.

    Raises ConfigError for a name that is none, a set of which no document is in the library, and a run that was made
    otherwise, LibraryLocked where another process writes it, and, where the first questions all fail, their error.
    """
    path = run_path(runs, name)
    asked = sets.placed(dataset, [entry.document for entry in rag.documents()])
    manifest = planned(rag, dataset, kind=kind, flow=flow, k=k, seed=seed, workers=workers)
    manifest = replace(manifest, name=name, questions=len(asked.questions))
    if path.exists() and not resume:
        RunFolder.open(path).remove()
    with _folder(path, manifest, asked) as folder:
        work = _Work(rag, folder, traces=traces, cancelled=cancelled)
        work.locate(asked.questions)
        work.ask(asked.questions, workers, progress)
    return folder


def planned(
    rag: Rag,
    dataset: Dataset,
    *,
    kind: Kind = "ask",
    flow: str | None = None,
    k: int = 10,
    seed: int = 0,
    workers: int = 1,
) -> Manifest:
    """The manifest that a run begun now would have, without a name.

    Raises ConfigError for numbers below 1 and for a flow that is not there.
    """
    if k < 1 or workers < 1:
        raise ConfigError(f"{k} hits and {workers} workers: both are at least 1.")
    if kind == "ask":
        registry.resolve("flow", flow or rag.config.answer.flow)
    now = rag.catalog.generation()
    return Manifest(
        name="",
        set=dataset.name,
        fingerprint=dataset.fingerprint,
        questions=len(dataset.questions),
        kind=kind,
        flow=(flow or rag.config.answer.flow) if kind == "ask" else "",
        k=max(k, DEPTH),
        seed=seed,
        settings=_settings(rag.config),
        library=rag.name,
        generation=now.number,
        stamp=now.stamp,
        embedder=rag.catalog.embedder() or "",
        model=without_login(rag.config.chat.model) if kind == "ask" else "",
        version=_version(),
        started=_now(),
        machine=machine(),
        workers=workers,
        chunker=rag.catalog.chunked_by() or "",
        documents=len(rag.documents()),
    )


def free_name(runs: Path, manifest: Manifest) -> str:
    """A name that says what is run, and that is free or belongs to a run that can be gone on with.

    The same command has the same name again, as long as neither the questions nor the library have changed.
    """
    set_parts = [manifest.set, manifest.kind, *[manifest.flow] * (manifest.flow not in ("", "linear"))]
    chosen = [f"{key}={value}" for key, value in sorted(manifest.settings.items())]
    base = slug("-".join([*set_parts, *chosen])) or "run"
    for number in count(1):
        name = base if number == 1 else f"{base}-{number}"
        path = runs / name
        if not path.exists():
            return name
        with suppress(RagappError):  # one that is damaged is not gone on with
            if not unlike(RunFolder.open(path).manifest, manifest):
                return name
    raise AssertionError("numbers do not end")


def _folder(path: Path, manifest: Manifest, dataset: Dataset) -> RunFolder:
    """The run, held for writing: a new one, or one that was begun in the same way."""
    if not path.exists():
        return RunFolder.create(path, replace(manifest, warnings=dataset.warnings), dataset)
    folder = RunFolder.resume(path)
    differing = unlike(folder.manifest, manifest)
    if differing:
        folder.close()
        raise ConfigError(
            f"The run {manifest.name} was begun otherwise: {' '.join(differing)}",
            "--fresh makes it anew; another --name keeps both.",
        )
    # What was told before is told anew: the gold is looked up again, and of a question asked again the last try counts.
    folder.note(warnings=dataset.warnings)
    return folder


# -- the work ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, its place in the set (from 1), and where its gold stands."""

    place: int
    question: Question
    places: Places


class _Work:
    """Asks the questions of one run. Questions may be asked in several threads; records are kept in one."""

    def __init__(self, rag: Rag, folder: RunFolder, *, traces: bool, cancelled: Callable[[], bool]) -> None:
        self._rag = rag
        self._folder = folder
        self._manifest = folder.manifest
        self._traces = traces and folder.manifest.kind == "ask"
        self._cancelled = cancelled
        self._stopped = threading.Event()
        self._places: dict[str, Places] = {}

    def locate(self, questions: Sequence[Question]) -> None:
        """Look all gold up, and note what is not there."""
        finder = PlaceFinder(self._rag.catalog)
        self._places = {question.id: finder.find(question) for question in questions}
        found = list(self._places.values())
        self._warn([*_misfits(self._rag), *_missing(found)])

    def ask(self, questions: Sequence[Question], workers: int, progress: Callable[[int, int, Record], None]) -> None:
        """Ask what is left, and finish the run when nothing is."""
        done = {record.id for record in self._folder.records() if not record.error}
        left = [
            _Asked(place, question, self._places[question.id])
            for place, question in enumerate(questions, 1)
            if question.id not in done
        ]
        had, failed = len(done), 0
        results = self._one_by_one(left) if workers == 1 else self._together(left, workers)
        with closing(results):
            for number, (record, error) in enumerate(results, 1):
                failed += error is not None
                if error is not None and failed == number == HOPELESS:
                    raise error
                self._folder.append(record)
                progress(had + number, len(questions), record)
                if number == len(left):
                    self._end()
        if not left:
            self._end(self._folder.manifest.ended)

    def _end(self, ended: str = "") -> None:
        now = self._rag.catalog.generation()
        if (now.number, now.stamp) != (self._manifest.generation, self._manifest.stamp):
            self._warn(["The library was changed while the questions were asked."])
        self._warn(list(_mishaps(self._folder.records())))
        self._folder.finish(ended or _now())

    def _warn(self, sentences: Sequence[str]) -> None:
        warnings = tuple(dict.fromkeys([*self._folder.manifest.warnings, *sentences]))
        if warnings != self._folder.manifest.warnings:
            self._folder.note(warnings=warnings)

    # -- one after another, or several at a time -----------------------------------------------------------------

    def _one_by_one(self, left: Sequence[_Asked]) -> Generator[_Result]:
        for asked in left:
            result = self._result(asked)
            if result is None:
                return
            yield result

    def _together(self, left: Sequence[_Asked], workers: int) -> Generator[_Result]:
        """The results as they come. Whoever closes this waits for the present event of each thread, no longer."""
        waiting = iter(left)
        with ThreadPoolExecutor(workers, "ragapp-eval") as pool:
            running: set[Future[_Result | None]] = set()
            try:
                while True:
                    # Never more than can be asked now: a run that is stopped has nothing to take back.
                    free = workers - len(running)
                    running |= {pool.submit(self._result, asked) for asked in islice(waiting, free)}
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        result = future.result()
                        if result is None:
                            return
                        yield result
            finally:
                self._stopped.set()

    def _is_stopped(self) -> bool:
        return self._stopped.is_set() or self._cancelled()

    # -- one question --------------------------------------------------------------------------------------------

    def _result(self, asked: _Asked) -> _Result | None:
        """The record of a question, with its error where it failed; None when the run is stopped."""
        if self._is_stopped():
            return None
        try:
            record = self._search(asked) if self._manifest.kind == "search" else self._answer(asked)
        except RagappError as error:
            return self._failed(asked, error), error
        except Exception as error:  # noqa: BLE001 - a flow or a part of the user's own may raise anything
            said = f"{type(error).__name__}: {error}"
            raised = RagappError(said, f"It was raised for the question {asked.question.id}.")
            return self._failed(asked, raised), raised
        return None if record is None else (record, None)

    def _failed(self, asked: _Asked, error: RagappError) -> Record:
        return Record(asked.question.id, self._manifest.kind, error=error.message or type(error).__name__)

    def _query(self, asked: _Asked) -> Query:
        question = asked.question
        return Query(question.text, question.history, question.where, seed=self._manifest.seed)

    def _search(self, asked: _Asked) -> Record:
        events: list[Event] = []
        began = time.perf_counter()
        found = self._rag.search(self._query(asked), self._manifest.k, told=events.append)
        seconds = round(time.perf_counter() - began, 4)
        return Record(
            asked.question.id,
            "search",
            tuple(hit_of(passage, asked.places) for passage in found),
            timings={"total": seconds},
            relevant=dict(asked.places.relevant),
            steps=tuple(plain(event) for event in events if isinstance(event, Step)),
        )

    def _answer(self, asked: _Asked) -> Record | None:
        query, trace = self._query(asked), self._trace(asked)
        file = self._folder.path / trace if trace else None
        steps: list[dict[str, Any]] = []
        answer: Answer | None = None
        events = self._rag.stream(query, flow=self._manifest.flow, save_trace=file)
        try:
            for event in events:
                if isinstance(event, Step):
                    steps.append(plain(event))
                elif isinstance(event, Done):
                    answer = event.answer
                if answer is None and self._is_stopped():
                    return None
        finally:
            events.close()  # type: ignore[attr-defined]  # a generator: a stop must reach the model
        if answer is None:
            raise RagappError(f"The flow {self._manifest.flow!r} ended without an answer.")
        hits = self._rag.search(query, self._manifest.k)
        return _record(asked, answer, hits, steps, trace)

    def _trace(self, asked: _Asked) -> str:
        """The name of the file for a trace, below the run's folder: unique by the place of its question."""
        if not self._traces:
            return ""
        return f"traces/{asked.place:05d}-{slug(asked.question.id)}".rstrip("-") + ".json"


# -- a record of what was found ----------------------------------------------------------------------------------------


def _record(
    asked: _Asked, answer: Answer, hits: Sequence[Passage], steps: Sequence[dict[str, Any]], trace: str
) -> Record:
    return Record(
        id=asked.question.id,
        kind="ask",
        hits=tuple(hit_of(passage, asked.places) for passage in hits),
        answer=answer.text,
        citations=tuple(cite_of(citation, asked.places) for citation in answer.citations),
        finish_reason=answer.finish_reason,
        confidence=answer.confidence,
        timings=dict(answer.timings),
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        relevant=dict(asked.places.relevant),
        steps=tuple(steps),
        trace=trace,
    )


# -- how it was made ---------------------------------------------------------------------------------------------------


def _settings(config: Config) -> dict[str, object]:
    """The settings that are not the defaults and can change an answer; see trace.settings_of for secrets."""
    usual = {setting.key: setting.value for setting in explain(Config())}
    return {
        key: value
        for key, value in settings_of(config).items()
        if not key.startswith(_IRRELEVANT) and (key not in usual or usual[key] != value)
    }


def _misfits(rag: Rag) -> Iterator[str]:
    """What of the settings cannot show in the run, as the library was made with others."""
    cut, wished = rag.catalog.chunked_by(), chunker_fingerprint(parts.chunker_of(rag.config, rag.embedder))
    if cut is not None and cut != wished:
        yield (
            "The library was cut by another chunker than the settings name, and was searched as it is: 1 library. "
            "`ragapp reindex` would cut it anew."
        )


def _mishaps(records: Sequence[Record]) -> Iterator[str]:
    """What went less well than it should with some answers or searches, each with how many there are."""
    what = "question"
    said = ({str(step["detail"].get("warning") or "") for step in record.steps} for record in records)
    told = Counter(text for texts in said for text in texts if text)
    yield from (f"{text} {counted(number, what)}." for text, number in told.most_common(MISHAPS))
    if len(told) > MISHAPS:
        yield f"Other warnings of answers are left out here: {len(told) - MISHAPS:,}."
    read = [any(LATE in hit.found_by for hit in record.hits) for record in records if record.hits]
    if any(read) and not all(read):
        kept = f"{read.count(False):,} of {len(read):,} searches"
        yield f"The reranker gave up, or does not read the language, and the fused order was kept: {kept}."


def _missing(found: Sequence[Places]) -> Iterator[str]:
    """What of the gold is not in the library's documents."""
    quotes, missing = (sum(counts) for counts in zip(*((p.quotes, p.missing) for p in found), strict=True))
    if missing:
        yield f"{missing:,} of {counted(quotes, 'gold quote')} do not stand in their documents as they were read."
    absent = list(dict.fromkeys(place for places in found for place in places.absent))
    if absent:
        document, page = absent[0]
        yield f"Gold pages that their documents do not have: {len(absent):,}, like page {page} of {document}."


def _version() -> str:
    try:
        return version("ragapp")
    except PackageNotFoundError:
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
