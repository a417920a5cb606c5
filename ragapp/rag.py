"""The façade that every door uses: a library opened, filled and asked. Its parts are made in parts.py."""

from __future__ import annotations

import difflib
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ragapp import checkup, parts, registry
from ragapp import config as settings
from ragapp.budget import Budget
from ragapp.catalog import Catalog, Entry
from ragapp.config import Config
from ragapp.erasure import Receipt, erase
from ragapp.errors import (
    ConfigError,
    EmbedderChanged,
    LibraryError,
    LibraryLocked,
    NotFound,
    QuestionError,
    RagappError,
)
from ragapp.ingest.boxes import PageSpan
from ragapp.ingest.chunkers import chunker_fingerprint
from ragapp.ingest.engines import find_engine
from ragapp.ingest.limits import Limits
from ragapp.ingest.pipeline import Pipeline
from ragapp.ingest.plan import gone_from
from ragapp.ingest.reading import Settings
from ragapp.ingest.reindex import MIXED, Reindex, Reindexed
from ragapp.ingest.report import Outcome, Progress, Report
from ragapp.ingest.scan import Found, nothing_found, path_of, scan
from ragapp.lexicon import Lexicon, sweep_private
from ragapp.mending import cache_faults, library_folder
from ragapp.originals import Originals
from ragapp.parcel import Manifest, pack, unpack
from ragapp.parts import Toolbox, Wardrobe, wished
from ragapp.placing import Places, boxes_of_spans
from ragapp.ports import Chunker, Flow
from ragapp.rerankers import KeepOrder
from ragapp.steps import rerank, rewrite, search
from ragapp.types import Answer, Asked, Box, Citation, Cited, Done, Event, Passage, Query, Step, Token
from ragapp.vectors import VectorIndex
from ragapp.viewer import Viewer
from ragapp.voices import Voice

if TYPE_CHECKING:
    from ragapp.why import Why

_T = TypeVar("_T")

FEW = 10  # files that may vanish from a folder at once and leave it empty without a question
MAX_WORKERS = 4  # reading processes, unless the user sets a number: each may take memory_mb


