"""The hall: the one place where names become objects, and the façade that every door uses."""

from __future__ import annotations

import difflib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ragapp import config as settings
from ragapp import registry
from ragapp.catalog import Catalog, Entry
from ragapp.config import Config, PartTable
from ragapp.errors import (
    ConfigError,
    EmbedderChanged,
    LibraryError,
    LibraryLocked,
    NotFound,
    QuestionError,
    RagappError,
    ReadError,
)
from ragapp.ingest.pipeline import Pipeline
from ragapp.ingest.report import Progress, Report
from ragapp.ingest.scan import path_of
from ragapp.lexicon import Lexicon
from ragapp.ports import Answerer, Chunker, Flow, Reranker, Retriever
from ragapp.retrievers import Dense, Hybrid, Lexical, Ranker, fusion
from ragapp.types import Answer, Box, Citation, Done, Event, Passage, Query, Step, Token
from ragapp.vectors import VectorIndex

DEFAULT_LIBRARY = ".ragapp"


@dataclass(frozen=True, slots=True)
class _Tools:
    """What flows work with; see ports.Tools."""

    k: int
    retriever: Retriever
    reranker: Reranker
    answerer: Answerer


class Rag:
    """A library and everything needed to fill and to ask it. Safe to share between threads.

    >>> with Rag.open("my-library") as rag:                      # doctest: +SKIP
    ...     rag.add(["./docs"])
    ...     print(rag.ask("How long is the warranty?").text)
    """

    def __init__(self, folder: Path, config: Config, *, create: bool) -> None:
        self.folder = folder
        self.config = config
        self.chat = self._make_chat()  # checked before anything else: a wrong model must not cost an ingest
        self._embedder = self._make_embedder()
        self.catalog = Catalog(folder, create=create)
        self._check_embedder()
        self._lexicon = Lexicon(self.catalog)
        self._vectors = VectorIndex(self.catalog, self._embedder.fingerprint)
        self._tools_lock = threading.Lock()
        self._tools: _Tools | None = None

    @classmethod
    def open(
        cls,
        library: str | Path | None = None,
        *,
        config: Config | None = None,
        create: bool = True,
        **flags: object,
    ) -> Self:
        """Open the library in a folder (``RAGAPP_LIBRARY``, else ``./.ragapp``), making it when ``create``.

        ``flags`` are settings with a double underscore for the dot: ``search__k=20``. Loads no model. Raises
        ConfigError, NotFound, LibraryNewer, EmbedderChanged, ModelError for a chat model that cannot be used.
        """
        folder = Path(library or os.environ.get("RAGAPP_LIBRARY") or DEFAULT_LIBRARY).expanduser()
        if config is not None and flags:
            raise ConfigError("Settings were given twice: as config and as keywords.", "Give one of the two.")
        if config is None:
            config = settings.load({key.replace("__", "."): value for key, value in flags.items()})
        return cls(folder, config, create=create)

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
    ) -> Report:
        """Ingest files and folders. Files that cannot be read are in the report; the others are in the library.

        Raises NotFound when there is nothing to ingest, and LibraryLocked when another process is writing.
        """
        pipeline = Pipeline(
            self.catalog,
            self._make_chunker(),
            self._embedder,
            self._embedder.fingerprint,
            self.config.ingest.seconds_per_page,
            self.config.ingest.memory_mb,
        )
        each = [paths] if isinstance(paths, str | Path) else paths
        where = [Path(path).expanduser() for path in each]
        if dry_run:
            return pipeline.run(where, passwords, progress, dry_run=True)
        with self.catalog.writing():
            if self.catalog.embedder() != self._embedder.fingerprint:
                self.catalog.set_embedder(self._embedder.fingerprint)
            try:
                return pipeline.run(where, passwords, progress)
            finally:
                self._publish()

    def remove(self, document: str) -> list[Entry]:
        """Forget a document, by its name or, under all its names, by its id. Returns what went; raises NotFound."""
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
            self.catalog.drop([row.uri for row in rows if row.name in names or row.document_id in ids])
            self._publish()
        return gone

    def documents(self) -> list[Entry]:
        """What is in the library, by name."""
        return self.catalog.entries()

    def _publish(self) -> None:
        """Write the search caches to disk; where they cannot be written, searches make their own."""
        for cache in (self._vectors, self._lexicon):
            with suppress(OSError):
                cache.publish()

    def publish_caches(self) -> None:
        """Write the search caches to disk when they are behind and nobody else is writing; searches work either way."""
        if not self.catalog.writable:
            return
        try:
            with self.catalog.writing():
                self._publish()
        except LibraryLocked:
            return

    # -- the read path -------------------------------------------------------------------------------------------

    def search(self, question: str | Query, k: int | None = None) -> list[Passage]:
        """At most ``k`` passages (``search.k``), best first. Raises QuestionError."""
        query = self._query(question)
        if k is not None and k < 1:
            raise QuestionError(f"{k} passages cannot be looked for.", "k is at least 1.")
        return self._made_tools().retriever.retrieve(query, k or self.config.search.k)

    def ask(self, question: str | Query, *, flow: str | None = None) -> Answer:
        """The whole answer, with its citations and their boxes."""
        for event in self.stream(question, flow=flow):
            if isinstance(event, Done):
                return event.answer
        raise RagappError(f"The flow {flow or self.config.answer.flow!r} ended without an answer.")

    def stream(self, question: str | Query, *, flow: str | None = None) -> Iterator[Event]:
        """The answer as events; closing the iterator stops the model within one token.

        A wrong question, flow or model raises here, before the first event is asked for.
        """
        query = self._query(question)
        run: Flow = registry.resolve("flow", flow or self.config.answer.flow)
        return self._finished(run, self._made_tools(), query)

    def _finished(self, run: Flow, tools: _Tools, query: Query) -> Iterator[Event]:
        """The events of a flow, its answer completed with timings and boxes."""
        started = time.perf_counter()
        timings: dict[str, float] = {}
        with closing(_generator(run(tools, query))) as events:
            for event in events:
                if isinstance(event, Step):
                    timings[event.name] = round(timings.get(event.name, 0.0) + event.seconds, 4)
                elif isinstance(event, Token) and event.text:
                    timings.setdefault("first_token", round(time.perf_counter() - started, 4))
                elif isinstance(event, Done):
                    timings["total"] = round(time.perf_counter() - started, 4)
                    citations = tuple(replace(c, boxes=self.boxes_of(c)) for c in event.answer.citations)
                    yield Done(replace(event.answer, citations=citations, timings=timings))
                    return
                yield event

    def flows(self) -> list[str]:
        """Names of the flows that can be asked for."""
        return registry.names("flow")

    def boxes_of(self, found: Passage | Citation) -> tuple[Box, ...]:
        """The rectangles of a passage or citation on its pages; none when the file is gone, changed or encrypted."""
        if isinstance(found, Passage):
            return self._boxes(found.chunk.document_id, found.chunk.start, found.chunk.end)
        return self._boxes(found.passage.chunk.document_id, found.start, found.end)

    def _boxes(self, document_id: str, start: int, end: int) -> tuple[Box, ...]:
        from ragapp.ingest.readers.pdf import boxes

        if end <= start:
            return ()
        spans = []
        for page, text in self.catalog.pages(document_id, start, end):
            left, right = max(start, page.start) - page.start, min(end, page.end) - page.start
            # The line end that closes every page's text is ours, not the page's.
            right = min(right, len(text) - 1)
            if right > left:
                spans.append((page.number, left, right, text[left:right]))
        for row in self.catalog.files_of(document_id):
            path = path_of(row.uri)
            try:
                stat = path.stat()
                if (stat.st_size, stat.st_mtime_ns) == (row.bytes, row.mtime_ns):
                    return tuple(boxes(path, (), spans))
            except (OSError, ReadError):
                continue
        return ()

    def warm(self) -> None:
        """Load what an answer needs, so that the first question does not wait for it."""
        self._made_tools()
        self._embedder.embed_query("warm")
        if hasattr(self.chat, "warm"):
            self.chat.warm()
        self._vectors.follow()
        self._lexicon.follow()

    def doctor(self) -> Iterator[str]:
        """A sentence for everything that is wrong with the library; none when all is well."""
        yield from self.catalog.check()
        chunks = {int(i) for i in self.catalog.chunk_ids()}
        for cache in (self._vectors, self._lexicon):
            for path in cache.shelf.damaged():
                yield f"The cache {path.name} does not match its checksums; it is not used, and can be deleted."
            try:
                ids = cache.ids()
            except LibraryError as error:
                yield error.message
                continue
            if ids != chunks:
                yield f"The {cache.shelf.name} cache holds {len(ids)} chunks, the library {len(chunks)}."

    def close(self) -> None:
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
        # Half of a character pair, as a broken client may send it, can be neither stored nor shown.
        return replace(query, text=query.text.encode("utf-8", "replace").decode("utf-8"))

    def _check_embedder(self) -> None:
        made_by, now = self.catalog.embedder(), self._embedder.fingerprint
        if made_by not in (None, now) and len(self.catalog.chunk_ids()):
            self.catalog.close()
            raise EmbedderChanged(
                f"The library {self.folder} was made with the embedder {made_by}, and the settings name {now}.",
                "Set [embedder] as it was, or ingest into a new library with --library DIR.",
            )

    def _made_tools(self) -> _Tools:
        with self._tools_lock:
            if self._tools is None:
                self._tools = self._make_tools()
            return self._tools

    def _make_tools(self) -> _Tools:
        search = self.config.search
        rankers: dict[str, Ranker] = {"dense": Dense(self._vectors, self._embedder), "lexical": Lexical(self._lexicon)}
        weights = search.dense_weight, search.dense_weight_cjk
        fuse = fusion(search.fusion, *weights, search.rrf_constant, search.depth)
        retriever = Hybrid(self.catalog, rankers, fuse, search.depth)
        self.publish_caches()
        return _Tools(self.config.answer.passages, retriever, self._make_reranker(), self._make_answerer())

    def _make_embedder(self) -> Any:
        table = self.config.embedder
        if table.name == "builtin":
            settings.check_part_keys(table, "embedder")
            return registry.build("embedder", "builtin", {"runtime": table.runtime, "batch_tokens": table.batch_tokens})
        if registry.is_built_in("embedder", table.name) or ":" in table.name:
            return _bridged(self._own_part("embedder", table))
        from ragapp.embedders import SentenceTransformerEmbedder

        return SentenceTransformerEmbedder(table.name)

    def _make_chunker(self) -> Chunker:
        table = self.config.chunker
        if table.name == "tokens":
            settings.check_part_keys(table, "chunker")
            given: Mapping[str, object] = {
                "tokenizer": self._embedder, "tokens": table.tokens, "overlap": table.overlap
            }  # fmt: skip
            chunker: Chunker = registry.build("chunker", "tokens", given)
            return chunker
        own: Chunker = self._own_part("chunker", table)
        return own

    def _make_reranker(self) -> Reranker:
        table = self.config.reranker
        if table.name == "late":
            late: Reranker = registry.build(
                "reranker", "late", {"embedder": self._embedder, **self._given("reranker", table)}
            )
            return late
        own: Reranker = _bridged(self._own_part("reranker", table))
        return own

    def _make_chat(self) -> Any:
        chat = self.config.chat
        if not chat.model:
            return None
        if ":" in chat.model and not chat.model.startswith(("http:", "https:")) and not Path(chat.model).exists():
            made = registry.resolve("chat", chat.model)
            return made() if callable(made) else made
        from ragapp.chat import resolve

        return resolve(
            chat.model,
            device=chat.device,
            dtype=chat.dtype,
            max_new_tokens=chat.max_new_tokens,
            temperature=chat.temperature,
            top_p=chat.top_p,
            context_tokens=chat.context_tokens or None,
        )

    def _make_answerer(self) -> Answerer:
        library = _StoredText(self.catalog)
        if self.chat is None:
            from ragapp.answerers import QuoteAnswerer

            return QuoteAnswerer(self._embedder, self._lexicon, library, self.config.answer.quotes)
        from ragapp.answerers import ChatAnswerer

        window, count = getattr(self.chat, "window", None), getattr(self.chat, "count_tokens", None)
        if window is None or count is None:
            from ragapp.bridge import estimated_tokens

            window, count = (lambda: self.config.chat.context_tokens or 4096), estimated_tokens
        return ChatAnswerer(self.chat, library, window, count, self.config.chat.max_new_tokens)

    def _own_part(self, kind: str, table: PartTable) -> Any:
        return registry.build(kind, table.name, self._given(kind, table))

    def _given(self, kind: str, table: PartTable) -> dict[str, object]:
        return settings.given(table, self.config, kind)


