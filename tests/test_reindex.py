"""Another embedder, another chunker: from the stored text alone, in one switch, and right at every moment."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragapp import Rag
from ragapp.catalog import embedded_text, text_hash
from ragapp.errors import EmbedderChanged, LibraryError, LibraryLocked
from ragapp.ingest import reindex as module
from ragapp.ingest.chunkers import TokenChunker, chunker_fingerprint
from ragapp.ingest.reindex import Reindex, Reindexed
from ragapp.ingest.report import Progress
from ragapp.testing import HashingEmbedder
from tests import pdfs
from tests.libraries import child_environment, contents

pytestmark = pytest.mark.usefixtures("in_folder")

QUESTION = "Which value has the property number 3 of the subject2x0?"
OLD: dict[str, Any] = {"embedder__name": "hashing", "embedder__width": 64, "chunker__tokens": 32, "chunker__overlap": 4}
NEW: dict[str, Any] = {**OLD, "embedder__width": 96}
CUT: dict[str, Any] = {**OLD, "chunker__tokens": 64}
BOTH: dict[str, Any] = {**NEW, "chunker__tokens": 64}


class Stop(Exception):
    """What ends a reindex in the middle."""


class Counting(HashingEmbedder):
    """Counts the texts it is given."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.texts: list[str] = []

    def embed_documents(self, texts: list[str]) -> NDArray[np.float32]:
        self.texts += texts
        return super().embed_documents(texts)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a library whose files are gone: no file can be read again."""
    root = tmp_path_factory.mktemp("reindex")
    pdfs.folder(root / "docs", 5, pages=3)
    with Rag.open(root / "library", **OLD) as rag:
        rag.add([root / "docs"])
    shutil.move(root / "docs", root / "elsewhere")
    return root


@pytest.fixture
def library(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template / "library", tmp_path / "library")


@pytest.fixture(scope="module")
def fresh(template: Path) -> Any:
    """Gives the contents of a library that is made with some settings from the start."""

    @cache
    def make(width: int, tokens: int) -> dict[str, Any]:
        settings = {**OLD, "embedder__width": width, "chunker__tokens": tokens}
        with Rag.open(template / f"fresh-{width}-{tokens}", **settings) as rag:
            rag.add([template / "elsewhere"])
            return contents(rag.catalog)

    return lambda **settings: make(settings["embedder__width"], settings["chunker__tokens"])


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return pdfs.folder(tmp_path / "docs", 2, pages=3)


@pytest.fixture
def with_files(tmp_path: Path, docs: Path) -> Path:
    """A library whose files are still there."""
    with Rag.open(tmp_path / "with-files", **OLD) as rag:
        rag.add([docs])
    return tmp_path / "with-files"


def made_anew(folder: Path, docs: Path, settings: dict[str, Any]) -> dict[str, Any]:
    with Rag.open(folder, **settings) as rag:
        rag.add([docs])
        return contents(rag.catalog)


@pytest.fixture(autouse=True)
def _small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EMBED_AT_ONCE", 7)


def answers(library: Path, **settings: Any) -> list[tuple[str, int, float]]:
    with Rag.open(library, **settings) as rag:
        return [(p.document, p.chunk.start, round(p.score, 5)) for p in rag.search(QUESTION, k=8)]


def stop_after(count: int) -> Any:
    seen: list[Progress] = []

    def tell(now: Progress) -> None:
        seen.append(now)
        if len(seen) > count:
            raise Stop

    return tell


def work(rag: Rag, embedder: HashingEmbedder, tokens: int = 32) -> Reindex:
    return Reindex(rag.catalog, TokenChunker(embedder, tokens, 4), embedder, embedder.fingerprint)


def stored(rag: Rag, width: int) -> int:
    """How many of the library's chunks have a vector of an embedder."""
    found = rag.catalog.chunks(rag.catalog.chunk_ids().tolist()).values()
    hashes = {text_hash(chunk) for chunk, _, _ in found}
    return len(rag.catalog.known_hashes(HashingEmbedder(width).fingerprint, hashes))


# -- another embedder ------------------------------------------------------------------------------------------------


def test_the_refusal_names_both_and_the_way_out(library: Path) -> None:
    with pytest.raises(EmbedderChanged, match=r"hashing:64.*hashing:96") as caught:
        Rag.open(library, **NEW)
    assert "ragapp reindex" in caught.value.hint


