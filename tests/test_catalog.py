"""The library's truth: whole documents or none, ids used once, damage found."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ragapp import catalog as catalog_module
from ragapp.catalog import Catalog, Generation, embedded_text, text_hash
from ragapp.checkup import look
from ragapp.errors import LibraryError, LibraryLocked, LibraryNewer, NotFound
from ragapp.testing import document_of
from ragapp.types import Chunk, Document, Heading
from tests.libraries import (
    FINGERPRINT,
    child_environment,
    chunks_of,
    contents,
    open_catalog,
    put,
    row,
    vectors_of,
)  # fmt: skip

A = document_of("Apples are red.", "Pears are green.", name="a.pdf")
B = document_of("Boats float.", "Pears are green.", name="b.pdf")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = open_catalog(tmp_path / "library")
    yield made
    made.close()


def sql(catalog: Catalog, statement: str, *values: object) -> list[Any]:
    """Run something behind the catalog's back."""
    db = sqlite3.connect(catalog.path)
    try:
        with db:
            return db.execute(statement, values).fetchall()
    finally:
        db.close()


def names(catalog: Catalog) -> list[str]:
    return [entry.document for entry in catalog.entries()]


# -- documents -------------------------------------------------------------------------------------------------------


def test_a_document_comes_back_as_it_was_put(catalog: Catalog) -> None:
    document = document_of(
        "Überschrift 现金", "", "Text “mit” ﬁ und \u00ad.", name="ä 1.pdf", headings=[Heading(1, "Überschrift 现金", 0)]
    )
    file = row(document, "deep/ä 1.pdf")
    chunks = chunks_of(document, "header")
    catalog.put(file, document, chunks, vectors_of(chunks), FINGERPRINT)
    back = catalog.document(document.id)
    assert (back.text, back.pages, back.headings, back.title) == (
        document.text, document.pages, document.headings, document.title,
    )  # fmt: skip
    assert catalog.files() == {file.uri: file}
    assert [c for c, _, _ in catalog.chunks(catalog.chunk_ids().tolist()).values()] == [
        Chunk(i, c.document_id, c.text, c.start, c.end, c.page, c.headings, c.header) for i, c in enumerate(chunks, 1)
    ]
    entry = catalog.entries()[0]
    assert (entry.document, entry.pages, entry.chunks, entry.pages_without_text) == ("deep/ä 1.pdf", 3, 2, 1)
    assert list(look(catalog.folder)) == []


