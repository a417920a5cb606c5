"""tantivy as a cache over the catalog: BM25 (Robertson & Zaragoza 2009) over the words of headers and texts.

Header and text are one field: a word that stands in both counts twice and not as two words. Words that stand side by
side in a question count again where they stand side by side in a chunk.

English words are lower-cased, folded to ASCII and stemmed; runs of Chinese, Japanese and Korean become overlapping
pairs of characters, which is what BM25 needs where words are not set apart. A published index is never changed: a
newer one starts from links to its files, so a reader keeps what it has open.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ragapp.catalog import Catalog, Generation
from ragapp.errors import LibraryError
from ragapp.shelf import Shelf
from ragapp.text import CJK, join_broken

ANALYZER = "words"
PRIVATE = "ragapp-lexicon-"  # how the folders of private indexes begin, followed by the process they belong to
FIELD = "words"
PAIR_WEIGHT = 0.3  # what a pair of words adds, as a share of the BM25 score of a phrase
COMMON = 0.5  # a word in a larger part of the chunks makes no pair: it stands beside everything
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
        self.shelf = Shelf(catalog.folder / "cache", "lexicon", "bm25-2")
        self._lock = threading.RLock()
        self._index: Any = None
        self._generation: Generation | None = None
        self._folder = catalog.folder
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._analyzer: Any = None

    def search(self, text: str, k: int, documents: Sequence[str] | None = None) -> list[tuple[int, float]]:
        """At most ``k`` ``(chunk id, BM25 score)``, best first, of the chunks that share a word with the text.

        With ``documents`` (ids) only chunks of these are found; their scores stay the same.
        """
        import tantivy

        terms, index = self._terms(text), self._current()
        if index is None or not terms:
            return []
        searcher = index.searcher()
        # tantivy panics at a limit of 0, and makes room for as many as it is asked for.
        limit = min(k, searcher.num_docs)
        if limit < 1:
            return []
        query = self._query(terms, index.schema, searcher)
        if documents is not None:
            among = tantivy.Query.term_set_query(index.schema, "document", list(documents))
            among = tantivy.Query.const_score_query(among, 0.0)
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])
        hits = searcher.search(query, limit, count=False).hits
        # Equal scores come in the order of the segments, which depends on how the index grew.
        found = [(int(searcher.doc(address)["id"][0]), float(score)) for score, address in hits]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def _current(self) -> Any:
        """The index to be searched, brought to the catalog's generation; None where there is none.

        While another thread is about that, which may take a second, what is open is searched: chunks that were dropped
        since are no longer in the catalog, and those that came are found by the next search.
        """
        index = self._index
        if not self._lock.acquire(blocking=index is None):
            return index
        try:
            self.follow()
            return self._index
        finally:
            self._lock.release()

    def _query(self, terms: Sequence[str], schema: Any, searcher: Any) -> Any:
        """Any of the terms, and more for those that stand side by side as they do in the question."""
        import tantivy

        should = tantivy.Occur.Should
        parts = [(should, tantivy.Query.term_query(schema, FIELD, term)) for term in dict.fromkeys(terms)]
        for pair in dict.fromkeys(pairwise(terms)):
            if _tells(pair, searcher):
                phrase = tantivy.Query.phrase_query(schema, FIELD, list(pair))
                parts.append((should, tantivy.Query.boost_query(phrase, PAIR_WEIGHT)))
        return tantivy.Query.boolean_query(parts)

    def _terms(self, text: str) -> list[str]:
        """The index terms of a text, in order, with repetitions."""
        # Two threads may both make one. It is used under Python's lock, and waits for no index that is being made.
        analyzer = self._analyzer = self._analyzer or _analyzer()
        return list(analyzer.analyze(spread(text)))

    def words(self, text: str) -> list[str]:
        """The different index terms of a text, in order."""
        return list(dict.fromkeys(self._terms(text)))

    def weight(self, word: str) -> float:
        """The inverse document frequency of an index term, as in BM25: near 0 for a word of every chunk."""
        index = self._current()
        if index is None:
            return 0.0
        searcher = index.searcher()
        total = searcher.num_docs
        # tantivy counts the chunks that were dropped with the others until it merges its files.
        having = min(searcher.doc_freq(FIELD, word), total)
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
        if not _is_whole(folder):  # without some of its files it opens, and fails when it is asked
            raise ValueError(f"Files of the index {folder} were deleted while it was opened.")
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
            dropped, texts = (), self._catalog.index_rows()
        else:
            index = tantivy.Index.open(str(folder))
            dropped, texts = changes.dropped, self._catalog.index_rows(changes.added)
        index.register_tokenizer(ANALYZER, _analyzer())
        writer = index.writer(WRITER_BYTES, 1)
        for chunk_id in dropped:
            writer.delete_documents_by_term("id", chunk_id)
        for chunk_id, document, header, text in texts:
            # Two values of one field: no pair of words reaches from the header into the text.
            words = [spread(header), spread(text)]
            writer.add_document(tantivy.Document(id=chunk_id, document=document, words=words))
        writer.commit()
        writer.wait_merging_threads()


def _tells(pair: tuple[str, str], searcher: Any) -> bool:
    """Whether two words side by side say more than each: not for common words, nor for pairs of CJK characters,
    which overlap and say it already."""
    one, two = pair
    if one == two or _CJK_RUN.search(one + two):
        return False
    return all(searcher.doc_freq(FIELD, word) <= max(1.0, COMMON * searcher.num_docs) for word in pair)


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
    builder.add_text_field("document", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_text_field(FIELD, stored=False, tokenizer_name=ANALYZER, index_option="position")
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

    False, with nothing in ``target``, when the index is deleted meanwhile, as caches may be at any time, or in part.
    """
    try:
        for path in source.iterdir():
            if path.name == "mark.json" or path.name.endswith(".lock"):
                continue
            try:
                os.link(path, target / path.name)
            except OSError:
                shutil.copy2(path, target / path.name)
        if _is_whole(target):
            return True
    except FileNotFoundError:
        pass
    for path in target.iterdir():
        path.unlink()
    return False


def _is_whole(folder: Path) -> bool:
    """Whether an index has all files that tantivy notes for it."""
    try:
        noted = json.loads((folder / ".managed.json").read_bytes())
    except (OSError, ValueError):
        return False
    return all((folder / name).exists() for name in noted)
