"""The way in: plan, read in processes of their own, chunk, embed what is new, one transaction a document.

Reading, embedding and writing go on at the same time. A kill at any point leaves the documents that were finished, the
vectors of a large one that was not, and the pages that OCR had read; the next run goes on from there. A run that is
cancelled ends in good order: documents that are through stay, of the others nothing is left.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ragapp.catalog import Catalog, FileRow, embedded_text, text_hash
from ragapp.errors import ReadError
from ragapp.ingest.plan import Plan, plan
from ragapp.ingest.pool import Pool
from ragapp.ingest.reading import ReadingProcess, Settings
from ragapp.ingest.report import Failure, Notice, Outcome, Progress, Report, page_ranges
from ragapp.ingest.scan import Found, Source, path_of
from ragapp.ingest.writer import Writer
from ragapp.ports import Chunker, Embedder
from ragapp.types import Chunk, Document

EMBED_AT_ONCE = 384  # chunks that are sorted by length together; long enough that sorting pays
STEP_S = 0.2  # the embedder is given as many of them as take so long: a run must be stoppable between two calls
LOOK_S = 0.1  # between two looks whether a run that waits was cancelled
KEEP_FROM = 1000  # new chunks of a document from which on its vectors are stored ahead of it
READ_HINT = (
    "Install tesseract (tesseract-ocr, with tesseract-ocr-chi-sim for Chinese) or `pip install 'ragapp[ocr]'`, "
    "then ingest it again."
)

Vectors = dict[bytes, NDArray[np.float32]]


@dataclass(slots=True)
class _Read:
    """A document on its way from a reading thread to the embedder and on to the writer."""

    document: Document
    chunks: list[Chunk]
    vectors: Vectors = field(default_factory=dict)
    embedded: int = 0


Cancelled = Callable[[], bool]

_Result = _Read | str | ReadError  # a document, the id of one that is stored already, or why there is none


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What an ingest needs; ``fingerprint`` names the embedder's vectors."""

    catalog: Catalog
    chunker: Chunker
    embedder: Embedder
    fingerprint: str
    settings: Settings
    workers: int
    again: frozenset[str] = frozenset()  # ids of documents to be read again though they are stored

    def run(
        self,
        found: Found,
        passwords: Sequence[str] = (),
        progress: Callable[[Progress], None] = lambda _: None,
        *,
        dry_run: bool = False,
        on_file: Callable[[Outcome], None] = lambda _: None,
        cancelled: Cancelled = lambda: False,
    ) -> Report:
        """Ingest what was found; a file that cannot be read is reported. ``dry_run`` only counts what would be done.

        ``on_file`` is told when a file is begun, and what has become of it; from several threads, by one at a time.
        ``cancelled`` is asked between files, pages and calls of the embedder, in the thread that called; once it is
        true the run ends, and the report says what was done.
        """
        started = time.perf_counter()
        report = Report(others=found.others, failed=[Failure(path, f"{path} {why}.") for path, why in found.failed])
        files = self.catalog.files()
        todo = plan(found.sources, files, self.again)
        report.kept = len(todo.keep)
        if dry_run:
            report.changed = len(todo.known)
            report.added = len(todo.read) - report.changed
        else:
            for failure in report.failed:
                on_file(Outcome(failure.path, "failed", failure=failure))
            for source in todo.keep:
                on_file(Outcome(str(source.path), "kept", files[source.uri].document_id))
            if todo.read:
                _Run(self, todo, passwords, report, progress, on_file=on_file, cancelled=cancelled).go()
        report.seconds = round(time.perf_counter() - started, 3)
        return report