def test_pages_of_a_span(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    border = A.pages[1].start
    assert [page.number for page, _ in catalog.pages(A.id, border - 2, border)] == [1]
    assert [page.number for page, _ in catalog.pages(A.id, border - 1, border + 1)] == [1, 2]
    assert [page.number for page, _ in catalog.pages(A.id, border, border)] == [2]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_pages_of_any_span_are_those_that_it_touches(lengths: list[int], data: st.DataObject) -> None:
    document = document_of(*("x" * length for length in lengths), name="x.pdf")
    with tempfile.TemporaryDirectory() as folder, closing(open_catalog(Path(folder))) as catalog:
        put(catalog, document, "x.pdf")
        places = st.integers(0, len(document.text) - 1)
        spans = [sorted((data.draw(places), data.draw(places))) for _ in range(10)]
        several = catalog.pages_of(document.id, [(start, end + 1) for start, end in spans])
        for (start, end), pages in zip(spans, several, strict=True):
            touched = [page for page in document.pages if page.start <= end and page.end > start]
            assert [page for page, _ in pages] == touched
            assert catalog.pages(document.id, start, end + 1) == pages
            excerpt = catalog.excerpt(document.id, start, end + 1)
            assert excerpt
            assert excerpt.text == document.text[touched[0].start : touched[-1].end]


def test_no_page_is_looked_at_but_those_around(tmp_path: Path) -> None:
    steps: list[int] = []

    def count() -> int:
        steps[-1] += 1
        return 0

    for length in (20, 1000):
        document = document_of(*(f"Page {number}." for number in range(length)), name="x.pdf")
        with closing(open_catalog(tmp_path / str(length))) as catalog:
            put(catalog, document, "x.pdf")
            steps.append(0)
            with catalog._reading() as db:
                db.set_progress_handler(count, 1)  # of the connection that is used next; it counts SQLite's own steps
            assert len(catalog.pages(document.id, document.pages[9].start, document.pages[10].end)) == 2
    short, long = steps
    assert 0 < long < 2 * short


def test_labels_of_pages(catalog: Catalog) -> None:
    pages = (replace(A.pages[0], label="iv"), A.pages[1])
    put(catalog, replace(A, pages=pages), "a.pdf")
    put(catalog, B, "b.pdf")
    many = [(B.id, number) for number in range(600)]  # more than go into one statement
    assert catalog.labels([(A.id, 1), (A.id, 2), (A.id, 1), *many, ("gone", 1)]) == {(A.id, 1): "iv"}


def test_put_is_all_or_nothing(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    before, generation = contents(catalog), catalog.generation()
    chunks = chunks_of(B)

    class Broken(dict[bytes, Any]):
        def items(self) -> Any:
            yield text_hash(chunks[0]), np.zeros(32, dtype=np.float32)
            raise RuntimeError("power cut")

    for name in ("a.pdf", "b.pdf"):
        with pytest.raises(RuntimeError, match="power cut"):
            catalog.put(row(B, name), B, chunks, Broken({b"x": 1}), FINGERPRINT)
    assert contents(catalog) == before
    assert catalog.generation() == generation
    assert sql(catalog, "SELECT count(*) FROM vectors") == [(2,)]
    assert list(look(catalog.folder)) == []


def test_a_name_that_is_taken_changes_nothing(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    file = row(B, "a.pdf")
    other = catalog_module.FileRow("file:///elsewhere/a.pdf", "a.pdf", file.document_id, 1, 1)
    with pytest.raises(LibraryError):
        catalog.put(other, B, chunks_of(B), vectors_of(chunks_of(B)), FINGERPRINT)
    assert names(catalog) == ["a.pdf"]
    assert list(look(catalog.folder)) == []


def test_a_changed_file_replaces_its_document(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    old = set(catalog.chunk_ids().tolist())
    put(catalog, B, "a.pdf")
    assert names(catalog) == ["a.pdf"]
    assert not catalog.has_document(A.id)
    assert not old & set(catalog.chunk_ids().tolist())
    assert list(look(catalog.folder)) == []


def test_a_changed_file_keeps_the_vectors_of_the_texts_it_kept(catalog: Catalog) -> None:
    """The pipeline leaves out vectors that are known; the release of the old document must not take them away."""
    put(catalog, A, "a.pdf")
    put(catalog, B, "a.pdf")  # both hold "Pears are green."
    ids, _ = catalog.chunk_vectors(FINGERPRINT)
    assert set(ids.tolist()) == set(catalog.chunk_ids().tolist())


def test_the_same_document_put_again(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    before = contents(catalog)
    put(catalog, A, "a.pdf")
    assert contents(catalog) == before
    assert list(look(catalog.folder)) == []


def test_one_document_under_two_names(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    catalog.alias(row(A, "copy.pdf"))
    assert names(catalog) == ["a.pdf", "copy.pdf"]
    assert len(catalog.chunk_ids()) == 2
    assert [file.name for file in catalog.files_of(A.id)] == ["a.pdf", "copy.pdf"]
    catalog.drop([row(A, "a.pdf").uri])
    assert names(catalog) == ["copy.pdf"]
    assert len(catalog.chunk_ids()) == 2
    catalog.drop([row(A, "copy.pdf").uri])
    assert not catalog.has_document(A.id)
    assert len(catalog.chunk_ids()) == 0
    with pytest.raises(NotFound):
        catalog.document(A.id)


def test_an_alias_lets_go_of_what_the_file_stood_for(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    put(catalog, B, "b.pdf")
    catalog.alias(row(B, "a.pdf"))
    assert not catalog.has_document(A.id)
    assert names(catalog) == ["a.pdf", "b.pdf"]
    assert list(look(catalog.folder)) == []


def test_vectors_go_with_the_last_chunk_that_uses_them(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    put(catalog, B, "b.pdf")
    shared = text_hash(chunks_of(A)[1])
    assert shared == text_hash(chunks_of(B)[1])
    catalog.drop([row(A, "a.pdf").uri])
    assert catalog.known_hashes(FINGERPRINT, vectors_of(chunks_of(A))) == {shared}
    catalog.drop([row(B, "b.pdf").uri])
    assert sql(catalog, "SELECT count(*) FROM vectors") == [(0,)]


def test_dropping_what_is_not_there_is_no_error(catalog: Catalog) -> None:
    catalog.drop(["file:///nowhere.pdf"])
    assert names(catalog) == []


def test_nothing_of_a_dropped_document_is_left_in_the_file(catalog: Catalog) -> None:
    put(catalog, document_of("Zanzibarquartz is a secret.", name="secret.pdf"), "secret.pdf")
    catalog.drop(["file:///docs/secret.pdf"])
    catalog.close()
    assert b"Zanzibarquartz" not in catalog.path.read_bytes()


def test_embedded_text_is_header_and_mended_text() -> None:
    chunk = Chunk(0, "d", "exam\u00ad\nple", 0, 8, 1, (), "Name › Part")
    assert embedded_text(chunk) == "Name › Part\nexample"
    assert text_hash(chunk) != text_hash(Chunk(0, "d", "exam\u00ad\nple", 0, 8, 1))


# -- generations -----------------------------------------------------------------------------------------------------


def test_every_change_makes_a_generation_that_says_what_changed(catalog: Catalog) -> None:
    empty = catalog.generation()
    put(catalog, A, "a.pdf")
    first = catalog.generation()
    assert (first.number, first.stamp != empty.stamp) == (empty.number + 1, True)
    put(catalog, B, "b.pdf")
    catalog.drop([row(A, "a.pdf").uri])
    changes = catalog.changes(first)
    assert changes is not None
    assert (changes.dropped, changes.added) == ((1, 2), (3, 4))
    changes = catalog.changes(catalog.generation())
    assert changes is not None
    assert (changes.dropped, changes.added) == ((), ())


def test_generations_of_another_history_are_not_known(catalog: Catalog, tmp_path: Path) -> None:
    put(catalog, A, "a.pdf")
    now = catalog.generation()
    assert catalog.changes(Generation(now.number, "0" * 16)) is None
    assert catalog.changes(Generation(now.number + 1, now.stamp)) is None
    other = open_catalog(tmp_path / "other")
    assert other.changes(now) is None
    other.close()


def test_a_snapshot_sees_one_state(catalog: Catalog) -> None:
    with catalog.snapshot():
        before = catalog.generation()
        thread = threading.Thread(target=put, args=(catalog, A, "a.pdf"))
        thread.start()
        thread.join()
        assert catalog.generation() == before
        assert len(catalog.chunk_ids()) == 0
    assert catalog.generation() != before
    assert len(catalog.chunk_ids()) == 2


# -- the file --------------------------------------------------------------------------------------------------------


def test_no_library(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no library"):
        Catalog(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_a_library_of_a_newer_ragapp(catalog: Catalog) -> None:
    sql(catalog, "PRAGMA user_version = 999")
    with pytest.raises(LibraryNewer, match="999") as caught:
        Catalog(catalog.folder)
    assert caught.value.hint


def test_an_sqlite_file_of_somebody_else(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "library.sqlite")
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(LibraryError, match="not a ragapp library"):
        Catalog(tmp_path)


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be looked at", b"SQLite format 3\0" * 300]
)
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "library.sqlite").write_bytes(content)
    with pytest.raises(LibraryError, match="damaged or not a library") as caught:
        Catalog(tmp_path)
    assert caught.value.hint


def test_a_damaged_file_is_said_to_be_damaged(catalog: Catalog) -> None:
    for n in range(30):
        put(catalog, document_of(f"Document {n} {'lorem ipsum ' * 200}", name=f"{n}.pdf"), f"{n}.pdf")
    catalog.close()
    data = bytearray(catalog.path.read_bytes())
    for at in range(8192, len(data), 4096):
        data[at : at + 64] = b"\xff" * 64
    catalog.path.write_bytes(data)

    def use() -> None:
        damaged = Catalog(catalog.folder)
        try:
            assert list(look(damaged.folder))
            contents(damaged)
        finally:
            damaged.close()

    with pytest.raises(LibraryError, match="damaged"):
        use()


@pytest.mark.parametrize("folder", ["/dev/null/library", "/proc/library"])
def test_a_folder_that_cannot_be_made(folder: str) -> None:
    with pytest.raises(LibraryError, match="cannot be made") as caught:
        Catalog(Path(folder))
    assert "--library" in caught.value.hint


def test_a_folder_without_write_permission(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root may write everywhere, so the system's answer about permissions is replaced."""
    put(catalog, A, "a.pdf")
    catalog.close()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(LibraryError, match="not writable"):
        Catalog(tmp_path / "new")
    reading = Catalog(catalog.folder)
    assert not reading.writable
    assert names(reading) == ["a.pdf"]
    with reading.snapshot():
        assert len(reading.chunk_ids()) == 2
    with pytest.raises(LibraryError, match="read-only"), reading.writing():
        pass
    with pytest.raises(LibraryError, match="cannot be written"):
        put(reading, B, "b.pdf")
    reading.close()


def test_opening_a_new_library_from_many_threads_at_once(tmp_path: Path) -> None:
    def work(folder: Path, barrier: threading.Barrier, made: list[object]) -> None:
        barrier.wait()
        try:
            made.append(Catalog(folder))
        except LibraryError as error:
            made.append(error)

    for attempt in range(5):
        made: list[object] = []
        barrier = threading.Barrier(6)
        threads = [
            threading.Thread(target=work, args=(tmp_path / str(attempt), barrier, made)) for _ in range(barrier.parties)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [one for one in made if not isinstance(one, Catalog)] == []
        assert len({one.generation() for one in made if isinstance(one, Catalog)}) == 1
        for one in made:
            assert isinstance(one, Catalog)
            one.close()


def test_only_one_process_writes(catalog: Catalog) -> None:
    code = (
        "import sys; from pathlib import Path; from ragapp.catalog import Catalog\n"
        "with Catalog(Path(sys.argv[1])).writing():\n    print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(catalog.folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment(), text=True,
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(LibraryLocked, match="Another process") as caught, catalog.writing():
            pass
        assert caught.value.hint
        assert names(catalog) == []  # reading goes on
        child.kill()
    with catalog.writing(), catalog.writing():
        put(catalog, A, "a.pdf")


# -- the check-up ----------------------------------------------------------------------------------------------------

DAMAGE = {
    "chunk text": ("UPDATE chunks SET text = 'Apples are blue' WHERE id = 1", "chunk 1 does not match its checksum"),
    "chunk span": ("UPDATE chunks SET start = start + 1 WHERE id = 2", "chunk 2 does not match its checksum"),
    "chunk header": ("UPDATE chunks SET header = 'x' WHERE id = 1", "does not match its checksum"),
    "no vector": ("DELETE FROM vectors WHERE hash = (SELECT hash FROM chunks WHERE id = 1)", "has no vector"),
    "short vector": ("UPDATE vectors SET vector = substr(vector, 1, 124)", "1 vectors are damaged"),
    "odd vector": ("UPDATE vectors SET vector = substr(vector, 1, 127)", "1 vectors are damaged"),
    "infinite vector": ("UPDATE vectors SET vector = x'" + "0000807f" * 32 + "'", "1 vectors are damaged"),
    "page text": ("UPDATE pages SET text = 'x' || text WHERE number = 1", "page 1 does not match its checksum"),
    "lost page": ("DELETE FROM pages WHERE number = 1", "it has 1 pages instead of 2"),
    "lost file": ("DELETE FROM files", "belongs to no file"),
    "lost document": ("DELETE FROM documents", "gone"),
    "lost pages": ("DELETE FROM pages", "it has 0 pages instead of 2"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_check_finds_damage(catalog: Catalog, kind: str) -> None:
    put(catalog, A, "a.pdf")
    put(catalog, document_of("Cherries.", name="c.pdf"), "c.pdf")
    assert list(look(catalog.folder)) == []
    statement, said = DAMAGE[kind]
    where = " AND " if "WHERE" in statement else " WHERE "
    if kind.endswith(" vector") and kind != "no vector":
        statement += f"{where}hash = (SELECT hash FROM chunks WHERE id = 1)"
    elif kind in {"page text", "lost page", "lost pages"}:
        statement += f"{where}document_id = '{A.id}'"
    sql(catalog, statement)
    assert any(said in line for line in look(catalog.folder)), list(look(catalog.folder))


def test_vectors_of_different_widths_are_refused(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    # 32 and 30 numbers: as many as twice 31, which must not be read as that.
    sql(
        catalog,
        "UPDATE vectors SET vector = substr(vector, 1, 120) WHERE hash = (SELECT hash FROM chunks WHERE id = 1)",
    )
    with pytest.raises(LibraryError, match="a vector does not match its checksum"):
        catalog.chunk_vectors(FINGERPRINT)


# -- damage is noticed where it is read ------------------------------------------------------------------------------

READS: dict[str, Callable[[Catalog], object]] = {
    "chunks": lambda c: c.chunks([1, 2]),
    "pages": lambda c: c.pages(A.id, 0, len(A.text)),
    "document": lambda c: c.document(A.id),
    "entries": lambda c: c.entries(),
    "files": lambda c: c.files(),
    "files of": lambda c: c.files_of(A.id),
    "ids": lambda c: c.chunk_ids(),
    "texts": lambda c: list(c.index_texts()),
    "some texts": lambda c: list(c.index_texts([1, 2])),
    "vectors": lambda c: c.chunk_vectors(FINGERPRINT),
    "some vectors": lambda c: c.chunk_vectors(FINGERPRINT, [1, 2]),
    "vector batches": lambda c: list(c.vector_batches(FINGERPRINT, 1)),
    "generation": lambda c: c.generation(),
    "embedder": lambda c: c.embedder(),
}
VECTORS = ("vectors", "some vectors", "vector batches")
WRONG: dict[str, tuple[str, tuple[str, ...]]] = {
    "chunk text": ("UPDATE chunks SET text = text || '.' WHERE id = 1", ("chunks", "texts", "some texts")),
    "chunk page": ("UPDATE chunks SET page = 9 WHERE id = 1", ("chunks", "texts")),
    "chunk start": ("UPDATE chunks SET start = 1, end = end + 1 WHERE id = 1", ("chunks", "texts")),
    "chunk number": ("UPDATE chunks SET id = 99 WHERE id = 1", ("chunks", "texts", "some texts", "some vectors")),
    "chunk gone": ("DELETE FROM chunks WHERE id = 1", ("chunks", "ids", "texts", "some texts", *VECTORS)),
    "chunk's hash": ("UPDATE chunks SET hash = x'00' WHERE id = 1", ("chunks", "texts", *VECTORS)),
    "title": ("UPDATE documents SET title = 'x'", ("chunks", "document", "entries", "pages")),
    "document gone": ("DELETE FROM documents", ("chunks", "entries")),
    "name": ("UPDATE files SET name = 'x'", ("chunks", "files", "files of", "entries")),
    "file gone": ("DELETE FROM files", ("chunks", "files", "entries")),
    "page text": ("UPDATE pages SET text = 'B' || substr(text, 2) WHERE number = 1", ("pages", "document")),
    "page gone": ("DELETE FROM pages WHERE number = 1", ("pages", "document")),
    "last page gone": ("DELETE FROM pages WHERE number = 2", ("pages", "document")),
    "page elsewhere": ("UPDATE pages SET start = start + 1000 WHERE number = 2", ("pages", "document")),
    "heading": ("UPDATE headings SET title = 'x'", ("document",)),
    "heading gone": ("DELETE FROM headings", ("document",)),
    "vector": ("UPDATE vectors SET vector = zeroblob(128)", VECTORS),
    "vector of another text": (
        "UPDATE vectors SET vector = (SELECT vector FROM vectors ORDER BY hash LIMIT 1),"
        " crc = (SELECT crc FROM vectors ORDER BY hash LIMIT 1)",
        VECTORS,
    ),
    "vector gone": ("DELETE FROM vectors", VECTORS),
    "stamp": ("UPDATE generations SET stamp = 'x'", ("generation",)),
    "generations gone": ("DELETE FROM generations", ("generation",)),
    "fingerprint": ("UPDATE meta SET value = 'x' WHERE key = 'embedder'", ("embedder",)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_damaged_is_refused_where_it_is_read(catalog: Catalog, kind: str) -> None:
    document = replace(A, headings=(Heading(1, "Apples", 0),))
    put(catalog, document, "a.pdf")
    for read in READS.values():
        read(catalog)
    statement, concerned = WRONG[kind]
    sql(catalog, statement)
    for name in concerned:
        with pytest.raises(LibraryError, match="damaged") as caught:
            READS[name](catalog)
        assert "ragapp doctor" in caught.value.hint


def test_chunks_that_were_dropped_a_moment_ago_are_no_damage(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    put(catalog, B, "b.pdf")
    catalog.drop([row(A, "a.pdf").uri])
    assert set(catalog.chunks([1, 2, 3, 4])) == {3, 4}
    assert catalog.pages(A.id, 0, 5) == []


# -- older formats ---------------------------------------------------------------------------------------------------

FORMAT_1 = Path(__file__).with_name("format1.sql").read_text(encoding="utf-8")


def format_1(folder: Path, *damage: str) -> Path:
    """A library as ragapp 0.1.0 made it."""
    folder.mkdir()
    db = sqlite3.connect(folder / "library.sqlite")
    db.executescript(FORMAT_1)
    for statement in damage:
        db.execute(statement)
    db.commit()
    db.close()
    return folder


def test_a_library_of_format_1_is_brought_up_to_date(tmp_path: Path) -> None:
    old = Catalog(format_1(tmp_path / "old"), create=False)
    assert names(old) == ["a.pdf", "copy.pdf", "deep/b.pdf"]
    assert list(look(old.folder)) == []
    first = old.document(A.id)
    assert (first.text, first.headings, first.pages) == (A.text, (Heading(1, "Apples", 0),), A.pages)
    assert [chunk.header for chunk in old.chunks_of(A.id)] == ["a › Apples", "a › Apples"]
    assert len(old.chunk_vectors(FINGERPRINT)[0]) == 4
    put(old, B, "new.pdf")
    assert int(max(old.chunk_ids())) == 7, "5 was given to a document that is gone"
    old.drop([row(A, "a.pdf").uri])
    assert list(look(old.folder)) == []
    old.close()
    again = Catalog(tmp_path / "old")
    assert names(again) == ["copy.pdf", "deep/b.pdf", "new.pdf"]
    again.close()


def test_what_was_damaged_before_there_were_seals_is_found(tmp_path: Path) -> None:
    folder = format_1(tmp_path / "old", "UPDATE chunks SET text = 'Apples are blue.' WHERE id = 1")
    old = Catalog(folder)
    assert any("a.pdf" in line for line in look(folder))
    with pytest.raises(LibraryError, match="damaged"):
        old.chunks([1])
    assert old.chunks([2])
    old.close()


def test_an_older_library_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = format_1(tmp_path / "old")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(LibraryError, match="older ragapp"):
        Catalog(folder)


def test_a_file_that_is_gone_is_not_taken_for_a_new_library(catalog: Catalog) -> None:
    put(catalog, A, "a.pdf")
    catalog.close()
    (catalog.folder / "cache" / "vectors-1-a").mkdir(parents=True)
    (catalog.folder / "cache" / "vectors-1-a" / "mark.json").write_text("{}")
    for damage in (lambda: catalog.path.write_bytes(b""), catalog.path.unlink):
        damage()
        with pytest.raises(LibraryError, match="is gone"):
            Catalog(catalog.folder)


# -- anything in any order -------------------------------------------------------------------------------------------

POOL = [
    document_of(*pages, name=f"{n}.pdf")
    for n, pages in enumerate([("one", "two"), ("two", "three"), ("three",), ("one", "three", "four"), ("", "five")])
]
DOCUMENTS = st.sampled_from(POOL)
FILES = st.sampled_from(["w.pdf", "x.pdf", "y/x.pdf", "z.pdf"])


class Library(RuleBasedStateMachine):
    """A catalog and a dict that says what must be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ragapp-stateful-"))
        self.catalog = open_catalog(self.folder)
        self.start = self.catalog.generation()
        self.files: dict[str, Document] = {}
        self.seen: set[int] = set()

    def teardown(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)

    @rule(name=FILES, document=DOCUMENTS)
    def put(self, name: str, document: Document) -> None:
        before = set(self.catalog.chunk_ids().tolist())
        if document in self.files.values():
            self.catalog.alias(row(document, name))
        else:
            put(self.catalog, document, name)
        self.files[name] = document
        new = set(self.catalog.chunk_ids().tolist()) - before
        assert not new & self.seen
        self.seen |= new

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        gone = data.draw(st.lists(st.sampled_from(sorted(self.files)), min_size=1, unique=True))
        self.catalog.drop([f"file:///docs/{name}" for name in gone])
        for name in gone:
            del self.files[name]

    @rule()
    def reopen(self) -> None:
        self.catalog.close()
        self.catalog = open_catalog(self.folder)

    @invariant()
    def holds_what_it_should(self) -> None:
        assert {file.name: file.document_id for file in self.catalog.files().values()} == {
            name: document.id for name, document in self.files.items()
        }
        documents = {document.id: document for document in self.files.values()}
        expected = sorted((c.document_id, c.text) for d in documents.values() for c in chunks_of(d))
        found = self.catalog.chunks(self.catalog.chunk_ids().tolist())
        assert sorted((c.document_id, c.text) for c, _, _ in found.values()) == expected
        changes = self.catalog.changes(self.start)
        assert changes is not None
        assert set(changes.added) == set(found)
        assert set(changes.dropped) == self.seen - set(found)

    @invariant()
    def has_exactly_the_vectors_it_needs(self) -> None:
        assert list(look(self.catalog.folder)) == []
        needed = {key for d in self.files.values() for key in vectors_of(chunks_of(d))}
        assert {key for (key,) in sql(self.catalog, "SELECT hash FROM vectors")} == needed


TestLibrary = Library.TestCase
TestLibrary.settings = settings(max_examples=25, stateful_step_count=12)
