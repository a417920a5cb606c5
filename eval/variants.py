"""A library under other settings, for trials: the same documents, searched, chunked or embedded in another way.

Settings that only say how is searched share the base library. Those that make other chunks or vectors have a copy of it
in a folder of our own, reindexed from the stored text once and kept, named by what made it; no file is read again, and
vectors of texts that stay as they are come along. Nothing is written to the base library.

Not covered: settings of [ingest], which would need the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ragapp import config as settings_of
from ragapp import parts, registry
from ragapp.catalog import FILE_NAME, Catalog
from ragapp.config import Config
from ragapp.errors import ConfigError, LibraryError
from ragapp.eval.kept import Memory
from ragapp.ingest.chunkers import chunker_fingerprint
from ragapp.ingest.reindex import Reindex
from ragapp.ingest.report import Progress
from ragapp.lexicon import Lexicon
from ragapp.parts import Toolbox, Wardrobe
from ragapp.placing import Places
from ragapp.ports import Chunker
from ragapp.rag import Rag
from ragapp.vectors import VectorIndex
from ragapp.viewer import Viewer

NOTE = "variant.json"
PROBE = 64  # chunks that are embedded to know how long a reindex takes
SPARE = 1.5  # what a reindex does besides embedding
NOT_READING = ("ingest", "server")
MAKES_INDEX = ("chunker", "embedder")
RERANKER_KEYS = frozenset(("candidates", "seconds", "batch"))  # that mean the same to every reranker


@dataclass(frozen=True, slots=True)
class _Home:
    """An open library with its caches; ``is_base`` where it is the user's own."""

    name: str
    catalog: Catalog
    vectors: VectorIndex
    lexicon: Lexicon
    is_base: bool = False

    def close(self) -> None:
        """Let go of the caches, and of the file where it is ours."""
        self.vectors.close()
        self.lexicon.close()
        if not self.is_base:
            self.catalog.close()


class Variant(Rag):
    """A library under other settings, to be searched and asked. It shares what it reads with other variants: closing it
    closes none of that, and it can be given no documents. With a ``memory`` its times mean nothing; see kept.py.
    """

    def __init__(self, home: _Home, config: Config, embedder: Any, chat: Any, memory: Memory | None) -> None:
        # What Rag would open is open already.
        self.folder = home.catalog.folder
        self.config = config
        self.chat = chat
        self.catalog = home.catalog
        self.viewer = Viewer(home.catalog)
        self.is_warm = False
        self._embedder = embedder
        self._lexicon = home.lexicon
        self._vectors = home.vectors
        self._tools_lock = threading.Lock()
        self._tools: Toolbox | None = None
        self._wardrobe = Wardrobe(config, embedder)
        self._places = Places()
        self._aside = False
        self._memory = memory

    def publish_caches(self) -> None:
        """Nothing: the caches of the base library are its owner's business."""

    def close(self) -> None:
        self.viewer.close()

    def _made_tools(self) -> Toolbox:
        with self._tools_lock:
            if self._tools is None:
                tools = parts.toolbox(
                    self.config, self.catalog, self._vectors, self._lexicon, embedder=self._embedder, chat=self.chat
                )
                if self._memory is not None:
                    tools = self._memory.furnish(tools, self.config, self.catalog, self._embedder)
                self._tools = tools
            return self._tools

    def _check_embedder(self) -> None:
        """What every way of writing asks first. Raises LibraryError: a variant is only read."""
        raise LibraryError(
            f"This is the library {self.folder} under other settings, which can only be searched and asked.",
            "Open the library itself to write to it.",
        )

    def reindex(self, *, progress: Callable[[Progress], None] = lambda _: None) -> Any:
        self._check_embedder()

    def forget(self, uris: Sequence[str]) -> Any:
        self._check_embedder()