class _Run:
    """One ingest: its plan, its report, and what its threads share."""

    def __init__(
        self,
        pipeline: Pipeline,
        todo: Plan,
        passwords: Sequence[str],
        report: Report,
        progress: Callable[[Progress], None],
        *,
        on_file: Callable[[Outcome], None],
        cancelled: Cancelled,
    ) -> None:
        self._pipeline = pipeline
        self._catalog = pipeline.catalog
        self._todo = todo
        self._passwords = passwords
        self._report = report
        self._counter = _Counter(todo.read, progress, on_file)
        self._cancelled = cancelled
        self._pace = _Pace()
        self._again = set(pipeline.again)
        self._warming: Future[object] | None = None
        self._warm_lock = threading.Lock()

    def go(self) -> None:
        # A document that is stored is not read again. But the file that stood for it may have changed, and be stored
        # anew before its copy's turn comes: such copies are read in a second pass, whatever the library holds then.
        late = self._pass(self._todo.read, trust=True)
        if late:
            self._pass(late, trust=False)
        self._catalog.sweep()

    def _pass(self, sources: Sequence[Source], *, trust: bool) -> list[Source]:
        """Read and store files; returns those whose document was in the library when looked at, and then was not."""
        late: list[Source] = []
        pool: Pool[_Result] = Pool(
            lambda process, source: self._read(process, source, trust=trust),
            sources,
            self._pipeline.settings,
            self._pipeline.workers,
            self._cancelled,
        )
        with Writer() as writer, pool.open():
            for batch in _batches(pool):
                if not self._embed(batch):
                    break
                for source, result in batch:
                    writer.put(lambda source=source, result=result: self._finish(source, result, late))  # type: ignore[misc]
        return late

    # -- in the reading threads ----------------------------------------------------------------------------------

    def _read(self, process: ReadingProcess, source: Source, *, trust: bool) -> _Result:
        self._counter.outcome(source, "reading")
        try:
            with source.path.open("rb") as file:
                document_id = hashlib.file_digest(file, "sha256").hexdigest()
            if trust and document_id not in self._again and self._catalog.has_document(document_id):
                return document_id
            self._warm()
            document = process.read(
                source.path,
                self._passwords,
                lambda stage, done, of: self._counter.tell(source.name, stage, done, of),
                self._catalog.drafts(document_id),
                lambda number, body: self._catalog.keep_draft(document_id, number, body),
            )
            _check_text(source, document)
            # Here and not where it is stored: the embedder works meanwhile.
            return _Read(document, list(self._pipeline.chunker.chunk(document)))
        except OSError as error:
            hint = "It was there a moment ago." if isinstance(error, FileNotFoundError) else ""
            return ReadError(f"{source.path.name} cannot be read: {error.strerror}.", hint)
        except ReadError as error:
            return error

    def _warm(self) -> None:
        """Load the model while the first file is read; not at all where every file is known."""
        with self._warm_lock:
            if self._warming is None:
                self._warming = Future()
                threading.Thread(target=_fulfil, args=(self._warming, self._pipeline.embedder), daemon=True).start()

    # -- in the thread that called -------------------------------------------------------------------------------

    def _embed(self, batch: Sequence[tuple[Source, _Result]]) -> bool:
        """Give the documents of a batch the vectors of those texts that have none yet, all of them together.

        False when the run was cancelled before they had them.
        """
        wanted: dict[bytes, tuple[str, _Read, Source]] = {}
        for source, read in batch:
            if isinstance(read, _Read):
                texts = {text_hash(chunk): embedded_text(chunk) for chunk in read.chunks}
                known = self._catalog.known_hashes(self._pipeline.fingerprint, texts)
                new = [key for key in texts if key not in known and key not in wanted]
                read.embedded = len(new)
                wanted.update({key: (texts[key], read, source) for key in new})
        keys = list(wanted)
        if keys and not self._is_warm():
            return False
        for at in range(0, len(keys), EMBED_AT_ONCE):
            part = keys[at : at + EMBED_AT_ONCE]
            _, read, source = wanted[part[0]]
            pages = len(read.document.pages)
            share = pages / len(keys) if len(batch) == 1 else 0
            tell = partial(self._tell_embedded, source.name, pages, share, at)
            rows = self._rows([wanted[key][0] for key in part], tell)
            if rows is None:
                return False
            large: Vectors = {}
            for key, row in zip(part, rows, strict=True):
                owner = wanted[key][1]
                (large if owner.embedded > KEEP_FROM else owner.vectors)[key] = row
            if large:
                # At once: a document this large need not be embedded again from its start after a kill.
                self._catalog.keep_vectors(large, self._pipeline.fingerprint)
        return not self._cancelled()

    def _tell_embedded(self, name: str, pages: int, share: float, before: int, done: int) -> None:
        self._counter.tell(name, "embed", int(share * (before + done)), pages)

    def _is_warm(self) -> bool:
        """Wait for the model; False when the run was cancelled meanwhile. Raises what its loading has raised."""
        assert self._warming is not None
        while not self._cancelled():
            try:
                self._warming.result(LOOK_S)
            except NotYet:
                # The loading may have failed with an error of this kind itself.
                if self._warming.done():
                    raise
            else:
                return True
        return False

    def _rows(self, texts: Sequence[str], tell: Callable[[int], None]) -> NDArray[np.float32] | None:
        """The vectors of texts, made in steps of like length; None when the run was cancelled between two of them.

        ``tell`` is told before each step how many texts are done.
        """
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        made: list[NDArray[np.float32]] = []
        at = 0
        while at < len(order):
            if self._cancelled():
                return None
            tell(at)
            step = order[at : at + self._pace.size]
            with self._pace.measured(len(step)):
                rows = self._pipeline.embedder.embed_documents([texts[i] for i in step])
            made.append(np.asarray(rows, dtype=np.float32))
            at += len(step)
        return np.concatenate(made)[np.argsort(order)]

    # -- in the writing thread -----------------------------------------------------------------------------------

    def _finish(self, source: Source, result: _Result, late: list[Source]) -> None:
        if isinstance(result, str) and not self._catalog.has_document(result):
            late.append(source)
            return
        known = source.uri in self._todo.known
        if isinstance(result, ReadError) and source.uri in self._todo.unchanged:
            # Only tried again, for its unread pages, and not to be read now (without its password, say): as it was.
            self._report.kept += 1
            self._counter.outcome(source, "kept")
        elif isinstance(result, ReadError):
            stays = " What was read of it before stays in the library." if known else ""
            hint = f"{result.hint}{stays}".strip()
            failure = Failure(str(source.path), result.message, hint, result.needs_password)
            self._report.failed.append(failure)
            self._counter.outcome(source, "failed", failure=failure)
        else:
            self._store(source, result, known)
        self._counter.file_done(source)

    def _store(self, source: Source, result: _Read | str, known: bool) -> None:
        """Put a document that was read (or the id of one that is stored already) under its file's name."""
        document_id = result if isinstance(result, str) else result.document.id
        row = FileRow(source.uri, source.name, document_id, source.bytes, source.mtime_ns)
        renew = isinstance(result, _Read) and document_id in self._again
        if self._catalog.has_document(document_id) and not renew:
            self._alias(source, row, known)
            return
        assert isinstance(result, _Read)
        self._again.discard(document_id)
        document, report = result.document, self._report
        # What a changed document sets free may be what another one, embedded already, counts on: swept at the end.
        self._catalog.put(
            row, document, result.chunks, result.vectors, self._pipeline.fingerprint, keep_freed=True, renew=renew
        )
        warning = unread_warning(document)
        if warning:
            report.warnings.append(Notice(str(source.path), warning))
        self._count(source, document_id, known, warning)
        report.pages += len(document.pages)
        report.chunks += len(result.chunks)
        report.embedded += result.embedded
        report.pages_by_ocr += sum(page.read_by == "ocr" for page in document.pages)
        self._counter.pages_done += len(document.pages)

    def _alias(self, source: Source, row: FileRow, known: bool) -> None:
        """Let a file stand for a document that is there: a copy, a file that was moved, or one only touched."""
        files = self._catalog.files_of(row.document_id)
        moved = [file.uri for file in files if file.uri != row.uri and is_gone(file.uri)]
        self._catalog.alias(row, keep_freed=True)
        if moved:
            self._catalog.drop(moved)
        if any(file.uri == row.uri for file in files):
            self._report.kept += 1
            self._counter.outcome(source, "kept", row.document_id)
        else:
            self._count(source, row.document_id, known or bool(moved))

    def _count(self, source: Source, document_id: str, known: bool, warning: str = "") -> None:
        if known:
            self._report.changed += 1
        else:
            self._report.added += 1
        self._counter.outcome(source, "changed" if known else "added", document_id, warning=warning)


