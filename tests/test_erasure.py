"""Delete means gone: nothing of a removed document is left in any file of the library, and the receipt is true."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tantivy
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp import Rag, erasure
from ragapp.catalog import Catalog, text_hash
from ragapp.erasure import Needles
from ragapp.mending import mend
from ragapp.testing import document_of
from tests.faults.small import CONFIG, DOCUMENTS, answers, build, held
from tests.libraries import EMBEDDER, child_environment, chunks_of, open_catalog, put, row

SECRET = document_of(
    "Zanzibarquartz is mined at midnight by nobody. Nobody may know where it is mined.",
    "\n".join(f"Xylographer number {n} keeps the ledger {n * 7919}." for n in range(300)),
    name="secret.pdf", title="Zanzibarquartz ledger",
)  # fmt: skip
URI = row(SECRET, "secret.pdf").uri
CHUNKS = chunks_of(SECRET, "Zanzibarquartz ledger › mines")


def dense(seed: int) -> np.typing.NDArray[np.float32]:
    """A vector as real embedders give them: no two numbers alike."""
    made = np.random.default_rng(seed).standard_normal(32).astype(np.float32)
    return made / np.float32(np.linalg.norm(made))


VECTORS = {text_hash(chunk): dense(n) for n, chunk in enumerate(CHUNKS)}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    build(folder)
    catalog = open_catalog(folder)
    catalog.put(row(SECRET, "secret.pdf"), SECRET, CHUNKS, VECTORS, EMBEDDER.fingerprint)
    catalog.close()
    with Rag.open(folder, config=CONFIG) as rag:
        rag.search("xylographer")
    return folder


def everything(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def free_pages(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "library.sqlite")) as db:
        return int(db.execute("PRAGMA freelist_count").fetchone()[0])


def postings(folder: Path, word: str) -> int:
    """Chunks under a word in the published lexicon, those that are only marked as deleted among them."""
    (cache,) = (folder / "cache").glob("lexicon-*")
    return int(tantivy.Index.open(str(cache)).searcher().doc_freq("words", word))


def secrets() -> list[bytes]:
    """What must not be found: text, title, name, rare words as tantivy keeps them, and the numbers of the vectors."""
    found = [b"Zanzibarquartz", b"zanzibarquartz", b"secret.pdf", b"ledger 7919", b"mined at midnight", b"zanzibar"]
    for vector in VECTORS.values():
        body = vector.astype("<f4").tobytes()
        found += [body[:32], body[-32:]]
    return found


def test_nothing_is_left_and_the_receipt_says_so(library: Path) -> None:
    assert all(one in everything(library) for one in (b"Zanzibarquartz", b"secret.pdf", secrets()[-1]))
    others = {name: value for name, value in held(library).items() if name != "secret.pdf"}
    with Rag.open(library, config=CONFIG) as rag:
        receipt = rag.remove("secret.pdf")
        body = everything(library)
        assert [one for one in secrets() if one in body] == []
    assert [entry.document for entry in receipt.documents] == ["secret.pdf"]
    assert (receipt.pages, receipt.chunks, receipt.vectors) == (2, 2, 2)
    assert (receipt.traces, receipt.findings) == (0, ())
    assert receipt.needles > 300
    files = [path for path in library.rglob("*") if path.is_file()]
    assert receipt.files_scanned >= len(files) - 2  # the log and its index go with the last connection
    assert receipt.bytes_scanned >= (library / "library.sqlite").stat().st_size
    assert held(library) == others
    assert mend(library, CONFIG).well


def test_nothing_is_left_after_years_of_changes(tmp_path: Path) -> None:
    """Pages that SQLite has moved about, vectors that were kept ahead, drafts, caches that followed."""
    folder = tmp_path / "library"
    catalog = open_catalog(folder)
    chance = random.Random(5)
    for n in range(60):
        text = "\n".join(f"Fact {chance.randrange(10**9)} about thing {n}." for _ in range(chance.randrange(5, 90)))
        put(catalog, document_of(text, name=f"{n % 25}.pdf"), f"{n % 25}.pdf")
        if n == 30:
            put(catalog, SECRET, "secret.pdf")
            catalog.keep_draft(SECRET.id, 1, b"Zanzibarquartz in a draft")
            catalog.keep_vectors({b"x": EMBEDDER.embed_query("mined at midnight")}, EMBEDDER.fingerprint)
    catalog.close()
    with Rag.open(folder, config=CONFIG) as rag:
        rag.search("fact")
        receipt = rag.forget([URI])
        body = everything(folder)
    assert receipt.traces == 0
    assert [one for one in secrets() if one in body] == []
    assert b"mined at midnight" not in body
    assert free_pages(folder) == 0, "the file is written anew, not only its rows deleted"
    assert postings(folder, "zanzibarquartz") == 0
    assert postings(folder, "fact") > 0


def test_what_another_document_says_too_is_no_trace(library: Path) -> None:
    twin = document_of("Zanzibarquartz is mined at midnight by nobody.", "Else.", name="twin.pdf", title=SECRET.title)
    catalog = Catalog(library)
    put(catalog, twin, "twin.pdf", header="Zanzibarquartz ledger › mines")
    catalog.close()
    with Rag.open(library, config=CONFIG) as rag:
        receipt = rag.forget([URI])
        assert receipt.traces == 0
        assert b"Zanzibarquartz" in everything(library)
        assert rag.search("zanzibarquartz")[0].document == "twin.pdf"


def test_one_of_two_names_goes_alone(library: Path) -> None:
    catalog = Catalog(library)
    catalog.alias(row(SECRET, "another-name.pdf"))
    catalog.close()
    with Rag.open(library, config=CONFIG) as rag:
        receipt = rag.remove("secret.pdf")
        assert (receipt.chunks, receipt.vectors, receipt.traces) == (0, 0, 0)
        assert b"secret.pdf" not in everything(library)
        assert rag.search("xylographer")[0].document == "another-name.pdf"


@pytest.mark.parametrize("kind", ["file", "log", "damaged copy", "cache"])
def test_a_trace_is_found_wherever_it_is(kind: str, library: Path) -> None:
    place = {
        "file": library / "cache" / "stray", "log": library / "error.log",
        "damaged copy": library / "library.sqlite.damaged-20200101T000000", "cache": library / "deep" / "er" / "x",
    }[kind]  # fmt: skip
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(os.urandom(4099) + b"Nobody may know where it is mined." + os.urandom(77))
    with Rag.open(library, config=CONFIG) as rag:
        receipt = rag.forget([URI])
    assert receipt.traces == 1
    assert "1 traces" in receipt.findings[0]


def test_traces_of_vectors_are_found(library: Path) -> None:
    catalog = Catalog(library)
    keys = [chunk.id for chunk in catalog.chunks_of(SECRET.id)]
    _, rows = catalog.chunk_vectors(EMBEDDER.fingerprint, keys)
    catalog.close()
    (library / "stray").write_bytes(b"xyz" + rows[0].astype("<f4").tobytes())
    with Rag.open(library, config=CONFIG) as rag:
        assert rag.forget([URI]).traces > 0


def test_a_reader_of_an_older_state_is_said(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps old pages in the file; as soon as it has ended, the doctor finishes the removal."""
    monkeypatch.setattr("ragapp.catalog.REWRITE_SECONDS", 0.2)
    reader = Catalog(library)
    with reader.snapshot():
        reader.generation()
        with Rag.open(library, config=CONFIG) as rag:
            receipt = rag.forget([URI])
    assert any("older state" in line for line in receipt.findings)
    assert receipt.traces > 0
    reader.close()
    found = mend(library, CONFIG)
    assert any("A removal was stopped" in line for line in found.findings)
    body = everything(library)
    assert [one for one in secrets() if one in body] == []
    assert mend(library, CONFIG).well