class Rag:
    """A library and everything needed to fill and to ask it. Safe to share between threads.

    >>> with Rag.open("my-library") as rag:                      # doctest: +SKIP
    ...     rag.add(["./docs"])
    ...     print(rag.ask("How long is the warranty?").text)
    """

    def __init__(self, folder: Path, config: Config, *, create: bool, any_embedder: bool = False) -> None:
        self.folder = folder
        self.config = config
        self.chat = parts.chat_of(config)  # checked before anything else: a wrong model must not cost an ingest
        self._embedder = parts.embedder_of(config)
        self.catalog = Catalog(folder, create=create)
        if not any_embedder:
            self._check_embedder()
        self._lexicon = Lexicon(self.catalog)
        self._vectors = VectorIndex(self.catalog, self._embedder.fingerprint, config.search.exact_up_to)
        self.viewer = Viewer(self.catalog)
        self._places = Places()
        self._aside = False
        self._tools_lock = threading.Lock()
        self._tools: Toolbox | None = None
        self._wardrobe = Wardrobe(config, self._embedder, self._voice)
        self.is_warm = False  # whether everything that an answer needs is loaded

    @classmethod
    def open(
        cls,
        library: str | Path | None = None,
        *,
        config: Config | None = None,
        create: bool = True,
        any_embedder: bool = False,
        **flags: object,
    ) -> Self:
        """Open the library in a folder (``RAGAPP_LIBRARY``, else ``./.ragapp``), making it when ``create``.

        ``flags`` are settings with a double underscore for the dot: ``search__k=20``. Loads no model. Raises
        ConfigError, NotFound, LibraryNewer, EmbedderChanged, ModelError for a chat model that cannot be used. With
        ``any_embedder`` a library that was made with another embedder is opened too: it can be reindexed, not searched.
        """
        folder = library_folder(library)
        if config is not None and flags:
            raise ConfigError("Settings were given twice: as config and as keywords.", "Give one of the two.")
        if config is None:
            config = settings.load({key.replace("__", "."): value for key, value in flags.items()})
        return cls(folder, config, create=create, any_embedder=any_embedder)

    @property
    def name(self) -> str:
        """What the library is called: its folder's name, or that of the folder above a hidden one."""
        folder = self.folder.absolute()
        return folder.parent.name if folder.name.startswith(".") else folder.name

    # -- the write path ------------------------------------------------------------------------------------------

    def add(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        passwords: Sequence[str] = (),
        progress: Callable[[Progress], None] = lambda _: None,
        dry_run: bool = False,
        below: str | Path | None = None,
        on_file: Callable[[Outcome], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
        publish: bool = True,
    ) -> Report:
        """Ingest files and folders. Files that cannot be read are in the report; the others are in the library.

        ``progress`` and ``on_file`` (what becomes of each file) are called from several threads, by one at a time. Once
        ``cancelled()`` is true the run ends within about half a second: documents that are through stay, the report
        says what was done, nothing is raised. Files are named by their path below the folder that was named, or
        ``below`` another one. Without ``publish`` the search caches are left behind; see ``publish_caches``. Raises
        NotFound when there is nothing to ingest, and LibraryLocked when another process is writing.
        """
        where = _paths(paths)
        found = scan(where, None if below is None else Path(below).expanduser())
        if not found.sources:
            raise nothing_found(where, found)
        return self._ingest(
            found, passwords, progress, dry_run=dry_run, on_file=on_file, cancelled=cancelled, publish=publish
        )

    def sync(
        self,
        folders: str | Path | Iterable[str | Path],
        *,
        passwords: Sequence[str] = (),
        progress: Callable[[Progress], None] = lambda _: None,
        dry_run: bool = False,
    ) -> Report:
        """Make the library the mirror of folders: ingest what they hold, forget what is gone from them.

        Documents from elsewhere stay. Raises NotFound for a folder that does not exist, and LibraryLocked.
        """
        where = _paths(folders)
        for folder in where:
            if not os.path.isdir(folder):  # unlike the method of Path, it raises for no name
                raise NotFound(f"{folder} is not a folder.", "Nothing was changed. `ragapp remove` forgets a document.")
        found = scan(where)
        if dry_run:
            report = self._ingest(found, passwords, progress, dry_run=True)
            report.dropped = len(gone_from(where, found, self.catalog.files()))
            return report
        with self.catalog.writing():
            self._check_not_unmounted(where, found)
            report = self._ingest(found, passwords, progress)
            # After the ingest: a file that was moved has taken its document along by now.
            gone = gone_from(where, found, self.catalog.files())
            if gone:
                report.erased = self.forget(gone)
                report.dropped = len(gone)
        return report

    def _check_not_unmounted(self, folders: Sequence[Path], found: Found) -> None:
        """Raise LibraryError where a folder that held many documents is empty: its disk may just not be there."""
        for folder in folders:
            gone = gone_from([folder], found, self.catalog.files())
            if len(gone) > FEW and not any(folder.iterdir()):
                raise LibraryError(
                    f"{folder} is empty, and the library has {len(gone):,} files from it: its disk may not be there.",
                    "Nothing was changed. If they are to be forgotten, put any file into the folder and sync again.",
                )

    def _ingest(
        self,
        found: Found,
        passwords: Sequence[str],
        progress: Callable[[Progress], None],
        *,
        dry_run: bool = False,
        on_file: Callable[[Outcome], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
        publish: bool = True,
    ) -> Report:
        table = self.config.ingest
        cores = os.cpu_count() or 1
        settings = Settings(
            table.seconds_per_page,
            table.memory_mb,
            Limits(pages=table.max_pages, expanded_bytes=table.max_mb << 20),
            table.pdf,
            table.ocr,
            table.ocr_languages,
            table.ocr_seconds_per_page,
            cores,
        )
        # What is named and missing is said here, not file by file.
        engine = find_engine(table.ocr, table.ocr_languages)
        pipeline = Pipeline(
            self.catalog,
            parts.chunker_of(self.config, self._embedder),
            self._embedder,
            self._embedder.fingerprint,
            settings,
            table.workers or min(cores, MAX_WORKERS),
            self.catalog.untried(engine.name) if engine else frozenset(),
        )
        if dry_run:
            return pipeline.run(found, passwords, progress, dry_run=True)
        with self.catalog.writing():
            self._check_embedder()
            self._note_makers(pipeline.chunker)
            try:
                return pipeline.run(found, passwords, progress, on_file=on_file, cancelled=cancelled)
            finally:
                # Training a large index takes minutes: not when the user has just stopped the run.
                if publish:
                    self._publish(train=sys.exception() is None and not cancelled())

    def _note_makers(self, chunker: Chunker) -> None:
        """Write down whose vectors and chunks the library is about to be given."""
        if self.catalog.embedder() != self._embedder.fingerprint:
            self.catalog.set_embedder(self._embedder.fingerprint)
        before, now = self.catalog.chunked_by(), chunker_fingerprint(chunker)
        if before != now:
            # What is there keeps its chunks until a reindex, which has something to do whatever the settings say then.
            self.catalog.set_chunker(MIXED if self.catalog.count_chunks() else now)

    def reindex(self, *, progress: Callable[[Progress], None] = lambda _: None) -> Reindexed:
        """Give everything the vectors of the embedder, and the chunks of the chunker, that the settings name.

        No file is read: the library holds all texts. Other processes search the old vectors until all are there; a
        stopped or killed reindex goes on where it was. Raises LibraryLocked when another process is writing.
        """
        with self.catalog.writing():
            work = Reindex(
                self.catalog, parts.chunker_of(self.config, self._embedder), self._embedder, self._embedder.fingerprint
            )
            receipt = work.run(progress)
            if receipt.documents:
                self._publish(fresh=True)
        return receipt

    def remove(self, document: str) -> Receipt:
        """Forget a document, by its name or, under all its names, by its id. Raises NotFound; see ``forget``."""
        with self.catalog.writing():
            entries = self.catalog.entries()
            gone = [entry for entry in entries if document in (entry.document, entry.id)]
            if not gone:
                near = difflib.get_close_matches(document, [entry.document for entry in entries], n=1, cutoff=0.4)
                hint = f"Did you mean {near[0]!r}?" if near else "`ragapp list` shows what is there."
                raise NotFound(f"There is no document {document!r} in the library.", hint)
            ids = {entry.id for entry in gone} if document == gone[0].id else set()
            names = {entry.document for entry in gone}
            rows = self.catalog.files().values()
            return self.forget([row.uri for row in rows if row.name in names or row.document_id in ids])

    def forget(self, uris: Sequence[str]) -> Receipt:
        """Forget files and the documents that no other file stands for, and look whether a trace of them is left.

        The library's file and its caches are written anew, which takes about as long as making the caches did.
        Files that were uploaded go, too; others are their owners'. Addresses that are not in the library are passed
        over. Raises LibraryLocked when another process is writing.
        """
        gone = [path_of(uri) for uri in uris]

        def renew() -> None:
            # By now the documents are forgotten: a file that is left by a kill stands for nothing.
            Originals(self.folder).remove(gone)
            self._renew_caches()

        with self.catalog.writing():
            return erase(self.catalog, uris, renew)

    def _renew_caches(self) -> None:
        checkup.sweep_files(self.folder)
        sweep_private()
        for cache in (self._vectors, self._lexicon):
            cache.shelf.clear()
        self._publish(fresh=True)

    def export(self, file: str | Path, *, force: bool = False) -> Manifest:
        """Write the library to one checksummed file, whatever others write meanwhile; see parcel.py.

        Raises ConfigError when the file is there already, unless ``force``, and LibraryError for a full disk.
        """
        return pack(self.catalog, Path(file).expanduser(), force=force)

    @staticmethod
    def import_from(file: str | Path, library: str | Path | None = None) -> Manifest:
        """Make an exported file the library in a folder (as in ``open``), which must hold no documents.

        All of it or nothing: raises LibraryError for a damaged file, LibraryNewer, NotFound, and LibraryLocked.
        """
        return unpack(Path(file).expanduser(), library_folder(library))

    def documents(self) -> list[Entry]:
        """What is in the library, by name."""
        return self.catalog.entries()

    def _publish(self, *, fresh: bool = False, train: bool = True) -> None:
        """Write the search caches to disk; where they cannot be written, searches make their own.

        ``fresh`` makes them from the catalog alone; ``train`` lets the vectors of a large library be clustered now.
        """
        with suppress(OSError):
            self._vectors.publish(fresh=fresh, train=train)
        with suppress(OSError):
            self._lexicon.publish(fresh=fresh)

    def publish_caches(self) -> None:
        """Write the search caches to disk when they are behind and nobody else is writing; searches work either way."""
        if not self.catalog.writable:
            return
        try:
            with self.catalog.writing():
                # A search must not wait for it; the index does so in the background where there is time.
                self._publish(train=False)
        except LibraryLocked:
            return

    # -- the read path -------------------------------------------------------------------------------------------

    def search(
        self, question: str | Query, k: int | None = None, *, told: Callable[[Event], None] = lambda event: None
    ) -> list[Passage]:
        """At most ``k`` passages (``search.k``), best first. Raises QuestionError.

        ``told`` hears of every step as it ends: a reranker that gave up says so in the ``warning`` of its detail.
        """
        query = self._query(question)
        if k is not None and k < 1:
            raise QuestionError(f"{k} passages cannot be looked for.", "k is at least 1.")
        wanted, tools = k or self.config.search.k, self._tools_for_one()
        query = _result(rewrite(tools, query), told)
        # A reranker looks at more than is wanted; where none is set, the order of the fusion needs no more.
        reranks = not isinstance(tools.reranker, KeepOrder)
        found = _result(search(tools, query, max(wanted, tools.depth) if reranks else wanted), told)
        return (_result(rerank(tools, query, found), told) if reranks else found)[:wanted]

    def ask(
        self,
        question: str | Query,
        *,
        flow: str | None = None,
        save_trace: str | Path | None = None,
        asked: Asked | None = None,
    ) -> Answer:
        """The whole answer, with its citations and their boxes; see ``stream``."""
        for event in self.stream(question, flow=flow, save_trace=save_trace, asked=asked):
            if isinstance(event, Done):
                return event.answer
        raise RagappError(f"The flow {flow or self.config.answer.flow!r} ended without an answer.")

    def stream(
        self,
        question: str | Query,
        *,
        flow: str | None = None,
        save_trace: str | Path | None = None,
        asked: Asked | None = None,
    ) -> Iterator[Event]:
        """The answer as events; closing the iterator stops the model within one token.

        A wrong question, flow, model or wish raises here, before the first event is asked for. ``save_trace`` names a
        file that is to hold all of it; see trace.py. ``asked`` are wishes that go before the settings. Raises
        Overloaded where their model would be one too many beside those that write just now.
        """
        query = self._query(question)
        name = flow or self.config.answer.flow
        run: Flow = registry.resolve("flow", name)
        if save_trace is None:
            return self._finished(run, self._tools_as(asked), query)
        from ragapp import trace

        file = Path(save_trace).expanduser()
        trace.check_target(file)
        tools = self._tools_as(asked)
        config = wished(self.config, asked) if asked else self.config
        begun = trace.begin(query, name, config, self.catalog)
        return trace.record(self._finished(run, tools, query), begun, lambda made: made.save(file))

    def why(self, question: str | Query, document: str, page: int) -> Why:
        """Why a page is, or is not, among the passages of an answer; ``document`` is a name or id. See why.py."""
        from ragapp.why import explain

        query, tools = self._query(question), self._tools_for_one()
        return explain(query, document, page, catalog=self.catalog, retriever=tools.retriever, tools=tools)

    def _finished(self, run: Flow, tools: Toolbox, query: Query) -> Iterator[Event]:
        """The events of a flow, its answer completed with timings, warnings and boxes; its model is then given back."""
        started = time.perf_counter()
        timings: dict[str, float] = {}
        warnings: list[str] = []
        boxes: dict[tuple[str, int, int], Citation] = {}
        with closing(tools.loan) if tools.loan else nullcontext(), closing(_generator(run(tools, query))) as events:
            for event in events:
                if isinstance(event, Step):
                    timings[event.name] = round(timings.get(event.name, 0.0) + event.seconds, 4)
                    warnings += [str(event.detail["warning"])] if event.detail.get("warning") else []
                elif isinstance(event, Token) and event.text:
                    timings.setdefault("first_token", round(time.perf_counter() - started, 4))
                elif isinstance(event, Cited):
                    yield Cited(self._completed(event.citation, boxes))
                    continue
                elif isinstance(event, Done):
                    citations = tuple(self._completed(citation, boxes) for citation in event.answer.citations)
                    unread = self._unread(event.answer)
                    timings["total"] = round(time.perf_counter() - started, 4)
                    said = tuple(dict.fromkeys([*event.answer.warnings, *warnings]))
                    yield Done(
                        replace(event.answer, citations=citations, timings=timings, unread=unread, warnings=said)
                    )
                    return
                yield event

    def _completed(self, citation: Citation, known: dict[tuple[str, int, int], Citation]) -> Citation:
        """The citation with its page's label and its boxes, which are looked up once for every span."""
        document_id = citation.passage.chunk.document_id
        span = document_id, citation.start, citation.end
        if span not in known:
            page = document_id, citation.page
            label = self.catalog.labels([page]).get(page, "")
            known[span] = replace(citation, boxes=self.boxes_of(citation), label=label)
        return replace(citation, boxes=known[span].boxes, label=known[span].label)

    def _unread(self, answer: Answer) -> dict[str, tuple[int, ...]]:
        """Pages that could not be read and may hold what was asked for."""
        pages = self.catalog.unread_pages()
        found = {passage.chunk.document_id for passage in answer.passages}
        concerned = pages.keys() if answer.finish_reason == "no_evidence" else pages.keys() & found
        # A document may have been removed a moment ago.
        named = [(files, pages[key]) for key in concerned if (files := self.catalog.files_of(key))]
        return {files[0].name: numbers for files, numbers in sorted(named, key=lambda pair: pair[0][0].name)}

    def flows(self) -> list[str]:
        """Names of the flows that can be asked for."""
        return registry.names("flow")

    def use_model(self, model: str) -> None:
        """Let another chat model write from the next question on; "" lets nobody write, and answers are quotes.

        Answers in the making end with the model they began with, which is let go with the last of them. Nothing is
        loaded; see ``warm``. Raises ConfigError and ModelError for a model that cannot be used: nothing has changed.
        """
        chat = self.config.chat.model_copy(update={"model": model})
        config = self.config.model_copy(update={"chat": chat})
        held = self._wardrobe.chat_of(model)  # loaded already, where a question has named it
        made = parts.chat_of(config) if held is None else held
        tools = parts.toolbox(
            config, self.catalog, self._vectors, self._lexicon, embedder=self._embedder, chat=made
        )  # fmt: skip
        reranker = self._made_tools().reranker  # it may be a loaded model too, and does not change
        with self._tools_lock:
            self.config, self.chat, self._tools = config, made, replace(tools, reranker=reranker)
            self.is_warm = False
        self._wardrobe.drop(model)
        self._wardrobe.offer(model)

    @property
    def models(self) -> tuple[str, ...]:
        """The chat models that a question may name (``Asked.model``), that of the settings first; "" is quotes."""
        return self._wardrobe.models

    def offer_model(self, model: str) -> None:
        """Let questions name a chat model. It is looked at, and loaded, when one does; of those beside the library's
        own, ``voices.BESIDE`` are kept in memory at a time."""
        self._wardrobe.offer(model)

    def withdraw_model(self, model: str) -> None:
        """Let no question name a chat model any more; answers in the making end with it. Raises ConfigError for quotes,
        for the model of the settings, and for the one that answers now."""
        if model in ("", self.models[0], self.config.chat.model):
            raise ConfigError(f"The model {model!r} stays.", "Only what Rag.offer_model has offered can be withdrawn.")
        self._wardrobe.withdraw(model)

    def _voice(self, model: str) -> Voice:
        """What a model that a question has named writes with."""
        with self._tools_lock:
            now, own = self.config, self.chat
        config = wished(now, Asked(model=model))
        # It may have become the library's own since the question came.
        made = own if model == now.chat.model else parts.chat_of(config)
        return parts.voice_of(config, self.catalog, self._lexicon, embedder=self._embedder, chat=made)

    def boxes_of(self, found: Passage | Citation) -> tuple[Box, ...]:
        """The rectangles of a passage or citation on its pages; none when the file is gone, changed or encrypted."""
        return self.boxes_of_each([found])[0]

    def boxes_of_each(self, found: Sequence[Passage | Citation]) -> list[tuple[Box, ...]]:
        """Those of several; a file is opened once, however many of them lie in it."""
        spans: dict[str, list[tuple[int, int, int]]] = {}
        for nth, one in enumerate(found):
            chunk = one.chunk if isinstance(one, Passage) else one.passage.chunk
            start, end = (chunk.start, chunk.end) if isinstance(one, Passage) else (one.start, one.end)
            if end > start:
                spans.setdefault(chunk.document_id, []).append((nth, start, end))
        boxes: list[tuple[Box, ...]] = [()] * len(found)
        # No snapshot around it: a file may take seconds, and a removal waits for all who read an older state.
        for key, several in spans.items():
            ask = partial(self._boxes_in_file, key)
            placed = boxes_of_spans(self.catalog, key, [(start, end) for _, start, end in several], ask)
            for (nth, *_), those in zip(several, placed, strict=True):
                boxes[nth] = those
        return boxes

    def look_aside(self) -> None:
        """From now on files are asked for places in a process of their own: for a server, whose other threads would
        wait for pdfium's, and which a file that makes pdfium crash must not take along."""
        self._aside = True

    def _boxes_in_file(self, document_id: str, spans: Sequence[PageSpan]) -> Sequence[Sequence[Box]]:
        """Boxes that the file itself must be asked for; none when it is not a PDF, gone, changed or encrypted."""
        from ragapp.ingest.readers.pdfium import boxes

        for row in self.catalog.files_of(document_id):
            path = path_of(row.uri)
            if path.suffix.lower() != ".pdf":
                continue
            try:
                stat = path.stat()
                if (stat.st_size, stat.st_mtime_ns) == (row.bytes, row.mtime_ns):
                    ask = partial(self.viewer.places, row) if self._aside else partial(boxes, path, ())
                    return self._places.of((row.uri, row.bytes, row.mtime_ns), spans, ask)
            except (OSError, LibraryError):
                continue  # it cannot be read, or the library is being closed: an answer loses its boxes, and no more
        return []

    def warm(self) -> None:
        """Load what an answer needs, so that the first question does not wait for it."""
        chat, reranker = self.chat, self._made_tools().reranker
        self._embedder.embed_query("warm")
        for part in (chat, reranker):
            if hasattr(part, "warm"):
                part.warm()
        self._vectors.follow()
        self._lexicon.follow()
        with self._tools_lock:
            if chat is self.chat:  # else another one was chosen meanwhile, and may be loaded already
                self.is_warm = True

    def doctor(self) -> Iterator[str]:
        """A sentence for everything that is wrong with the library; none when all is well. ``mend`` puts it right."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.catalog.writing())
                alone = True
            except LibraryError:
                alone = False  # what seems to be left behind may be what somebody is just making
            yield from checkup.look(self.folder, leftovers=alone)
        yield from cache_faults(self.catalog, (self._vectors, self._lexicon))

    def close(self) -> None:
        self.viewer.close()
        self._vectors.close()
        self._lexicon.close()
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- names become objects ------------------------------------------------------------------------------------

    def _query(self, question: str | Query) -> Query:
        query = Query(question) if isinstance(question, str) else question
        limit = self.config.search.max_question_chars
        if not any(c.isalnum() for c in query.text):
            raise QuestionError("The question is empty.", "Write what you want to know.")
        if len(query.text) > limit:
            raise QuestionError(
                f"The question has {len(query.text):,} characters; at most {limit:,} are read.",
                "Ask a shorter question, or raise [search] max_question_chars.",
            )
        history = tuple(replace(turn, text=_sendable(turn.text)) for turn in query.history)
        return replace(query, text=_sendable(query.text), history=history)

    def _check_embedder(self) -> None:
        made_by, now = self.catalog.embedder(), self._embedder.fingerprint
        if made_by not in (None, now) and self.catalog.count_chunks():
            self.catalog.close()
            raise EmbedderChanged(
                f"The library {self.folder} was made with the embedder {made_by}, and the settings name {now}.",
                "`ragapp reindex` gives it vectors of the new one; or set [embedder] as it was.",
            )

    @property
    def tools(self) -> Toolbox:
        """What flows work with, for those who measure a part by itself; its budget has no end."""
        return self._made_tools()

    @property
    def embedder(self) -> Any:
        """What makes vectors of texts; see embedders.Machine."""
        return self._embedder

    def _tools_for_one(self) -> Toolbox:
        """The tools for one question, with a budget of its own."""
        answer = self.config.answer
        return replace(self._made_tools(), budget=Budget(answer.calls, answer.tokens, answer.seconds))

    def _tools_as(self, asked: Asked | None) -> Toolbox:
        """The tools for one question that has wishes. Raises what ``Wardrobe.suit`` does."""
        tools = self._tools_for_one()
        return tools if asked is None else self._wardrobe.suit(tools, asked)

    def _made_tools(self) -> Toolbox:
        with self._tools_lock:
            if self._tools is None:
                self._tools = parts.toolbox(
                    self.config, self.catalog, self._vectors, self._lexicon, embedder=self._embedder, chat=self.chat
                )
                self.publish_caches()
            return self._tools


def _paths(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    each = [paths] if isinstance(paths, str | Path) else paths
    return [Path(path).expanduser() for path in each]


def _sendable(text: str) -> str:
    """The text without halves of character pairs, as a broken client may send them: nothing can store or read them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _result(step: Generator[Event, None, _T], told: Callable[[Event], None]) -> _T:
    """What a step returns; ``told`` is given its events."""
    while True:
        try:
            told(next(step))
        except StopIteration as end:
            result: _T = end.value
            return result


def _generator(events: Iterator[Event]) -> Any:
    """The events as something that can be closed, whatever kind of iterator a user's flow returns."""
    return events if hasattr(events, "close") else (event for event in events)