@pytest.mark.parametrize("settings", [NEW, CUT, BOTH])
def test_a_reindexed_library_is_the_one_made_with_the_new_settings(
    settings: dict[str, Any], library: Path, fresh: Any
) -> None:
    expected = fresh(**settings)
    with Rag.open(library, any_embedder=True, **settings) as rag:
        receipt = rag.reindex()
        assert contents(rag.catalog) == expected
        assert list(rag.doctor()) == []
        assert rag.search(QUESTION, k=1)[0].document == "02.pdf"
        assert (receipt.documents, receipt.chunks) == (5, len(rag.catalog.chunk_ids()))
        assert receipt.embedded + receipt.reused == receipt.chunks
        assert receipt.embedded > 0
        assert receipt.rechunked == (0 if settings is NEW else 5)
        assert receipt.seconds > 0
    assert answers(library, **settings)
    if settings is not CUT:
        with pytest.raises(EmbedderChanged, match="hashing:96"):
            Rag.open(library, **OLD)


def test_chunks_that_stay_keep_their_ids_and_old_vectors_go(library: Path) -> None:
    with Rag.open(library, any_embedder=True, **NEW) as rag:
        before = rag.catalog.chunk_ids().tolist()
        assert stored(rag, 64) > 0
        rag.reindex()
        assert rag.catalog.chunk_ids().tolist() == before
        assert (stored(rag, 64), stored(rag, 96)) == (
            0,
            len({c.text for c, _, _ in rag.catalog.chunks(before).values()}),
        )


def test_only_caches_of_the_new_state_are_left(library: Path) -> None:
    with Rag.open(library, any_embedder=True, **BOTH) as rag:
        rag.reindex()
        now = rag.catalog.generation()
        names = {path.name for path in (library / "cache").iterdir() if path.is_dir()}
        assert names == {f"{kind}-{now.number}-{now.stamp}" for kind in ("vectors", "lexicon")}
        assert rag._lexicon.ids() == rag._vectors.ids() == set(rag.catalog.chunk_ids().tolist())


def test_nothing_to_do_costs_nothing(library: Path) -> None:
    with Rag.open(library, **OLD) as rag:
        before = rag.catalog.generation()
        assert rag.reindex() == Reindexed()
        assert rag.catalog.generation() == before
        embedder = Counting(64)
        assert work(rag, embedder).run() == Reindexed()
        assert embedder.texts == []


def test_an_empty_library_needs_none(tmp_path: Path) -> None:
    Rag.open(tmp_path / "empty", **OLD).close()
    with Rag.open(tmp_path / "empty", any_embedder=True, **NEW) as rag:
        assert rag.reindex() == Reindexed()
        assert rag.search(QUESTION) == []


def test_until_it_is_reindexed_it_is_neither_searched_nor_added_to(with_files: Path, docs: Path) -> None:
    with Rag.open(with_files, any_embedder=True, **NEW) as rag:
        with pytest.raises(EmbedderChanged, match="hashing:64"):
            rag.search(QUESTION)
        before = rag.catalog.generation()
        pdfs.write(docs / "more.pdf", ["Something new."])
        with pytest.raises(EmbedderChanged, match="hashing:64"):
            rag.add([docs])
        assert rag.catalog.generation() == before


# -- meanwhile -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [NEW, CUT, BOTH])
def test_the_old_index_answers_meanwhile(settings: dict[str, Any], library: Path) -> None:
    expected = answers(library, **OLD)
    reported: list[Progress] = []
    with Rag.open(library, **OLD) as reader, Rag.open(library, any_embedder=True, **settings) as rag:
        reader.search(QUESTION)

        def tell(now: Progress) -> None:
            reported.append(now)
            if len(reported) % 5 == 0:
                assert answers(library, **OLD) == expected
                found = [(p.document, p.chunk.start, round(p.score, 5)) for p in reader.search(QUESTION, k=8)]
                assert found == expected

        rag.reindex(progress=tell)
        if settings is CUT:
            assert reader.search(QUESTION, k=1)[0].chunk.id in set(rag.catalog.chunk_ids().tolist())
        else:
            with pytest.raises(EmbedderChanged, match="hashing:96"):
                reader.search(QUESTION)
    assert len(reported) >= 10


def test_progress_counts_up_to_all(library: Path) -> None:
    reported: list[Progress] = []
    with Rag.open(library, any_embedder=True, **NEW) as rag:
        rag.reindex(progress=reported.append)
    done = [now for now in reported if now.stage == "done"]
    assert [now.files_done for now in done] == [1, 2, 3, 4, 5]
    assert {now.file for now in done} == {f"0{number}.pdf" for number in range(5)}
    assert (done[-1].files, done[-1].pages_done, done[-1].bytes_done) == (5, 15, done[-1].bytes)


