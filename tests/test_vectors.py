"""Large libraries: which index suits them, how it is made, replaced and followed, and what it finds."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragapp import Rag, indexes
from ragapp.catalog import Catalog, FileRow, text_hash
from ragapp.errors import EmbedderChanged
from ragapp.retrievers import Dense
from ragapp.testing import document_of
from ragapp.types import Query
from ragapp.vectors import BUILDING, VectorIndex
from tests import pdfs
from tests.libraries import child_environment, chunks_of

WIDTH = 24
MADE_BY = "test:24"
SMALL = 300  # where exact search ends in these tests

Rows = NDArray[np.float32]


def unit_rows(count: int, seed: int) -> Rows:
    """Vectors around a few topics."""
    topics = np.random.default_rng(1).standard_normal((12, WIDTH))
    random = np.random.default_rng(seed)
    rows = topics[random.integers(0, 12, count)] + 0.7 * random.standard_normal((count, WIDTH))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def put(catalog: Catalog, number: int, count: int = 100) -> str:
    """Store a document of so many chunks with vectors of its own; returns its uri."""
    document = document_of(*(f"Document {number} says {i}." for i in range(count)), name=f"{number}.pdf")
    chunks = chunks_of(document)
    vectors = dict(zip(map(text_hash, chunks), unit_rows(count, number), strict=True))
    uri = f"file:///docs/{number}.pdf"
    catalog.put(FileRow(uri, f"{number}.pdf", document.id, 1, 1), document, chunks, vectors, MADE_BY)
    return uri


def open_library(folder: Path, documents: int = 0) -> Catalog:
    catalog = Catalog(folder)
    if catalog.embedder() is None:
        catalog.set_embedder(MADE_BY)
    for number in range(documents):
        put(catalog, number)
    return catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = open_library(tmp_path / "library")
    yield made
    made.close()


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Catalog]:
    """A library of 800 chunks."""
    made = open_library(tmp_path / "large", 8)
    yield made
    made.close()


@pytest.fixture
def made() -> Iterator[Callable[..., VectorIndex]]:
    """Makes vector indexes that are closed in the end."""
    opened: list[VectorIndex] = []

    def make(catalog: Catalog, exact_up_to: int = SMALL, patience: float = 3600) -> VectorIndex:
        opened.append(VectorIndex(catalog, MADE_BY, exact_up_to, patience))
        return opened[-1]

    yield make
    for index in opened:
        index.close()


def exact(catalog: Catalog, question: Rows, k: int) -> list[tuple[int, float]]:
    ids, rows = catalog.chunk_vectors(MADE_BY)
    scores = rows @ question
    return [(int(ids[i]), float(scores[i])) for i in np.lexsort((ids, -scores))[:k]]


def assert_exact(index: VectorIndex, catalog: Catalog, question: Rows, k: int) -> None:
    found, wanted = index.search(question, k), exact(catalog, question, k)
    assert [key for key, _ in found] == [key for key, _ in wanted]
    assert [score for _, score in found] == pytest.approx([score for _, score in wanted], abs=1e-5)


def recall(index: VectorIndex, catalog: Catalog, k: int = 10) -> float:
    found = wanted = 0
    for question in unit_rows(60, 999):
        best = {key for key, _ in exact(catalog, question, k)}
        found += len(best & {key for key, _ in index.search(question, k)})
        wanted += len(best)
    return found / wanted


def about(catalog: Catalog) -> dict[str, Any]:
    (folder,) = (catalog.folder / "cache").glob("vectors-*")
    facts: dict[str, Any] = json.loads((folder / "about.json").read_text())
    return facts


def wait_until(what: Callable[[], bool], seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)


# -- which kind ------------------------------------------------------------------------------------------------------


def test_the_size_decides_the_kind(catalog: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(catalog)
    assert index.kind is None
    for number in range(3):
        put(catalog, number)
    index.publish()
    assert (index.kind, about(catalog)["kind"]) == ("flat", "flat")
    put(catalog, 3)
    index.publish()
    assert (index.kind, about(catalog)) == ("clustered", {"kind": "clustered", "made_from": 400, "changed": 0})


def test_a_large_library_is_found_nearly_as_by_exact_search(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large)
    index.publish()
    assert index.kind == "clustered"
    assert recall(index, large) >= 0.97
    assert index.ids() == set(large.chunk_ids().tolist())


@pytest.mark.parametrize("kind", ["flat", "plain", "clustered"])
def test_scores_are_cosines_and_drops_and_adds_are_followed(
    kind: str, large: Catalog, made: Callable[..., VectorIndex]
) -> None:
    index = made(large, 10_000 if kind == "flat" else SMALL)
    if kind == "clustered":
        index.publish()
    question = unit_rows(1, 77)[0]
    index.search(question, 5)
    assert index.kind == kind
    for change in (lambda: large.drop(["file:///docs/3.pdf"]), lambda: put(large, 50)):
        change()
        cosines = dict(exact(large, question, 1000))
        found = index.search(question, 40)
        assert dict(found) == pytest.approx({key: cosines[key] for key, _ in found}, abs=1e-5)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        assert index.ids() == cosines.keys()
        assert recall(index, large) >= 0.95
        assert index.kind == kind


@pytest.mark.parametrize("kind", ["flat", "plain", "clustered"])
def test_of_some_documents_the_best_chunks_are_found(
    kind: str, large: Catalog, made: Callable[..., VectorIndex]
) -> None:
    """A question about one document is answered as if the others were not there, however near they are."""
    index = made(large, 10_000 if kind == "flat" else SMALL)
    if kind == "clustered":
        index.publish()
    documents = sorted(large.document_ids())
    for question in unit_rows(20, 78):
        ranking = exact(large, question, 1000)
        for some in (documents[3:4], documents[::3], documents):
            chunks = set(large.chunk_ids_of(some))
            best = [(key, score) for key, score in ranking if key in chunks][:10]
            found = index.search(question, 10, some)
            assert [key for key, _ in found] == [key for key, _ in best]
            assert [score for _, score in found] == pytest.approx([score for _, score in best], abs=1e-5)
        for none in ([], ["nobody"]):
            assert index.search(question, 10, none) == []
    assert index.kind == kind


@pytest.mark.parametrize("kind", ["flat", "clustered"])
def test_a_search_of_some_documents_never_makes_the_index_anew(
    kind: str, large: Catalog, made: Callable[..., VectorIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another search may have brought the index further than what the library was when this one began."""
    index = made(large, 10_000 if kind == "flat" else SMALL)
    if kind == "clustered":
        index.publish()
    index.search(unit_rows(1, 1)[0], 5)
    monkeypatch.setattr(index, "_made", lambda now: pytest.fail("it was made anew"))
    document = sorted(large.document_ids())[0]

    class Slow:
        """An embedder during whose work a document comes, and somebody else searches."""

        def __init__(self) -> None:
            self.number = 60

        def embed_query(self, text: str) -> Rows:
            self.number += 1
            put(large, self.number)
            other = threading.Thread(target=index.search, args=(unit_rows(1, 2)[0], 5))
            other.start()
            other.join()
            row: Rows = unit_rows(1, self.number)[0]
            return row

    dense = Dense(index, Slow(), large)  # type: ignore[arg-type]  # it is asked for questions only
    for number in range(3):
        assert len(dense.rank_among(Query(f"Question {number}?"), 5, [document])) == 5
    assert index.kind == kind