class _StoredText:
    """ports.Library over the catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def text_of(self, document_id: str) -> str:
        try:
            return self._catalog.document(document_id).text
        except NotFound:
            return ""  # removed while the answer was written: nothing of it can be verified any more

    def words(self, document_id: str, start: int, end: int) -> str:
        pages = self._catalog.pages(document_id, start, end)
        return "".join(text[max(0, start - page.start) : max(0, end - page.start)] for page, text in pages)

    def page_at(self, document_id: str, offset: int) -> int:
        pages = self._catalog.pages(document_id, offset, offset + 1)
        return pages[0][0].number if pages else 0

    def page_parts(self, document_id: str, start: int, end: int) -> list[tuple[int, int, int]]:
        pages = self._catalog.pages(document_id, start, end)
        return [(page.number, max(start, page.start), min(end, page.end)) for page, _ in pages]


def _bridged(part: Any) -> Any:
    """The part, or our wrapper around a LangChain object (known by its module: LangChain stays unloaded)."""
    if any(kind.__module__.startswith("langchain") for kind in type(part).__mro__):
        from ragapp.bridge import from_langchain

        return from_langchain(part)
    return part


def _generator(events: Iterator[Event]) -> Any:
    """The events as something that can be closed, whatever kind of iterator a user's flow returns."""
    return events if hasattr(events, "close") else (event for event in events)