def test_a_second_writer_is_refused(library: Path) -> None:
    with Rag.open(library, any_embedder=True, **NEW) as rag, Rag.open(library, any_embedder=True, **NEW) as other:
        refused: list[bool] = []

        def tell(_: Progress) -> None:
            def attempt() -> None:
                try:
                    other.reindex()
                except LibraryLocked:
                    refused.append(True)

            if not refused:
                thread = threading.Thread(target=attempt)
                thread.start()
                thread.join()

        rag.reindex(progress=tell)
        assert refused == [True]


# -- stopped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0, 3, 6, 9])
@pytest.mark.parametrize("tokens", [32, 64])
def test_a_stopped_reindex_goes_on_where_it_was(moment: int, tokens: int, library: Path, fresh: Any) -> None:
    expected = fresh(**{**NEW, "chunker__tokens": tokens})
    with Rag.open(library, any_embedder=True, **NEW) as rag:
        before, generation = contents(rag.catalog), rag.catalog.generation()
        first, second, third = Counting(96), Counting(96), Counting(96)
        with rag.catalog.writing(), pytest.raises(Stop):
            work(rag, first, tokens).run(stop_after(moment))
        assert (contents(rag.catalog), rag.catalog.generation()) == (before, generation)
        assert answers(library, **OLD)
        with rag.catalog.writing():
            receipt = work(rag, second, tokens).run()
        assert contents(rag.catalog) == expected
        rag.publish_caches()
        assert list(rag.doctor()) == []
        texts = {embedded_text(chunk) for chunk, _, _ in rag.catalog.chunks(rag.catalog.chunk_ids().tolist()).values()}
        # Every text once: what the first run stored, the second did not ask for.
        assert sorted(first.texts + second.texts) == sorted(texts)
        assert receipt.embedded == len(second.texts)
        assert work(rag, third, tokens).run() == Reindexed()


def test_what_was_made_for_other_settings_is_not_taken(library: Path, fresh: Any) -> None:
    expected = fresh(**NEW)
    with Rag.open(library, any_embedder=True, **NEW) as rag, rag.catalog.writing():
        with pytest.raises(Stop):
            work(rag, Counting(96), 64).run(stop_after(6))
        assert any(rag.catalog.drafts(key) for key in rag.catalog.document_ids())
        work(rag, Counting(96), 32).run()
        assert contents(rag.catalog) == expected


CHILD = (
    "import sys; from ragapp import Rag; from ragapp.ingest import reindex\n"
    "reindex.EMBED_AT_ONCE = 3\n"
    "with Rag.open(sys.argv[1], any_embedder=True, embedder__name='hashing', embedder__width=96,\n"
    "              chunker__tokens=64, chunker__overlap=4) as rag:\n"
    "    rag.reindex(progress=lambda now: print(now.stage, flush=True))\n"
)


@pytest.mark.parametrize("lines", [1, 6, 13])
def test_a_killed_reindex_goes_on_where_it_was(lines: int, library: Path, fresh: Any) -> None:
    expected, old = fresh(**BOTH), answers(library, **OLD)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(library)], env=child_environment(), stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for _ in range(lines):
            child.stdout.readline()
        child.kill()
    with Rag.open(library, any_embedder=True, **BOTH) as rag:
        if rag.catalog.reindexing() is not None:  # it may have come to its end before it was killed
            assert answers(library, **OLD) == old
        rag.reindex()
        assert contents(rag.catalog) == expected
        assert list(rag.doctor()) == []


def test_the_old_settings_may_be_written_with_in_between(with_files: Path, docs: Path, tmp_path: Path) -> None:
    with Rag.open(with_files, any_embedder=True, **BOTH) as rag, rag.catalog.writing(), pytest.raises(Stop):
        work(rag, Counting(96), 64).run(stop_after(4))
    (docs / "00.pdf").unlink()
    pdfs.write(docs / "more.pdf", ["Something new about the warranty of the pump."])
    with Rag.open(with_files, **OLD) as rag:
        rag.remove("00.pdf")
        assert rag.add([docs]).added == 1
        assert list(rag.doctor()) == []
    expected = made_anew(tmp_path / "anew", docs, BOTH)
    with Rag.open(with_files, any_embedder=True, **BOTH) as rag:
        rag.reindex()
        assert contents(rag.catalog) == expected
        assert list(rag.doctor()) == []