def test_the_vectors_of_a_new_document_are_found_first(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large)
    index.publish()
    put(large, 60, 20)
    newest = large.chunk_ids().tolist()[-20:]
    for key, row in zip(newest, unit_rows(20, 60), strict=True):
        assert index.search(row, 1)[0] == (key, pytest.approx(1, abs=1e-5))
    large.drop(["file:///docs/60.pdf"])
    assert not {key for row in unit_rows(20, 60) for key, _ in index.search(row, 5)} & set(newest)


def test_a_search_for_everything_gives_everything(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large)
    index.publish()
    for number in range(20, 25):
        put(large, number)
    found = index.search(unit_rows(1, 5)[0], 1300)
    assert {key for key, _ in found} == set(large.chunk_ids().tolist())
    assert index.search(unit_rows(1, 5)[0], 0) == []


def test_what_is_published_is_taken_up_without_being_made_again(
    large: Catalog, made: Callable[..., VectorIndex]
) -> None:
    first = made(large)
    first.publish()
    (path,) = (large.folder / "cache").glob("vectors-*/index.faiss")
    written = path.stat().st_mtime_ns
    other = made(large)
    other.publish(train=False)
    other.publish()
    assert other.kind == "clustered"
    assert path.stat().st_mtime_ns == written
    question = unit_rows(1, 4)[0]
    assert other.search(question, 10) == first.search(question, 10)


