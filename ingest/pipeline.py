"""The way in: plan, read in a process of its own, chunk, embed what is new, one transaction a document.

Reading runs ahead of embedding by a few documents. A kill at any point leaves the documents that were finished; the
next run plans the rest again.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragapp.catalog import Catalog, FileRow, embedded_text, text_hash
from ragapp.errors import NotFound, ReadError
from ragapp.ingest.plan import Plan, plan
from ragapp.ingest.reading import ReadingProcess
from ragapp.ingest.report import Failure, Notice, Progress, Report
from ragapp.ingest.scan import SUFFIXES, Source, path_of, scan
from ragapp.ports import Chunker, Embedder
from ragapp.types import Chunk, Document

EMBED_AT_ONCE = 256  # chunks between two reports of progress; long enough that sorting by length pays
READ_AHEAD = 3  # documents that wait for the embedder


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What an ingest needs; ``fingerprint`` names the embedder's vectors."""

    catalog: Catalog
    chunker: Chunker
    embedder: Embedder
    fingerprint: str
    seconds_per_page: float
    memory_mb: int

    def run(
        self,
        paths: Sequence[Path],
        passwords: Sequence[str] = (),
        progress: Callable[[Progress], None] = lambda _: None,
        *,
        dry_run: bool = False,
    ) -> Report:
        """Ingest files and folders. Raises NotFound when there is nothing to ingest at all; a file that cannot be
        read is reported. ``dry_run`` only counts what would be done."""
        started = time.perf_counter()
        found = scan(paths)
        if not found.sources:
            raise _nothing(paths, found.failed)
        report = Report(others=found.others, failed=[Failure(path, f"{path} {why}.") for path, why in found.failed])
        todo = plan(found.sources, self.catalog.files())
        report.kept = len(todo.keep)
        if dry_run:
            report.changed = len(todo.known)
            report.added = len(todo.read) - report.changed
        elif todo.read:
            self._work(todo, passwords, report, progress)
        report.seconds = round(time.perf_counter() - started, 3)
        return report

    def _work(self, todo: Plan, passwords: Sequence[str], report: Report, progress: Callable[[Progress], None]) -> None:
        counter = _Counter(len(todo.read), progress)
        # A document that is stored is not read again. But the file that stood for it may have changed, and be stored
        # anew before its copy's turn comes: such copies are read in a second pass, whatever the library holds then.
        late = self._pass(todo.read, todo, passwords, report, counter, trust=True)
        if late:
            self._pass(late, todo, passwords, report, counter, trust=False)

    def _pass(
        self,
        sources: Sequence[Source],
        todo: Plan,
        passwords: Sequence[str],
        report: Report,
        counter: _Counter,
        *,
        trust: bool,
    ) -> list[Source]:
        """Read and store files; returns those whose document was in the library when looked at, and then was not."""
        late: list[Source] = []
        with self._reading(sources, passwords, counter, trust=trust) as documents:
            # The model loads while the first file is read.
            self.embedder.embed_query("warm")
            for source, result in documents:
                if isinstance(result, str) and not self.catalog.has_document(result):
                    late.append(source)
                    continue
                try:
                    if isinstance(result, ReadError):
                        raise result
                    self._store(source, result, source.uri in todo.known, report, counter)
                except ReadError as error:
                    stays = " What was read of it before stays in the library." if source.uri in todo.known else ""
                    report.failed.append(Failure(str(source.path), error.message, f"{error.hint}{stays}".strip()))
                counter.file_done(source.name)
        return late

    def _store(self, source: Source, result: _Read | str, known: bool, report: Report, counter: _Counter) -> None:
        """Put a document that was read (or the id of one that is stored already) under its file's name."""
        document_id = result if isinstance(result, str) else result.document.id
        row = FileRow(source.uri, source.name, document_id, source.bytes, source.mtime_ns)
        if self.catalog.has_document(document_id):
            files = self.catalog.files_of(document_id)
            moved = [file.uri for file in files if file.uri != source.uri and _is_gone(file.uri)]
            self.catalog.alias(row)
            if moved:
                self.catalog.drop(moved)
            if any(file.uri == source.uri for file in files):
                report.kept += 1
            else:
                _count(report, known or bool(moved))
            return
        assert isinstance(result, _Read)
        document, chunks = result.document, result.chunks
        empty, total = len(document.pages_without_text), len(document.pages)
        if empty == total:
            raise ReadError(
                f"{source.path.name}: {empty} of {total} pages have no text; it is a scan, a picture or blank.",
                "Run it through an OCR program that adds a text layer, then ingest it again.",
            )
        if empty:
            report.warnings.append(Notice(str(source.path), f"{empty} of {total} pages have no text."))
        vectors = self._embed(source, document, chunks, counter)
        self.catalog.put(row, document, chunks, vectors, self.fingerprint)
        _count(report, known)
        report.pages += total
        report.chunks += len(chunks)
        counter.pages_done += total

    def _embed(
        self, source: Source, document: Document, chunks: Sequence[Chunk], counter: _Counter
    ) -> dict[bytes, np.typing.NDArray[np.float32]]:
        """Vectors of the texts that have none yet, by hash."""
        texts = {text_hash(chunk): embedded_text(chunk) for chunk in chunks}
        known = self.catalog.known_hashes(self.fingerprint, texts)
        wanted = [key for key in texts if key not in known]
        vectors: dict[bytes, np.typing.NDArray[np.float32]] = {}
        for at in range(0, len(wanted), EMBED_AT_ONCE):
            counter.tell(source.name, "embed", int(len(document.pages) * at / len(wanted)), len(document.pages))
            keys = wanted[at : at + EMBED_AT_ONCE]
            rows = np.asarray(self.embedder.embed_documents([texts[key] for key in keys]), dtype=np.float32)
            vectors.update(zip(keys, rows, strict=True))
        return vectors

    @contextmanager
    def _reading(
        self, sources: Sequence[Source], passwords: Sequence[str], counter: _Counter, *, trust: bool
    ) -> Iterator[Iterable[tuple[Source, _Read | str | ReadError]]]:
        """Documents in the order of the sources, read ahead by a thread that ends with the block."""
        process = ReadingProcess(self.seconds_per_page, self.memory_mb)
        ahead: queue.Queue[tuple[Source, _Read | str | ReadError] | BaseException | None] = queue.Queue(READ_AHEAD)
        stopped = threading.Event()

        def put(item: tuple[Source, _Read | str | ReadError] | BaseException | None) -> None:
            while not stopped.is_set():
                try:
                    ahead.put(item, timeout=0.1)
                    return
                except queue.Full:
                    continue

        def read_all() -> None:
            try:
                for source in sources:
                    if stopped.is_set():
                        return
                    put((source, self._read(process, source, passwords, counter, trust=trust)))
                put(None)
            except BaseException as error:  # noqa: BLE001  carried to the consumer, which raises it
                put(error)
            finally:
                process.stop()

        def items() -> Iterator[tuple[Source, _Read | str | ReadError]]:
            while (item := ahead.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item

        process.start()
        thread = threading.Thread(target=read_all, name="ragapp-read", daemon=True)
        thread.start()
        try:
            yield items()
        finally:
            stopped.set()
            process.close()
            thread.join()

    def _read(
        self, process: ReadingProcess, source: Source, passwords: Sequence[str], counter: _Counter, *, trust: bool
    ) -> _Read | str | ReadError:
        """The document, its id when it is stored already, or why it cannot be read."""
        try:
            with source.path.open("rb") as file:
                document_id = hashlib.file_digest(file, "sha256").hexdigest()
            if trust and self.catalog.has_document(document_id):
                return document_id
            document = process.read(
                source.path, passwords, lambda done, of: counter.tell(source.name, "read", done, of)
            )
            # Here and not where it is stored: the embedder works meanwhile.
            return _Read(document, list(self.chunker.chunk(document)))
        except OSError as error:
            return ReadError(f"{source.path.name} cannot be read: {error.strerror}.", "It was there a moment ago.")
        except ReadError as error:
            return error


@dataclass(frozen=True, slots=True)
class _Read:
    """A document on its way from the reading thread to the embedder."""

    document: Document
    chunks: list[Chunk]


class _Counter:
    """Tells the progress; called from the reading thread and the embedding one."""

    def __init__(self, files: int, progress: Callable[[Progress], None]) -> None:
        self._files = files
        self._progress = progress
        self._files_done = 0
        self.pages_done = 0

    def tell(self, file: str, stage: str, pages: int, of_pages: int) -> None:
        self._progress(Progress(file, stage, self._files_done, self._files, pages, of_pages, self.pages_done))

    def file_done(self, file: str) -> None:
        self._files_done += 1
        self.tell(file, "done", 0, 0)


def _is_gone(uri: str) -> bool:
    """Whether a file is certainly not there any more; one that cannot be looked at may be."""
    try:
        path_of(uri).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _count(report: Report, known: bool) -> None:
    if known:
        report.changed += 1
    else:
        report.added += 1


def _nothing(paths: Sequence[Path], failed: Sequence[tuple[str, str]]) -> NotFound:
    if failed:
        path, why = failed[0]
        return NotFound(f"{path} {why}.", "Nothing was changed.")
    names = ", ".join(str(path) for path in paths)
    return NotFound(f"There is nothing to ingest in {names}.", f"Files that can be read end in {', '.join(SUFFIXES)}.")
