"""The search caches: whole or not at all, believed only when they are right, equal to what a rebuild would give."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragapp
from ragapp.catalog import Catalog, Generation
from ragapp.errors import EmbedderChanged
from ragapp.lexicon import PRIVATE, Lexicon, spread, sweep_private
from ragapp.shelf import Shelf
from ragapp.testing import document_of
from ragapp.types import Document
from ragapp.vectors import VectorIndex
from tests.libraries import EMBEDDER, FINGERPRINT, child_environment, open_catalog, put

ONE = Generation(1, "aa")
TWO = Generation(2, "bb")

FRUIT = document_of("Apples are red and running.", "Pears are green.", name="fruit.pdf")
BOATS = document_of("Boats float on water.", "Pears are green.", name="boats.pdf")
CHINESE = document_of("公司的现金流量表列示经营活动。", "资产负债表在第三页。", name="zh.pdf")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = open_catalog(tmp_path / "library")
    yield made
    made.close()


@pytest.fixture
def vectors(catalog: Catalog) -> VectorIndex:
    return VectorIndex(catalog, FINGERPRINT)


@pytest.fixture
def lexicon(catalog: Catalog) -> Iterator[Lexicon]:
    made = Lexicon(catalog)
    yield made
    made.close()


def writes(text: str, name: str = "data") -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / name).write_text(text)

    return fill


def texts(catalog: Catalog, hits: list[tuple[int, float]]) -> list[str]:
    found = catalog.chunks(key for key, _ in hits)
    return [found[key][0].text for key, _ in hits]


def near(vectors: VectorIndex, text: str, k: int = 10) -> list[tuple[int, float]]:
    return vectors.search(EMBEDDER.embed_query(text), k)


# -- the shelf -------------------------------------------------------------------------------------------------------


def test_a_published_cache_is_the_newest(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "kind", "1")
    assert shelf.newest() is None
    shelf.publish(ONE, writes("one"))
    final = shelf.publish(TWO, writes("two"))
    assert shelf.newest() == (TWO, final)
    assert (final / "data").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["kind-2-bb"]


def test_a_fill_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "kind", "1")
    kept = shelf.publish(ONE, writes("one"))

    def broken(folder: Path) -> None:
        (folder / "data").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        shelf.publish(TWO, broken)
    assert shelf.newest() == (ONE, kept)
    shelf.sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["kind-1-aa"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "data").write_text("onf"),
        lambda path: (path / "data").write_text("one more"),
        lambda path: (path / "data").unlink(),
        lambda path: (path / "mark.json").unlink(),
        lambda path: (path / "mark.json").write_text("{"),
        lambda path: (path / "mark.json").write_text("[]"),
        lambda path: (path / "mark.json").write_text('{"version": "1", "files": {"data": {}}}'),
    ],
)
def test_a_damaged_cache_is_not_believed(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    shelf = Shelf(tmp_path, "kind", "1")
    path = shelf.publish(ONE, writes("one"))
    damage(path)
    assert shelf.newest() is None
    assert shelf.damaged() == [path]
    assert shelf.newest() is None
    assert Shelf(tmp_path, "kind", "1").publish(TWO, writes("two")).is_dir()
    assert shelf.damaged() == []


def test_another_version_or_kind_is_not_believed(tmp_path: Path) -> None:
    Shelf(tmp_path, "kind", "1").publish(ONE, writes("one"))
    assert Shelf(tmp_path, "kind", "2").newest() is None
    assert Shelf(tmp_path, "kin", "1").newest() is None


# -- following -------------------------------------------------------------------------------------------------------


def test_an_empty_library_finds_nothing(vectors: VectorIndex, lexicon: Lexicon) -> None:
    assert near(vectors, "apples") == []
    assert lexicon.search("apples", 5) == []
    vectors.publish()
    lexicon.publish()
    assert near(vectors, "apples") == []
    assert lexicon.search("apples", 5) == []
    assert (vectors.ids(), lexicon.ids()) == (set(), set())


def test_both_follow_adds_and_drops(catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    assert texts(catalog, near(vectors, "apples red", 1)) == ["Apples are red and running."]
    assert texts(catalog, lexicon.search("apples", 5)) == ["Apples are red and running."]
    put(catalog, BOATS, "boats.pdf")
    assert texts(catalog, near(vectors, "boats float water", 1)) == ["Boats float on water."]
    assert texts(catalog, lexicon.search("float", 5)) == ["Boats float on water."]
    catalog.drop(["file:///docs/fruit.pdf"])
    assert vectors.ids() == lexicon.ids() == set(catalog.chunk_ids().tolist())
    assert lexicon.search("apples", 5) == []


def test_cosines_are_exact(catalog: Catalog, vectors: VectorIndex) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    asked = EMBEDDER.embed_query("green pears")
    ids, rows = catalog.chunk_vectors(FINGERPRINT)
    expected = dict(zip(ids.tolist(), (rows @ asked).tolist(), strict=True))
    assert dict(vectors.search(asked, 5)) == pytest.approx(expected, abs=1e-6)


def test_a_question_of_another_width_is_refused(catalog: Catalog, vectors: VectorIndex) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    with pytest.raises(EmbedderChanged, match="32 numbers"):
        vectors.search(np.zeros(33, dtype=np.float32), 3)


def test_published_caches_are_taken_up_and_deleted_ones_made_again(
    catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon
) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    vectors.publish()
    lexicon.publish()
    expected = near(vectors, "green pears"), lexicon.search("green pears", 5)
    names = sorted(path.name for path in (catalog.folder / "cache").iterdir())
    now = catalog.generation()
    assert names == [f"{kind}-{now.number}-{now.stamp}" for kind in ("lexicon", "vectors")]
    for prepare in (lambda: None, lambda: shutil.rmtree(catalog.folder / "cache")):
        prepare()
        other, words = VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)
        assert (near(other, "green pears"), words.search("green pears", 5)) == expected
        words.close()


def test_a_damaged_cache_is_made_again(catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    vectors.publish()
    lexicon.publish()
    expected = near(vectors, "green pears"), lexicon.search("green pears", 5)
    for path in (catalog.folder / "cache").rglob("*"):
        if path.is_file() and path.name != "mark.json":
            # In place: the other lexicon has these files mapped, and one that is cut short meanwhile ends the process.
            with path.open("r+b") as file:
                file.seek(max(0, path.stat().st_size - 1))
                file.write(b"\xff")
    other, words = VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)
    assert (near(other, "green pears"), words.search("green pears", 5)) == expected
    other.publish()
    words.publish()
    assert other.shelf.damaged() == words.shelf.damaged() == []
    words.close()


@pytest.mark.parametrize("ending", [".pos", ".term", ".store", "meta.json", ".managed.json"])
def test_an_index_that_is_just_being_deleted_is_not_continued(catalog: Catalog, ending: str) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    follower = Lexicon(catalog)
    follower.publish()
    put(catalog, BOATS, "boats.pdf")
    gone = [path for path in catalog.folder.glob("cache/lexicon-*/*") if path.name.endswith(ending)]
    assert gone
    for path in gone:
        path.unlink()
    # What it has open is behind, and the next one cannot start from a part of its files; nor can it be opened.
    for lexicon in (follower, Lexicon(catalog)):
        assert texts(catalog, lexicon.search("red apples", 5)) == ["Apples are red and running."]
        assert texts(catalog, lexicon.search("float on water", 5)) == ["Boats float on water."]
        lexicon.close()


def test_an_index_that_is_deleted_while_it_is_opened_is_made_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    Lexicon(catalog).publish()
    lexicon = Lexicon(catalog)
    newest = lexicon.shelf.newest

    def then_deleted() -> tuple[Generation, Path] | None:
        found = newest()
        for path in catalog.folder.glob("cache/lexicon-*/*.pos"):
            path.unlink()
        return found

    monkeypatch.setattr(lexicon.shelf, "newest", then_deleted)
    assert texts(catalog, lexicon.search("red apples", 5)) == ["Apples are red and running."]
    lexicon.close()


def test_caches_of_another_library_are_not_trusted(catalog: Catalog, tmp_path: Path) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    other = open_catalog(tmp_path / "other")
    put(other, BOATS, "boats.pdf")
    for cache in (VectorIndex(other, FINGERPRINT), Lexicon(other)):
        cache.publish()
    assert other.generation().number == catalog.generation().number
    shutil.copytree(other.folder / "cache", catalog.folder / "cache")
    vectors, lexicon = VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)
    assert texts(catalog, near(vectors, "apples red", 1)) == ["Apples are red and running."]
    assert lexicon.search("boats", 5) == []
    assert texts(catalog, lexicon.search("apples", 5)) == ["Apples are red and running."]
    lexicon.close()
    other.close()


@pytest.mark.parametrize("reopen", [True, False])
def test_a_restored_backup_is_not_searched_with_newer_caches(catalog: Catalog, tmp_path: Path, reopen: bool) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    catalog.close()
    backup = shutil.copy(catalog.path, tmp_path / "backup.sqlite")
    put(catalog, BOATS, "boats.pdf")
    vectors, lexicon = VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)
    for cache in (vectors, lexicon):
        cache.publish()
    assert lexicon.search("boats", 5)
    catalog.close()
    shutil.copy(backup, catalog.path)
    # The same number of another history: ids that were given to the boats now belong to the Chinese.
    put(catalog, CHINESE, "zh.pdf")
    if reopen:
        lexicon.close()
        vectors, lexicon = VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)
    assert lexicon.search("boats", 5) == []
    assert texts(catalog, lexicon.search("现金流量", 1)) == ["公司的现金流量表列示经营活动。"]
    assert near(vectors, "公司的现金流量表列示经营活动。", 1)[0][1] == pytest.approx(1, abs=1e-5)
    assert vectors.ids() == lexicon.ids() == set(catalog.chunk_ids().tolist())
    lexicon.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([FRUIT, BOATS, CHINESE]), st.sampled_from(["a.pdf", "b.pdf"])),
        st.tuples(st.just("drop"), st.just(FRUIT), st.sampled_from(["a.pdf", "b.pdf"])),
        st.tuples(st.sampled_from(["follow", "publish", "reopen"]), st.just(FRUIT), st.just("")),
    ),
    min_size=2,
    max_size=9,
)


@settings(max_examples=12)
@given(STEPS)
def test_caches_that_followed_equal_a_rebuild(steps: list[tuple[str, Document, str]]) -> None:
    with tempfile.TemporaryDirectory(prefix="ragapp-follow-") as folder:
        catalog = open_catalog(Path(folder))
        caches: tuple[VectorIndex, Lexicon] = VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)
        for verb, document, name in steps:
            if verb == "put" and not catalog.has_document(document.id):
                put(catalog, document, name)
            elif verb == "drop":
                catalog.drop([f"file:///docs/{name}"])
            elif verb == "follow":
                for cache in caches:
                    cache.follow()
            elif verb == "publish":
                for cache in caches:
                    cache.publish()
            elif verb == "reopen":
                caches[1].close()
                caches = VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)
        vectors, lexicon = VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)
        shutil.rmtree(catalog.folder / "cache", ignore_errors=True)
        expected = set(catalog.chunk_ids().tolist())
        for cache in (*caches, vectors, lexicon):
            assert cache.ids() == expected
        for question in ("green pears", "现金流量", "boats are red"):
            asked = EMBEDDER.embed_query(question)
            assert dict(caches[0].search(asked, 10)) == pytest.approx(dict(vectors.search(asked, 10)), abs=1e-6)
            # Scores may differ until tantivy merges: its counts of a word still hold what was dropped.
            assert {key for key, _ in caches[1].search(question, 10)} == {k for k, _ in lexicon.search(question, 10)}
        for cache in (caches[1], lexicon):
            cache.close()
        catalog.close()


@pytest.mark.parametrize("kind", [lambda c: VectorIndex(c, FINGERPRINT), Lexicon])
@pytest.mark.parametrize("first", [True, False])
def test_a_write_in_the_middle_of_following_is_learned_once(
    tmp_path: Path, kind: Callable[[Catalog], VectorIndex | Lexicon], first: bool
) -> None:
    class Racing(Catalog):
        """Somebody writes right after the generation was read."""

        armed = False

        def generation(self) -> Generation:
            now = super().generation()
            if self.armed:
                self.armed = False
                writer = threading.Thread(target=put, args=(self, BOATS, "boats.pdf"))
                writer.start()
                writer.join()
            return now

    catalog = Racing(tmp_path)
    catalog.set_embedder(FINGERPRINT)
    put(catalog, FRUIT, "fruit.pdf")
    cache = kind(catalog)
    if not first:
        cache.follow()
        catalog.drop(["file:///docs/none.pdf"])
    catalog.armed = True
    cache.follow()
    catalog.drop(["file:///docs/none.pdf"])
    hits = near(cache, "boats float", 10) if isinstance(cache, VectorIndex) else cache.search("boats pears apples", 10)
    assert sorted(key for key, _ in hits) == catalog.chunk_ids().tolist()
    if isinstance(cache, Lexicon):
        cache.close()
    catalog.close()


def test_a_reader_sees_what_another_process_writes(catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    vectors.publish()
    lexicon.publish()
    code = (
        "import sys; from pathlib import Path; from tests.libraries import *; from tests.test_caches import *\n"
        "c = open_catalog(Path(sys.argv[1]))\n"
        "with c.writing():\n    put(c, BOATS, 'boats.pdf'); c.drop(['file:///docs/fruit.pdf'])\n"
        "    VectorIndex(c, FINGERPRINT).publish(); l = Lexicon(c); l.publish(); l.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(catalog.folder)], env=child_environment(), check=True)
    assert texts(catalog, lexicon.search("boats", 5)) == ["Boats float on water."]
    assert lexicon.search("apples", 5) == []
    assert texts(catalog, near(vectors, "boats float water", 1)) == ["Boats float on water."]
    assert vectors.ids() == lexicon.ids() == set(catalog.chunk_ids().tolist())


def test_a_cache_that_another_process_deletes_meanwhile(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    vectors, lexicon = VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)
    newest = Shelf.newest

    def then_gone(self: Shelf) -> tuple[Generation, Path] | None:
        found = newest(self)
        shutil.rmtree(catalog.folder / "cache", ignore_errors=True)
        return found

    for cache in (VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)):
        cache.publish()
    monkeypatch.setattr(Shelf, "newest", then_gone)
    assert near(vectors, "apples", 5)
    for cache in (VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)):
        cache.publish()
    assert lexicon.search("apples", 5)
    lexicon.close()


def test_a_fresh_lexicon_holds_no_word_of_what_was_dropped(catalog: Catalog, lexicon: Lexicon) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    put(catalog, BOATS, "boats.pdf")
    lexicon.publish()
    catalog.drop(["file:///docs/fruit.pdf"])
    lexicon.publish()
    lexicon.publish(fresh=True)
    (word,) = lexicon.words("apples")
    unknown = lexicon.weight("neverwritten")
    assert lexicon.weight(word) == unknown
    assert lexicon.search("apples", 5) == []
    assert texts(catalog, lexicon.search("float", 5)) == ["Boats float on water."]
    (folder,) = (catalog.folder / "cache").glob("lexicon-*")
    assert b"appl" not in b"".join(path.read_bytes() for path in folder.iterdir())


# -- words -----------------------------------------------------------------------------------------------------------


def test_words_are_stemmed_folded_and_said_once(lexicon: Lexicon) -> None:
    assert lexicon.words("Running runs RUN, café's CAFES!") == ["run", "cafe", "s"]
    assert lexicon.words("") == []
    assert lexicon.words("— … !") == []


def test_runs_of_cjk_become_pairs(lexicon: Lexicon) -> None:
    assert lexicon.words("现金流量 cash") == ["现金", "金流", "流量", "cash"]
    assert lexicon.words("金") == ["金"]
    assert spread("a金b").split() == ["a", "金", "b"]


def test_words_broken_at_a_line_end_are_found(catalog: Catalog, lexicon: Lexicon) -> None:
    put(catalog, document_of("An exam\u00ad\nple of it.", name="x.pdf"), "x.pdf")
    assert len(lexicon.search("example", 5)) == 1


def test_words_of_the_header_are_found_too(catalog: Catalog, lexicon: Lexicon) -> None:
    put(catalog, FRUIT, "fruit.pdf", header="3M 2018 10-K › Cash flows")
    assert len(lexicon.search("cash flow", 5)) == 2
    assert lexicon.search("dividends", 5) == []


def test_equal_scores_come_in_the_order_of_ids(catalog: Catalog, lexicon: Lexicon) -> None:
    put(catalog, document_of("same words", "same words", "same words", name="x.pdf"), "x.pdf")
    assert [key for key, _ in lexicon.search("same", 3)] == [1, 2, 3]


def test_a_rare_word_weighs_more(catalog: Catalog, lexicon: Lexicon) -> None:
    put(catalog, document_of("rare common", "common", "common", name="x.pdf"), "x.pdf")
    assert lexicon.weight("rare") > lexicon.weight("common") > 0
    assert lexicon.weight("unheard") > lexicon.weight("rare")


def test_no_weight_is_negative_though_most_was_dropped(catalog: Catalog, lexicon: Lexicon) -> None:
    put(catalog, document_of("rare common", "common", name="x.pdf"), "x.pdf")
    put(catalog, document_of(*(f"rare {n}" for n in range(30)), name="y.pdf"), "y.pdf")
    lexicon.publish()
    catalog.drop(["file:///docs/y.pdf"])
    assert lexicon.weight("rare") > 0


@pytest.mark.parametrize("k", [0, -1, 1, 10**12])
def test_any_number_of_results_may_be_asked_for(
    catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon, k: int
) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    assert len(lexicon.search("pears apples", k)) == len(near(vectors, "pears", k)) == max(0, min(k, 2))


@pytest.mark.parametrize("text", ['"(+-*:^~ AND OR NOT title:x', "\x00", "𝕬𝖕𝖕𝖑𝖊𝖘", "a" * 5000, "🎉"])
def test_a_question_is_words_and_no_query_language(catalog: Catalog, lexicon: Lexicon, text: str) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    lexicon.search(text, 5)


# -- nothing that runs code when it is read --------------------------------------------------------------------------


def test_no_file_of_a_library_is_a_pickle(catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    vectors.publish()
    lexicon.publish()
    heads = {path.name: path.read_bytes()[:2] for path in catalog.folder.rglob("*") if path.is_file()}
    assert len(heads) > 4
    assert [name for name, head in heads.items() if head[:1] == b"\x80" and head[1:2] <= b"\x05" and head[1:]] == []
    assert {json.loads(path.read_text())["version"] for path in catalog.folder.rglob("mark.json")} == {
        "bm25-2", f"vectors-2:{FINGERPRINT}",
    }  # fmt: skip


def test_no_module_imports_pickle() -> None:
    root = Path(ragapp.__file__).parent
    forbidden = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
    files = [path for folder in (root, *(p for p in root.iterdir() if p.is_dir())) for path in folder.rglob("*.py")]
    assert len(files) > 30
    imports = re.compile(r"^\s*(?:from|import)\s+(.+)", re.MULTILINE)
    guilty = [
        (path.name, line)
        for path in files
        for line in imports.findall(path.read_text("utf-8"))
        if forbidden & set(re.findall(r"\w+", line))
    ]
    assert guilty == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX asks after processes")
def test_private_indexes_of_dead_processes_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    dead, mine = tmp_path / f"{PRIVATE}{ended.pid}-abc", tmp_path / f"{PRIVATE}{os.getpid()}-abc"
    for folder in (dead, mine, tmp_path / "else"):
        folder.mkdir()
        (folder / "words").write_text("walrus")
    sweep_private()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, "else"])


def test_nobody_waits_for_an_index_that_another_thread_is_making(catalog: Catalog, lexicon: Lexicon) -> None:
    put(catalog, FRUIT, "fruit.pdf")
    assert texts(catalog, lexicon.search("apples", 5)) == ["Apples are red and running."]
    put(catalog, BOATS, "boats.pdf")
    found: list[tuple[int, float]] = []
    asked = threading.Thread(target=lambda: found.extend(lexicon.search("apples", 5)))
    with lexicon._lock:  # as whoever follows holds it
        asked.start()
        asked.join(30)
        assert not asked.is_alive()
    assert texts(catalog, found) == ["Apples are red and running."]
    assert texts(catalog, lexicon.search("boats", 5)) == ["Boats float on water."]