def test_a_process_in_a_hurry_does_not_cluster(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large)
    index.publish(train=False)
    assert (index.kind, about(large)["kind"]) == ("plain", "plain")
    assert recall(index, large) >= 0.99
    made(large).publish()
    assert about(large)["kind"] == "clustered"


def test_an_index_that_has_drifted_is_made_anew(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large)
    index.publish()
    for number in range(20, 24):
        put(large, number)
    index.publish()
    assert about(large) == {"kind": "clustered", "made_from": 800, "changed": 400}
    reopened = made(large)  # what has changed is not forgotten with the process
    put(large, 24)
    reopened.publish()
    assert about(large) == {"kind": "clustered", "made_from": 1300, "changed": 0}


def test_a_library_that_has_shrunk_is_searched_exactly_again(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large)
    index.publish()
    large.drop([f"file:///docs/{number}.pdf" for number in range(5)])
    index.publish()
    assert about(large)["kind"] == "clustered"
    large.drop([f"file:///docs/{number}.pdf" for number in range(5, 7)])
    index.publish()
    assert (index.kind, about(large)["kind"]) == ("flat", "flat")
    assert index.ids() == set(large.chunk_ids().tolist())


@pytest.mark.parametrize("size", [10_000, SMALL])
def test_a_fresh_cache_holds_nothing_of_what_was_dropped(
    size: int, large: Catalog, made: Callable[..., VectorIndex]
) -> None:
    index = made(large, size)
    index.publish()
    large.drop(["file:///docs/2.pdf"])
    index.publish()
    index.publish(fresh=True)
    assert about(large)["changed"] == 0
    assert about(large)["made_from"] == (0 if size > 800 else 700)
    files = b"".join(path.read_bytes() for path in (large.folder / "cache").rglob("*") if path.is_file())
    assert not [row for row in unit_rows(100, 2) if row.tobytes() in files]
    assert made(large, size).ids() == set(large.chunk_ids().tolist())


@pytest.mark.usefixtures("in_folder")
def test_the_setting_says_where_exact_search_ends(tmp_path: Path) -> None:
    docs = pdfs.folder(tmp_path / "docs", 3, pages=2)
    flags: dict[str, Any] = {"embedder__name": "hashing", "search__exact_up_to": 5}
    with Rag.open(tmp_path / "library", **flags) as rag:
        rag.add([docs])
        assert about(rag.catalog)["kind"] == "clustered"
        assert rag.search("Which value has the property number 3 of the subject2x0?")[0].document == "02.pdf"
        rag.remove("02.pdf")
        assert rag.search("Which value has the property number 3 of the subject2x0?")[0].document != "02.pdf"
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        rag.search("property")
        assert about(rag.catalog)["kind"] == "flat"


# -- in the background -----------------------------------------------------------------------------------------------


def test_an_outgrown_index_is_replaced_while_searches_go_on(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large, patience=0.2)
    question = unit_rows(1, 8)[0]
    assert_exact(index, large, question, 10)
    assert index.kind == "plain"
    wait_until(lambda: index.kind == "clustered")
    wait_until(lambda: bool(list((large.folder / "cache").glob("vectors-*"))))
    assert about(large)["kind"] == "clustered"
    assert recall(index, large) >= 0.97


def test_a_process_that_ends_soon_leaves_it_to_others(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large, patience=3600)
    index.search(unit_rows(1, 8)[0], 10)
    started = time.monotonic()
    index.close()
    assert time.monotonic() - started < 2
    assert list((large.folder / "cache").glob("*vectors*")) == []