def test_a_killed_removal_is_finished_by_the_doctor(library: Path) -> None:
    code = (
        "import os, sys\nfrom ragapp import Rag\nfrom ragapp.catalog import Catalog\n"
        "from tests.faults.small import CONFIG\n"
        "Catalog.rewrite = lambda self: os.kill(os.getpid(), 9)\n"
        "Rag.open(sys.argv[1], config=CONFIG).remove('secret.pdf')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(library)], env=child_environment(), check=False)
    assert done.returncode == -9
    assert set(held(library)) == set(DOCUMENTS)
    assert not mend(library, CONFIG).well
    body = everything(library)
    assert [one for one in secrets() if one in body] == []
    answers(library)


def test_the_command_prints_the_receipt(library: Path) -> None:
    settings = ("--set", "embedder.name=hashing", "--set", "embedder.width=32", "--library", str(library))
    command = [sys.executable, "-m", "ragapp", "remove", "secret.pdf", *settings]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=child_environment(), check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["removed"], shown["pages"], shown["chunks"], shown["traces"]) == (["secret.pdf"], 2, 2, 0)
    assert shown["files_scanned"] > 3
    assert shown["bytes_scanned"] > 10_000
    command[4] = "fruit.pdf"
    told = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    assert "no trace of it is left" in told.stdout


# -- the search for many strings -------------------------------------------------------------------------------------

BODIES = st.binary(min_size=0, max_size=300)


@given(body=BODIES, picks=st.lists(st.tuples(st.integers(0, 299), st.integers(7, 60)), max_size=8), others=st.lists(
    st.binary(min_size=7, max_size=40), max_size=8))  # fmt: skip
@settings(max_examples=200)
def test_exactly_what_is_there_is_found(body: bytes, picks: list[tuple[int, int]], others: list[bytes]) -> None:
    wanted = [body[at : at + length] for at, length in picks] + others
    expected = {one for one in wanted if len(one) >= Needles.SHORTEST and one in body}
    assert Needles(wanted).in_bytes([body]) == expected


@pytest.mark.parametrize("length", [7, 8, 14, 15, 16, 22, 23, 24, 31, 64, 500])
def test_every_length_is_found_at_every_place(length: int, tmp_path: Path) -> None:
    needle = np.random.default_rng(length).bytes(length)
    needles = Needles([needle, b"something else entirely", b"nowhere"])
    for at in range(20):
        (tmp_path / "file").write_bytes(b"\0" * at + needle)
        assert needles.in_file(tmp_path / "file") == {needle}
        (tmp_path / "file").write_bytes(b"\0" * at + needle[:-1])
        assert needles.in_file(tmp_path / "file") == set()


def test_what_lies_across_the_border_of_two_slices_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "SLICE", 16)
    chance = np.random.default_rng(1)
    for length in (7, 15, 23, 40):
        body = chance.bytes(1000)
        for at in range(0, 950, 3):
            assert Needles([body[at : at + length]]).in_bytes([body]) == {body[at : at + length]}


def test_too_many_needles_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "MAX_NEEDLES", 100)
    kept = erasure._Thinned()
    for n in range(1000):
        kept.add(f"text number {n}")
    assert 50 <= len(kept.all) <= 100
    assert len({text[-3:-2] for text in kept.all}) > 5, "they come from all over"