class Variants:
    """The variants of one library. ``folder`` holds the copies that are made, and nothing else; it may be used again,
    then what was made of the same state of the library is there. Not safe to share between threads.

    With ``keep`` the variants remember rankings between trials.
    """

    def __init__(self, base: Rag, folder: Path, *, keep: bool = True) -> None:
        self.base = base
        self.folder = folder
        self._keep = keep
        self._generation = base.catalog.generation()
        self._homes: dict[str, _Home] = {}
        self._memories: dict[tuple[str, str], Memory] = {}
        self._embedders: dict[str, Any] = {_key_of(base.config.embedder): base.embedder}
        self._chats: dict[str, Any] = {_key_of(base.config.chat): base.chat}
        self._guessed: float | None = None  # seconds of a reindex, by embedding some chunks
        self._took = 0.0  # seconds of the slowest so far

    def open(
        self, settings: Mapping[str, object] | None = None, *, progress: Callable[[Progress], None] = lambda _: None
    ) -> Variant:
        """The library with ``settings`` ({"search.k": 20}) before those it has.

        Makes the index first where there is none yet; what ``progress`` raises stops that, and the next call goes on
        where it was. Raises ConfigError for settings that are unknown, do not fit each other, or need the files, and
        LibraryError where the folder cannot be written.
        """
        config = self.config(settings or {})
        embedder = self._embedder(config)
        chunker = parts.chunker_of(config, embedder)
        home = self._home(settings or {}, config, embedder, chunker, progress)
        memory = self._memories.setdefault((home.name, _key_of(config.embedder)), Memory()) if self._keep else None
        return Variant(home, config, embedder, self._chat(config), memory)

    def index_of(self, settings: Mapping[str, object]) -> str:
        """The name of the index that a variant searches: empty for that of the base library."""
        config = self.config(settings)
        embedder = self._embedder(config)
        return self._name(settings, embedder, parts.chunker_of(config, embedder))

    def expected(self, settings: Mapping[str, object]) -> float:
        """About how many seconds ``open`` will take to make the index; 0 where there is one.

        Known from those that were made, and before that from embedding some chunks.
        """
        config = self.config(settings)
        embedder = self._embedder(config)
        chunker = parts.chunker_of(config, embedder)
        name = self._name(settings, embedder, chunker)
        if not name or name in self._homes or self._is_made(name, (embedder.fingerprint, chunker_fingerprint(chunker))):
            return 0.0
        if self._took:
            return self._took
        if self._guessed is None:
            self._guessed = self._probed(embedder) * self.base.catalog.count_chunks()
        return self._guessed

    @property
    def has_timed(self) -> bool:
        """Whether ``expected`` is known from an index that was made."""
        return self._took > 0

    def close(self) -> None:
        for home in self._homes.values():
            home.close()
        self._homes.clear()
        self._memories.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- settings ------------------------------------------------------------------------------------------------

    def config(self, settings: Mapping[str, object]) -> Config:
        """The settings of a variant. Raises ConfigError as ``open`` does."""
        for key in settings:
            if key.partition(".")[0] in NOT_READING:
                raise ConfigError(
                    f"{key} says how files are read or served, so no variant of a library can have another.",
                    "Ingest the files into a library of their own with that setting.",
                )
        return configured(self.base.config, settings)

    def _embedder(self, config: Config) -> Any:
        key = _key_of(config.embedder)
        if key not in self._embedders:
            self._embedders[key] = parts.embedder_of(config)
        return self._embedders[key]

    def _chat(self, config: Config) -> Any:
        key = _key_of(config.chat)
        if key not in self._chats:
            self._chats[key] = parts.chat_of(config)
        return self._chats[key]

    # -- indexes -------------------------------------------------------------------------------------------------

    def _name(self, settings: Mapping[str, object], embedder: Any, chunker: Chunker) -> str:
        """Empty for the base library: nothing is asked that makes another index, or what it was made with."""
        made_with = embedder.fingerprint, chunker_fingerprint(chunker)
        catalog = self.base.catalog
        is_base = made_with == (catalog.embedder(), catalog.chunked_by())
        if is_base or not any(key.partition(".")[0] in MAKES_INDEX for key in settings):
            return ""
        state = [str(catalog.path.resolve()), self._generation.number, self._generation.stamp, *made_with]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:20]

    def _home(
        self,
        settings: Mapping[str, object],
        config: Config,
        embedder: Any,
        chunker: Chunker,
        progress: Callable[[Progress], None],
    ) -> _Home:
        name = self._name(settings, embedder, chunker)
        if name not in self._homes:
            exact_up_to = config.search.exact_up_to
            if name:
                self._homes[name] = self._made(name, embedder, chunker, exact_up_to, progress)
            else:
                catalog = self.base.catalog
                index = VectorIndex(catalog, embedder.fingerprint, exact_up_to)
                self._homes[name] = _Home(name, catalog, index, Lexicon(catalog), is_base=True)
        return self._homes[name]

    def _made(
        self, name: str, embedder: Any, chunker: Chunker, exact_up_to: int, progress: Callable[[Progress], None]
    ) -> _Home:
        """The copy of this name with its own chunks and vectors, from an earlier time or made now."""
        started = time.perf_counter()
        with ExitStack() as stack:
            catalog = Catalog(self._copied(name), create=False)
            stack.callback(catalog.close)
            index, lexicon = VectorIndex(catalog, embedder.fingerprint, exact_up_to), Lexicon(catalog)
            with catalog.writing():
                done = Reindex(catalog, chunker, embedder, embedder.fingerprint).run(progress)
                if done.documents:
                    index.publish(fresh=True)
                    lexicon.publish(fresh=True)
            stack.pop_all()  # from here on it is whoever closes the home
        if done.documents:
            self._took = max(self._took, time.perf_counter() - started)
        return _Home(name, catalog, index, lexicon)

    def _copied(self, name: str) -> Path:
        """The folder of a copy, made where it is not there; a copy of an older state of the library goes."""
        path = self.folder / name
        if (path / FILE_NAME).exists():
            return path
        with _translated(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            scratch = self.folder / f".making-{secrets.token_hex(6)}"
            scratch.mkdir(mode=0o700)
            try:
                self.base.catalog.copy_to(scratch / FILE_NAME)
                note = {"library": str(self.base.catalog.path.resolve()), "stamp": self._generation.stamp}
                (scratch / NOTE).write_text(json.dumps(note), encoding="utf-8")
                with suppress(FileExistsError):  # another process was faster, with the same
                    os.rename(scratch, path)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return path

    def _sweep(self) -> None:
        """Remove copies of other states of this library, which nobody will ask for again."""
        ours = str(self.base.catalog.path.resolve())
        for note in self.folder.glob(f"*/{NOTE}"):
            try:
                found = json.loads(note.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if found.get("library") == ours and found.get("stamp") != self._generation.stamp:
                shutil.rmtree(note.parent, ignore_errors=True)

    def _is_made(self, name: str, made_with: tuple[str, str]) -> bool:
        """Whether a copy is there and has its chunks and vectors."""
        path = self.folder / name
        if not (path / FILE_NAME).exists():
            return False
        catalog = Catalog(path, create=False)
        try:
            return (catalog.embedder(), catalog.chunked_by()) == made_with
        finally:
            catalog.close()

    def _probed(self, embedder: Any) -> float:
        """Seconds of a reindex for a chunk, by embedding some from all over the library."""
        catalog = self.base.catalog
        ids = catalog.chunk_ids().tolist()
        some = ids[:: max(1, len(ids) // PROBE)][:PROBE]
        texts = [chunk.text for chunk, _, _ in catalog.chunks(some).values()]
        if not texts:
            return 0.0
        embedder.embed_documents(texts[:1])  # loading the model is no part of it
        started = time.perf_counter()
        embedder.embed_documents(texts)
        return SPARE * (time.perf_counter() - started) / len(texts)


def configured(base: Config, settings: Mapping[str, object]) -> Config:
    """``base`` with other settings put before its own. Raises ConfigError for those that do not fit.

    Where another chunker or reranker is named, what was set for the one before stays only where it means the same.
    """
    given: dict[str, object] = {}
    for table in settings_of.TABLES:
        held = getattr(base, table)
        given |= {f"{table}.{key}": getattr(held, key) for key in held.model_fields_set}
    for kind in ("chunker", "reranker"):
        named = settings.get(f"{kind}.name")
        if named is not None and named != getattr(base, kind).name:
            kept = {f"{kind}.{key}" for key in meant_still(kind, str(named))}
            given = {key: value for key, value in given.items() if key in kept or not key.startswith(f"{kind}.")}
    # An empty file and an empty environment: what they said is in the base's settings already.
    return settings_of.load({**given, **settings}, file=Path(os.devnull), env={})


def meant_still(kind: str, name: str) -> frozenset[str]:
    """Keys of the table "chunker" or "reranker" that mean something to the part of this name, if set for another."""
    if kind == "reranker":
        return RERANKER_KEYS
    taken = registry.takes("chunker", name) if registry.is_built_in("chunker", name) else frozenset()
    return taken | {"header"}


def _key_of(table: Any) -> str:
    """What tells two tables of settings apart."""
    return json.dumps(table.model_dump(mode="json"), sort_keys=True)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LibraryError(
            f"The copies for trials cannot be written to {folder}: {error.strerror or error}.",
            "Is there room, and may it be written?",
        ) from error