def test_who_comes_back_to_the_old_settings_finds_no_leftovers(library: Path) -> None:
    with Rag.open(library, any_embedder=True, **NEW) as rag:
        with rag.catalog.writing(), pytest.raises(Stop):
            work(rag, Counting(96)).run(stop_after(9))
        assert stored(rag, 96) > 0
        assert rag.catalog.reindexing() is not None
    with Rag.open(library, **OLD) as rag:
        before = rag.catalog.generation()
        assert rag.reindex() == Reindexed()
        assert (stored(rag, 96), rag.catalog.reindexing(), rag.catalog.generation()) == (0, None, before)
        assert all(rag.catalog.drafts(key) == {} for key in rag.catalog.document_ids())
        assert list(rag.doctor()) == []


def test_a_chunk_without_a_vector_stops_the_switch(library: Path) -> None:
    with Rag.open(library, any_embedder=True, **NEW) as rag:
        before = contents(rag.catalog)
        with pytest.raises(LibraryError, match="no vector"):
            rag.catalog.end_reindex("other", "any", [])
        assert contents(rag.catalog) == before


# -- another chunker -------------------------------------------------------------------------------------------------


def test_other_chunks_reuse_the_vectors_of_texts_that_stay(library: Path) -> None:
    class Renamed(TokenChunker):
        fingerprint = "renamed"

    with Rag.open(library, **OLD) as rag, rag.catalog.writing():
        embedder = Counting(64)
        receipt = Reindex(rag.catalog, Renamed(embedder, 32, 4), embedder, embedder.fingerprint).run()
        assert (receipt.embedded, receipt.reused, receipt.rechunked) == (0, receipt.chunks, 0)
        assert embedder.texts == []
        assert rag.catalog.chunked_by() == "renamed"


@pytest.mark.parametrize("settings", [OLD, CUT])
def test_documents_of_two_chunkers_are_made_one_by_either(
    settings: dict[str, Any], with_files: Path, docs: Path, tmp_path: Path
) -> None:
    pdfs.write(docs / "more.pdf", [pdfs.prose("warranty of the pump", 30)])
    with Rag.open(with_files, **CUT) as rag:
        assert rag.add([docs]).added == 1
    expected = made_anew(tmp_path / "anew", docs, settings)
    with Rag.open(with_files, **settings) as rag:
        receipt = rag.reindex()
        assert receipt.rechunked == (1 if settings is OLD else 2)
        assert contents(rag.catalog) == expected
        assert rag.reindex() == Reindexed()


def test_a_chunker_without_a_fingerprint_is_known_by_its_class() -> None:
    class Mine:
        def chunk(self, document: Any) -> list[Any]:
            return []

    assert chunker_fingerprint(Mine()).endswith("Mine")
    ours = [TokenChunker(HashingEmbedder(), tokens, 4) for tokens in (32, 64)]
    assert len({chunker_fingerprint(chunker) for chunker in ours}) == 2


# -- the command -----------------------------------------------------------------------------------------------------


def command(library: Path, *arguments: str, embedder: str = "hashing") -> subprocess.Popen[str]:
    Path("ragapp.toml").write_text(
        f'[chunker]\ntokens = 32\noverlap = 4\n[embedder]\nname = "{embedder}"\nwidth = 96\n'
    )
    return subprocess.Popen(
        [sys.executable, "-m", "ragapp", "reindex", "--library", str(library), *arguments],
        env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_command_gives_a_receipt_and_then_has_nothing_to_do(library: Path) -> None:
    out, talk = command(library, "--json").communicate(timeout=60)
    receipt = json.loads(out)
    assert receipt.keys() == {"documents", "rechunked", "chunks", "embedded", "reused", "seconds"}, talk
    assert (receipt["documents"], receipt["rechunked"]) == (5, 0)
    out, _ = command(library).communicate(timeout=60)
    assert out == "Nothing to do: the library was made with these settings.\n"


def test_ctrl_c_stops_the_command_and_the_next_goes_on(library: Path, in_folder: Path) -> None:
    (in_folder / "slow.py").write_text(
        "import time\nfrom ragapp.testing import HashingEmbedder\n"
        "class Slow(HashingEmbedder):\n"
        "    def embed_documents(self, texts):\n        time.sleep(30)\n        return super().embed_documents(texts)\n"
    )
    before = answers(library, **OLD)
    with command(library, "--json-events", embedder="slow:Slow") as slow:
        assert slow.stdout is not None
        assert slow.stderr is not None
        assert json.loads(slow.stdout.readline())["file"].endswith(".pdf")
        slow.send_signal(signal.SIGINT)
        assert "goes on" in slow.stderr.read()
        assert slow.wait(20) == 130
    assert answers(library, **OLD) == before
    out, talk = command(library).communicate(timeout=60)
    assert out.startswith("5 documents, 0 cut anew; "), talk
