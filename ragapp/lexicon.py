"""tantivy as a cache over the catalog: BM25 (Robertson & Zaragoza 2009) over the words of headers and texts.

English words are lower-cased, folded to ASCII and stemmed; runs of Chinese, Japanese and Korean become overlapping
pairs of characters, which is what BM25 needs where words are not set apart. A published index is never changed: a
newer one starts from links to its files, so a reader keeps what it has open.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ragapp.catalog import Catalog, Generation
from ragapp.errors import LibraryError
from ragapp.shelf import Shelf
from ragapp.text import CJK, join_broken

ANALYZER = "words"
PRIVATE = "ragapp-lexicon-"  # how the folders of private indexes begin, followed by the process they belong to
HEADER_BOOST = 1.0
WRITER_BYTES = 64_000_000

_CJK_RUN = re.compile(f"[{CJK}]+")


def spread(text: str) -> str:
    """The text with every run of CJK characters spelled as its pairs, and words broken by a soft hyphen joined."""
    return _CJK_RUN.sub(lambda run: f" {' '.join(_pairs(run.group()))} ", join_broken(text))


def _pairs(run: str) -> Iterable[str]:
    return (run[i : i + 2] for i in range(max(1, len(run) - 1)))


class Lexicon:
    """The lexical ranker of one library. Safe to share between threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.shelf = Shelf(catalog.folder / "cache", "lexicon", "bm25-1")
        self._lock = threading.RLock()
        self._index: Any = None
        self._generation: Generation | None = None
        self._folder = catalog.folder
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._analyzer: Any = None

    def search(self, text: str, k: int) -> list[tuple[int, float]]:
        """At most ``k`` ``(chunk id, BM25 score)``, best first, of the chunks that share a word with the text."""
        import tantivy

        words = self.words(text)
        with self._lock:
            self.follow()
            # tantivy panics at a limit of 0, and makes room for as many as it is asked for.
            limit = 0 if self._index is None else min(k, self._index.searcher().num_docs)
            if limit < 1 or not words:
                return []
            schema = self._index.schema
            parts = []
            for word in words:
                in_text = tantivy.Query.term_query(schema, "text", word)
                in_header = tantivy.Query.term_query(schema, "header", word)
                parts.append((tantivy.Occur.Should, in_text))
                parts.append((tantivy.Occur.Should, tantivy.Query.boost_query(in_header, HEADER_BOOST)))
            searcher = self._index.searcher()
            hits = searcher.search(tantivy.Query.boolean_query(parts), limit, count=False).hits
            # Equal scores come in the order of the segments, which depends on how the index grew.
            found = [(int(searcher.doc(address)["id"][0]), float(score)) for score, address in hits]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def words(self, text: str) -> list[str]:
        """The different index terms of a text, in order."""
        with self._lock:
            if self._analyzer is None:
                self._analyzer = _analyzer()
            return list(dict.fromkeys(self._analyzer.analyze(spread(text))))

    def weight(self, word: str) -> float:
        """The inverse document frequency of an index term, as in BM25: near 0 for a word of every chunk."""
        with self._lock:
            self.follow()
            if self._index is None:
                return 0.0
            searcher = self._index.searcher()
            total = searcher.num_docs
            # tantivy counts the chunks that were dropped with the others until it merges its files.
            having = min(searcher.doc_freq("text", word), total)
        return math.log(1 + (total - having + 0.5) / (having + 0.5))

    def follow(self) -> None:
        """Bring the index to the catalog's generation; the result stays private to this process."""
        with self._lock, self._catalog.snapshot():
            now = self._catalog.generation()
            if self._generation == now:
                return
            self._take_newest()
            if self._generation == now:
                return
            sweep_private()
            private = tempfile.TemporaryDirectory(prefix=f"{PRIVATE}{os.getpid()}-", ignore_cleanup_errors=True)
            made = False
            try:
                self._make(Path(private.name))
                self._open(Path(private.name), now)
                made = True
            except OSError as error:
                raise LibraryError(
                    f"No search index can be made in {tempfile.gettempdir()}: {error}.", "Is there room on that disk?"
                ) from error
            finally:
                if not made:
                    private.cleanup()
            if self._private is not None:
                self._private.cleanup()
            self._private = private

    def publish(self, *, fresh: bool = False) -> None:
        """Write the index of the catalog's generation to disk unless it is there. Needs the write lock.

        ``fresh`` makes it from the catalog alone: nothing of what was dropped is in any file of the new cache. (An
        index that followed still holds the words of dropped chunks until tantivy merges its files.)
        """
        with self._lock, self._catalog.snapshot():
            now = self._catalog.generation()
            if fresh:
                self._index = self._generation = None
                self._open(self.shelf.publish(now, self._make), now)
                self._drop_private()
                return
            if self._generation != now or self._private is not None:
                self._take_newest()
            if self._generation == now and self._private is None:
                return
            self._open(self.shelf.publish(now, self._make), now)
            self._drop_private()

    def ids(self) -> set[int]:
        """The chunk ids that the index holds."""
        import tantivy

        with self._lock:
            self.follow()
            if self._index is None:
                return set()
            searcher = self._index.searcher()
            total = max(1, searcher.num_docs)
            hits = searcher.search(tantivy.Query.all_query(), total, count=False).hits
            return {int(searcher.doc(address)["id"][0]) for _, address in hits}

    def close(self) -> None:
        with self._lock:
            self._index = self._generation = None
            self._drop_private()

    def _drop_private(self) -> None:
        if self._private is not None:
            self._private.cleanup()
            self._private = None

    def _take_newest(self) -> None:
        """Open the newest published index if it is nearer to the catalog than what is open."""
        found = self.shelf.newest()
        if found is None or (self._generation is not None and found[0].number <= self._generation.number):
            return
        if self._catalog.changes(found[0]) is not None:
            try:
                self._open(found[1], found[0])
            except ValueError:
                return  # deleted since: another process has published a newer one
            self._drop_private()

    def _open(self, folder: Path, generation: Generation) -> None:
        import tantivy

        index = tantivy.Index.open(str(folder))
        index.register_tokenizer(ANALYZER, _analyzer())
        self._index, self._generation, self._folder = index, generation, folder

    def _make(self, folder: Path) -> None:
        """Fill a folder with an index of the catalog's present generation, starting from the one that is open.

        Raises OSError when it cannot be written.
        """
        try:
            self._fill(folder)
        except ValueError as error:  # the one kind that tantivy knows, for a full disk as for all else
            raise OSError(f"The lexical index cannot be written: {error}") from error

    def _fill(self, folder: Path) -> None:
        import tantivy

        dropped: tuple[int, ...]
        changes = None if self._generation is None else self._catalog.changes(self._generation)
        if changes is None or not _link(self._folder, folder):
            index = tantivy.Index(_schema(), path=str(folder))
            dropped, texts = (), self._catalog.index_texts()
        else:
            index = tantivy.Index.open(str(folder))
            dropped, texts = changes.dropped, self._catalog.index_texts(changes.added)
        index.register_tokenizer(ANALYZER, _analyzer())
        writer = index.writer(WRITER_BYTES, 1)
        for chunk_id in dropped:
            writer.delete_documents_by_term("id", chunk_id)
        for chunk_id, header, text in texts:
            writer.add_document(tantivy.Document(id=chunk_id, header=spread(header), text=spread(text)))
        writer.commit()
        writer.wait_merging_threads()