class _Pace:
    """How many texts the embedder is given at a time: as many as take about STEP_S seconds."""

    LEAST, MOST = 16, EMBED_AT_ONCE

    def __init__(self) -> None:
        self.size = 64

    @contextmanager
    def measured(self, texts: int) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        if texts == self.size:
            # At most twice or half of what it was: one slow call says little.
            fit = texts * STEP_S / max(seconds, 1e-6)
            self.size = int(min(max(fit, texts / 2, self.LEAST), texts * 2, self.MOST))


class _Counter:
    """Tells the progress, and what became of files; called from every thread of a run, telling from one at a time."""

    def __init__(
        self,
        sources: Sequence[Source],
        progress: Callable[[Progress], None],
        on_file: Callable[[Outcome], None],
    ) -> None:
        self._progress = progress
        self._on_file = on_file
        self._lock = threading.Lock()
        self._files = len(sources)
        self._bytes = sum(source.bytes for source in sources)
        self._files_done = self._bytes_done = 0
        self._started = time.perf_counter()
        self.pages_done = 0

    def tell(self, file: str, stage: str, pages: int, of_pages: int) -> None:
        seconds = time.perf_counter() - self._started
        with self._lock:
            self._progress(
                Progress(file, stage, self._files_done, self._files, pages, of_pages, self.pages_done,
                         self._bytes_done, self._bytes, seconds)
            )  # fmt: skip

    def outcome(
        self,
        source: Source,
        state: str,
        document_id: str | None = None,
        *,
        failure: Failure | None = None,
        warning: str = "",
    ) -> None:
        with self._lock:
            self._on_file(Outcome(str(source.path), state, document_id, failure, warning))

    def file_done(self, source: Source) -> None:
        self._files_done += 1
        self._bytes_done += source.bytes
        self.tell(source.name, "done", 0, 0)