class Growing(Catalog):
    """Somebody else writes while the vectors are read for a new index."""

    grows_at = -1

    def vector_batches(self, embedder: str, size: int) -> Any:
        for batch in super().vector_batches(embedder, 100):
            yield batch
            self.grows_at -= 1
            if self.grows_at == 0:
                thread = threading.Thread(target=self.grow)
                thread.start()
                thread.join()

    def grow(self) -> None:
        put(self, 70)
        self.drop(["file:///docs/1.pdf"])


@pytest.mark.parametrize("moment", [1, 10, 14])
def test_what_changes_during_a_build_is_in_the_new_index(
    moment: int, tmp_path: Path, made: Callable[..., VectorIndex]
) -> None:
    open_library(tmp_path / "large", 8).close()
    catalog = Growing(tmp_path / "large")
    index = made(catalog)
    catalog.grows_at = moment
    index.publish()
    assert index.kind == "clustered"
    assert index.ids() == set(catalog.chunk_ids().tolist())
    key = catalog.chunk_ids().tolist()[-100]
    assert index.search(unit_rows(100, 70)[0], 1)[0][0] == key
    assert made(catalog).ids() == set(catalog.chunk_ids().tolist())
    catalog.close()


CHILD = (
    "import sys, time; from pathlib import Path; from tests.test_vectors import *\n"
    "c = open_library(Path(sys.argv[1])); v = VectorIndex(c, MADE_BY, SMALL, 0)\n"
)


def child(code: str, catalog: Catalog) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, str(catalog.folder)],
        env=child_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_killed_build_leaves_the_old_index(share: float, large: Catalog, made: Callable[..., VectorIndex]) -> None:
    made(large).publish(train=False)
    slow = (
        "def tell(share):\n"
        f"    if share > {share}: print('now', flush=True); time.sleep(60)\n"
        "with c.writing(): v.publish(tell=tell)"
    )
    with child(slow, large) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        # A thread of this process would not begin while the other one is at work.
        with pytest.raises(TimeoutError):
            FileLock(large.folder / "cache" / BUILDING, timeout=0).acquire()
        process.send_signal(signal.SIGKILL)
    index = made(large)
    assert recall(index, large) >= 0.99
    with large.writing():
        index.publish()
    assert about(large)["kind"] == "clustered"