def sweep_private() -> None:
    """Delete private indexes of processes that were killed: they hold words of documents."""
    if os.name == "nt":
        return  # where a signal of 0 ends a process instead of asking after it
    for path in Path(tempfile.gettempdir()).glob(f"{PRIVATE}*"):
        process = path.name.removeprefix(PRIVATE).partition("-")[0]
        if process.isdigit() and _is_dead(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _is_dead(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("id", stored=True, indexed=True)
    builder.add_text_field("header", stored=False, tokenizer_name=ANALYZER, index_option="freq")
    builder.add_text_field("text", stored=False, tokenizer_name=ANALYZER, index_option="freq")
    return builder.build()


def _analyzer() -> Any:
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    filters = (Filter.remove_long(60), Filter.lowercase(), Filter.ascii_fold(), Filter.stemmer("english"))
    builder = TextAnalyzerBuilder(Tokenizer.simple())
    for step in filters:
        builder = builder.filter(step)
    return builder.build()


def _link(source: Path, target: Path) -> bool:
    """The files of a published index again, as links where the file system has them: tantivy never changes a file.

    False, with nothing in ``target``, when the index was deleted meanwhile, as caches may be at any time.
    """
    try:
        for path in source.iterdir():
            if path.name == "mark.json" or path.name.endswith(".lock"):
                continue
            try:
                os.link(path, target / path.name)
            except OSError:
                shutil.copy2(path, target / path.name)
    except FileNotFoundError:
        for path in target.iterdir():
            path.unlink()
        return False
    return True