def _fulfil(warming: Future[object], embedder: Embedder) -> None:
    try:
        warming.set_result(embedder.embed_query("warm"))
    except Exception as error:  # noqa: BLE001  carried to the thread that embeds, which raises it
        warming.set_exception(error)


def is_gone(uri: str) -> bool:
    """Whether a file is certainly not there any more; one that cannot be looked at may be."""
    try:
        path_of(uri).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def unread_warning(document: Document) -> str:
    """What users must know about pages that could not be read; empty when there are none."""
    if unread := document.pages_unread:
        share = f"{len(unread)} of {len(document.pages)} pages could not be read: {page_ranges(unread)}"
        why, hint = _why_unread(document)
        return f"{share}; {why}. {hint}"
    if empty := document.pages_without_text:
        return f"{len(empty)} of {len(document.pages)} pages have no text: {page_ranges(empty)}."
    return ""


def _check_text(source: Source, document: Document) -> None:
    """Raise ReadError for a document without a single letter: there is nothing to find in it."""
    empty, total = len(document.pages_without_text), len(document.pages)
    if empty < total:
        return
    if document.pages_unread:
        why, hint = _why_unread(document)
    elif any(page.read_by == "ocr" for page in document.pages):
        why, hint = "OCR found none on them either", "There is nothing in it to be found."
    else:
        why, hint = "it is blank", "There is nothing in it to be found."
    raise ReadError(f"{source.path.name}: {empty} of {total} pages have no text; {why}.", hint)


def _why_unread(document: Document) -> tuple[str, str]:
    """Why pages of a document could not be read, as the end of a sentence, and what would help."""
    if "pages_unreadable" in document.metadata:
        return "the file is damaged", "Open it in a viewer and save it anew; then ingest it again."
    if "ocr" in document.metadata:
        return "OCR saw nothing on them that it was sure of", "A sharper scan may be read."
    return "they are scanned or garbled", READ_HINT


def _batches(pool: Pool[_Result]) -> Iterator[list[tuple[Source, _Result]]]:
    """Results as they come, small ones together: an embedder is at its best with many texts."""
    while (item := pool.take(wait=True)) is not None:
        batch, size = [item], _size(item[1])
        while size < EMBED_AT_ONCE and (more := pool.take(wait=False)) is not None:
            batch.append(more)
            size += _size(more[1])
        yield batch


def _size(result: _Result) -> int:
    return len(result.chunks) if isinstance(result, _Read) else 0