def test_half_an_index_is_swept_away(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    left = large.folder / "cache" / ".making-vectors-abc"
    left.mkdir(parents=True)
    (left / "index.faiss").write_bytes(b"half")
    made(large).publish()
    assert not left.exists()


def test_only_one_process_clusters_and_the_others_take_what_it_made(
    large: Catalog, made: Callable[..., VectorIndex]
) -> None:
    (large.folder / "cache").mkdir()
    index = made(large, patience=0)
    with FileLock(large.folder / "cache" / BUILDING):
        index.search(unit_rows(1, 3)[0], 5)
        time.sleep(0.3)
        assert index.kind == "plain"
        with child("with c.writing(): v.publish()", large) as process:
            assert process.wait(30) == 0
        made_by_child = (large.folder / "cache").glob("vectors-*/index.faiss")
        (before,) = [path.stat().st_mtime_ns for path in made_by_child]
        assert_exact(index, large, unit_rows(1, 3)[0], 5)
    wait_until(lambda: index.kind == "clustered")
    (path,) = (large.folder / "cache").glob("vectors-*/index.faiss")
    assert path.stat().st_mtime_ns == before


def test_a_build_waits_for_whoever_writes_before_it_publishes(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large, patience=0)
    holds = "with c.writing():\n    print('now', flush=True); sys.stdin.readline() if False else time.sleep(2.5)"
    with child(holds, large) as process:
        assert process.stdout is not None
        process.stdout.readline()
        index.search(unit_rows(1, 3)[0], 5)
        wait_until(lambda: index.kind == "clustered")
        assert list((large.folder / "cache").glob("vectors-*")) == []
    wait_until(lambda: bool(list((large.folder / "cache").glob("vectors-*"))))
    assert about(large)["kind"] == "clustered"


@pytest.mark.parametrize("damage", ["cut", "flip", "about", "gone"])
def test_a_damaged_index_is_made_again(damage: str, large: Catalog, made: Callable[..., VectorIndex]) -> None:
    made(large).publish()
    (folder,) = (large.folder / "cache").glob("vectors-*")
    path = folder / "index.faiss"
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        path.write_bytes(data[:5000] + bytes([data[5000] ^ 64]) + data[5001:])
    elif damage == "about":
        (folder / "about.json").write_text("{}")
    else:
        shutil.rmtree(folder)
    index = made(large)
    question = unit_rows(1, 9)[0]
    assert_exact(index, large, question, 10)
    with large.writing():
        index.publish()
    assert about(large)["kind"] == "clustered"
    assert index.shelf.damaged() == []
    assert recall(made(large), large) >= 0.97


def test_an_index_that_cannot_be_published_is_used_all_the_same(
    large: Catalog, made: Callable[..., VectorIndex]
) -> None:
    (large.folder / "cache").write_text("not a folder")
    index = made(large, patience=0)
    index.search(unit_rows(1, 3)[0], 5)
    wait_until(lambda: index.kind == "clustered")
    assert recall(index, large) >= 0.97


def test_vectors_of_another_embedder_are_not_searched(large: Catalog, made: Callable[..., VectorIndex]) -> None:
    index = made(large)
    assert index.search(unit_rows(1, 3)[0], 5)
    large.set_embedder("other")
    with pytest.raises(EmbedderChanged, match="vectors of other"):
        index.search(unit_rows(1, 3)[0], 5)
    with pytest.raises(EmbedderChanged):
        made(large).publish()


# -- the indexes themselves ------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(1, 400), st.integers(1, 90), st.integers(0, 5), st.booleans())
def test_a_clustered_index_finds_what_exact_search_finds(count: int, slice_: int, seed: int, twins: bool) -> None:
    rows = unit_rows(count, seed)
    if twins:
        rows[:] = rows[0]
    ids = np.arange(count, dtype=np.int64) * 7 + 3

    def batches() -> Iterator[tuple[NDArray[np.int64], Rows]]:
        yield from ((ids[at : at + slice_], rows[at : at + slice_]) for at in range(0, count, slice_))

    shares: list[float] = []
    index = indexes.clustered(count, batches, 1, shares.append)
    assert index.ids() == set(ids.tolist())
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert 1 <= index.lists_searched <= index.lists
    if not twins:
        found = wanted = 0
        for question in unit_rows(20, 99):
            best = set(ids[np.argsort(-(rows @ question))[:5]].tolist())
            found += len(best & {key for key, _ in index.search(question, 40)})
            wanted += len(best)
        assert found >= 0.9 * wanted
    index.remove(ids[::2])
    assert index.ids() == set(ids[1::2].tolist())
    assert {key for key, _ in index.search(rows[0], 5)} <= set(ids[1::2].tolist())


def test_a_clustered_index_looks_at_some_lists_unless_everything_is_wanted() -> None:
    rows = np.random.default_rng(3).standard_normal((4000, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = np.arange(4000, dtype=np.int64)
    index = indexes.clustered(4000, lambda: [(ids, rows)], 1)
    assert index.lists_searched < index.lists
    assert {key for key, _ in index.search(rows[0], 4000)} == set(ids.tolist())
    assert index.search(rows[0], 0) == []


def test_a_search_looks_at_a_bounded_number_of_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LOOKED_AT", 400)
    rows = np.random.default_rng(3).standard_normal((4000, 24)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = np.arange(4000, dtype=np.int64)
    index = indexes.clustered(4000, lambda: [(ids, rows)], 1)
    assert index.lists_searched == index.lists // 10


def test_more_vectors_have_more_lists_in_proportion() -> None:
    assert indexes.lists_for(1_000_000) == 2000
    assert indexes.lists_for(1) == 4
    assert all(indexes.lists_for(n) <= indexes.lists_for(n + 1000) for n in range(0, 50_000, 1000))


def test_a_build_that_is_told_to_stop_stops() -> None:
    rows = unit_rows(500, 1)

    def tell(share: float) -> None:
        if share > 0.2:
            raise indexes.Abandoned

    with pytest.raises(indexes.Abandoned):
        indexes.clustered(500, lambda: [(np.arange(500), rows)], 1, tell)


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not an index")
    with pytest.raises(ValueError, match="no index"):
        indexes.Index.read("flat", tmp_path / "x")
    with pytest.raises(OSError, match="gone"):
        indexes.Index.read("flat", tmp_path / "gone")
