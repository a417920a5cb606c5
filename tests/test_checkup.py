"""The doctor: every planted damage is found and said, what can be mended is mended, what cannot is named."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ragapp import Rag
from ragapp.catalog import Catalog
from ragapp.checkup import Checkup
from ragapp.config import load
from ragapp.errors import LibraryError, LibraryLocked, LibraryNewer, NotFound
from ragapp.mending import mend
from ragapp.salvage import frames
from ragapp.schema import PAGE_BYTES
from ragapp.store import locked
from tests.faults.small import CONFIG, DOCUMENTS, answers, build, held

FLIPS = 24

Right = tuple[list[Any], dict[str, Any]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "library"
    build(folder)
    return folder


@pytest.fixture(scope="module")
def right(whole: Path) -> Right:
    """What the library answers, and what it holds."""
    return answers(whole), held(whole)


@pytest.fixture
def library(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "library"))


def doctor(folder: Path, *, check: bool = False) -> Checkup:
    return mend(folder, CONFIG, check=check)


def sql(folder: Path, *statements: str) -> None:
    """Do something behind ragapp's back, and leave no log."""
    db = sqlite3.connect(folder / "library.sqlite", isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def cache_file(folder: Path, kind: str) -> Path:
    (cache,) = (folder / "cache").glob(f"{kind}-*")
    return max((path for path in cache.iterdir() if path.name != "mark.json"), key=lambda path: path.stat().st_size)


def flip(path: Path, at: int, mask: int = 0x41) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    path.write_bytes(data)


def orphan_vector(folder: Path) -> None:
    catalog = Catalog(folder)
    ids, rows = catalog.chunk_vectors(catalog.embedder() or "", [1])
    assert len(ids) == 1
    catalog.keep_vectors({b"nobody's": rows[0]}, catalog.embedder() or "")
    catalog.close()


def stopped_removal(folder: Path) -> None:
    catalog = Catalog(folder)
    catalog.erase([])
    catalog.close()


PUMP, BOATS = DOCUMENTS["pump.pdf"].id, DOCUMENTS["deep/boats.pdf"].id
FIRST = f"(SELECT min(id) FROM chunks WHERE document_id = '{PUMP}')"

# Each with a piece of what must be said; all of it can be mended without losing a document.
MENDABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "FAISS altered": (lambda f: flip(cache_file(f, "vectors"), 100), "does not match its checksums"),
    "FAISS shorter": (lambda f: cache_file(f, "vectors").write_bytes(b"x"), "does not match its checksums"),
    "FAISS deleted": (lambda f: cache_file(f, "vectors").unlink(), "does not match its checksums"),
    "vectors cache deleted": (lambda f: shutil.rmtree(cache_file(f, "vectors").parent), "There is no vectors cache"),
    "tantivy altered": (lambda f: flip(cache_file(f, "lexicon"), 20), "does not match its checksums"),
    "tantivy deleted": (lambda f: cache_file(f, "lexicon").unlink(), "does not match its checksums"),
    "tantivy extra": (
        lambda f: (cache_file(f, "lexicon").parent / "more.idx").write_text("x"), "does not match its checksums"
    ),
    "lexicon deleted": (lambda f: shutil.rmtree(cache_file(f, "lexicon").parent), "There is no lexicon cache"),
    "mark altered": (
        lambda f: (cache_file(f, "vectors").parent / "mark.json").write_text("{}"), "does not match its checksums"
    ),
    "mark deleted": (lambda f: (cache_file(f, "lexicon").parent / "mark.json").unlink(), "not match its checksums"),
    "cache of another library": (
        lambda f: cache_file(f, "vectors").parent.rename(f / "cache" / f"vectors-9999-{'ab' * 8}"), "another library"
    ),
    "strange cache": (lambda f: (f / "cache" / "vectors-strange").mkdir(), "does not match its checksums"),
    "making folder": (lambda f: (f / "cache" / ".making-vectors-x").mkdir(), "was left behind"),
    "import folder": (lambda f: (f / ".import-abc").mkdir(), "was left behind"),
    "draft": (lambda f: sql(f, "INSERT INTO drafts VALUES ('d', 1, x'00', 1)"), "drafts of pages were left"),
    "orphan vector": (
        lambda f: sql(f, "INSERT INTO vectors SELECT x'00', embedder, vector, crc FROM vectors LIMIT 1"),
        "1 vectors are damaged",
    ),
    "lawful orphan": (
        orphan_vector, "1 vectors belong to no chunk"
    ),
    "removal not ended": (
        stopped_removal, "A removal was stopped"
    ),
    "chunk text": (lambda f: sql(f, f"UPDATE chunks SET text = 'X' || substr(text, 2) WHERE id = {FIRST}"), "pump.pdf"),
    "page text": (
        lambda f: sql(f, f"UPDATE pages SET text = 'X' || substr(text, 2) WHERE document_id = '{PUMP}' AND number = 2"),
        "pump.pdf: page 2 does not match its checksum",
    ),
    "vector altered": (
        lambda f: sql(f, "UPDATE vectors SET vector = zeroblob(128) WHERE rowid_ = 1".replace(
            "rowid_ = 1", "hash = (SELECT min(hash) FROM vectors)")),
        "1 vectors are damaged",
    ),
    "vector short": (
        lambda f: sql(f, "UPDATE vectors SET vector = x'00' WHERE hash = (SELECT max(hash) FROM vectors)"),
        "1 vectors are damaged",
    ),
    "vector deleted": (
        lambda f: sql(f, "DELETE FROM vectors WHERE hash = (SELECT max(hash) FROM vectors)"), "has no vector"
    ),
    "file name": (
        lambda f: sql(f, "UPDATE files SET name = 'pumq.pdf' WHERE name = 'pump.pdf'"), "1 rows of files do not match"
    ),
    "file of another document": (
        lambda f: sql(f, "UPDATE files SET document_id = 'nowhere' WHERE name = 'pump.pdf'"), "nowhere, which is gone"
    ),
    "embedder": (lambda f: sql(f, "UPDATE meta SET value = 'x' WHERE key = 'embedder'"), "(meta)"),
    "no meta": (lambda f: sql(f, "DELETE FROM meta"), "has lost what it says about itself"),
    "stamp": (lambda f: sql(f, "UPDATE generations SET stamp = 'x'"), "(generations) is damaged"),
    "no generations": (lambda f: sql(f, "DELETE FROM generations"), "(generations) is damaged"),
    "sequence": (lambda f: sql(f, "UPDATE sqlite_sequence SET seq = 1"), "number of the last chunk"),
    "version": (lambda f: sql(f, "PRAGMA user_version = 99"), "damaged header"),
    "application": (lambda f: sql(f, "PRAGMA application_id = 7"), "damaged header"),
    "magic": (lambda f: flip(f / "library.sqlite", 3), "cannot be read"),
    "write version": (lambda f: flip(f / "library.sqlite", 18), "damaged header"),
    "page size": (lambda f: flip(f / "library.sqlite", 16), "cannot be read"),
    "index dropped": (lambda f: sql(f, "DROP INDEX chunks_by_hash"), "chunks_by_hash is not as ragapp made it"),
    "foreign table": (lambda f: sql(f, "CREATE TABLE theirs (x)"), "theirs is not as ragapp made it"),
    "log is garbage": (lambda f: (f / "library.sqlite-wal").write_bytes(b"garbage " * 900), "write-ahead log"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MENDABLE)
def test_damage_is_found_said_and_mended(kind: str, library: Path, right: Right) -> None:
    plant, said = MENDABLE[kind]
    plant(library)
    before = doctor(library, check=True) if kind != "log is garbage" else None
    found = doctor(library)
    assert before is None or (before.findings == found.findings and not before.mended)
    assert any(said in line for line in found.findings), found.findings
    assert found.mended
    assert found.lost == ()
    again = doctor(library)
    assert (again.findings, again.mended, again.documents) == ((), (), len(DOCUMENTS))
    assert answers(library) == right[0]
    assert held(library) == right[1]


LOSSES: dict[str, tuple[Callable[[Path], object], str, set[str]]] = {
    "chunk deleted": (lambda f: sql(f, f"DELETE FROM chunks WHERE id = {FIRST}"), "chunks instead of", {"pump.pdf"}),
    "page deleted": (
        lambda f: sql(f, f"DELETE FROM pages WHERE document_id = '{PUMP}' AND number = 1"), "1 pages", {"pump.pdf"}
    ),
    "chunk moved": (
        lambda f: sql(f, f"UPDATE chunks SET start = start + 1 WHERE id = {FIRST}"), "does not match", {"pump.pdf"}
    ),
    "header altered": (
        lambda f: sql(f, f"UPDATE chunks SET header = 'x' WHERE id = {FIRST}"), "does not match", {"pump.pdf"}
    ),
    "title altered": (
        lambda f: sql(f, f"UPDATE documents SET title = 'x' WHERE id = '{PUMP}'"), "stored about it", {"pump.pdf"}
    ),
    "layout altered": (
        lambda f: sql(f, f"UPDATE pages SET layout = x'00' WHERE document_id = '{BOATS}' AND number = 1"),
        "page 1 does not match", {"deep/boats.pdf"},
    ),
    "quality altered": (
        lambda f: sql(f, f"UPDATE pages SET quality = 'good' WHERE document_id = '{BOATS}' AND number = 1"),
        "page 1 does not match", {"deep/boats.pdf"},
    ),
    "table altered": (lambda f: sql(f, "UPDATE tables SET title = 'x'"), "table 0 does not match", {"deep/boats.pdf"}),
    "table deleted": (lambda f: sql(f, "DELETE FROM tables"), "0 tables instead of 1", {"deep/boats.pdf"}),
    "heading altered": (lambda f: sql(f, "UPDATE headings SET level = 2"), "heading 0 does not", {"pump.pdf"}),
    "heading deleted": (lambda f: sql(f, "DELETE FROM headings"), "0 headings instead of 1", {"pump.pdf"}),
    "document deleted": (
        lambda f: sql(f, f"DELETE FROM documents WHERE id = '{PUMP}'"), "gone", {"pump.pdf"}
    ),
    "file deleted": (
        lambda f: sql(f, "DELETE FROM files WHERE name = 'pump.pdf'"), "belongs to no file", {"Pump manual"}
    ),
    "cut off": (lambda f: cut(f, 0.5), "", set()),
    "empty": (lambda f: (f / "library.sqlite").write_bytes(b""), "missing or empty", set()),
    "gone": (lambda f: (f / "library.sqlite").unlink(), "missing or empty", set()),
    "no database": (lambda f: (f / "library.sqlite").write_bytes(b"hello " * 999), "cannot be read", set()),
}  # fmt: skip


def cut(folder: Path, part: float) -> None:
    path = folder / "library.sqlite"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part) // 4096 * 4096 + 100])


@pytest.mark.parametrize("kind", LOSSES)
def test_what_cannot_be_mended_is_named_and_the_rest_stays(kind: str, library: Path, right: Right) -> None:
    plant, said, lost = LOSSES[kind]
    plant(library)
    found = doctor(library)
    assert any(said in line for line in found.findings), found.findings
    if lost:
        assert set(found.lost) == lost
        assert any("ingest these again" in line and min(lost) in line for line in found.mended)
        assert held(library) == {name: value for name, value in right[1].items() if name not in (lost | {"pump.pdf"} if
            "Pump manual" in lost else lost)}  # fmt: skip
    assert held(library).items() <= right[1].items()
    again = doctor(library)
    assert (again.findings, again.mended) == ((), ())
    answers(library)


def test_a_file_that_cannot_be_read_is_salvaged_and_kept(library: Path, right: Right) -> None:
    damaged = bytearray((library / "library.sqlite").read_bytes())
    damaged[:100] = b"\xff" * 100
    (library / "library.sqlite").write_bytes(damaged)
    with pytest.raises(LibraryError, match="damaged") as caught:
        answers(library)
    assert "ragapp doctor" in caught.value.hint
    found = doctor(library)
    (kept,) = library.glob("library.sqlite.damaged-*")
    assert kept.read_bytes() == damaged
    assert any(kept.name in line and "still holds text" in line for line in found.mended)
    assert held(library) == right[1]
    later = doctor(library)
    assert later.well
    assert any(str(kept) in line for line in later.notes)
    kept.unlink()
    assert doctor(library).notes == ()


def without_a_head(library: Path, copy: Path) -> Path:
    """A copy as a dying process leaves it, log and all, of which SQLite cannot read the first page."""
    shutil.copytree(library, copy)
    path, log = copy / "library.sqlite", copy / "library.sqlite-wal"
    assert log.stat().st_size
    path.write_bytes(b"broken" + path.read_bytes()[6:])
    logged = bytearray(log.read_bytes())
    for number, at in frames(log, PAGE_BYTES):
        if number == 1:
            logged[at : at + 6] = b"broken"
    log.write_bytes(logged)
    return copy


def test_what_only_the_log_holds_is_salvaged_too(library: Path, tmp_path: Path, right: Right) -> None:
    catalog = Catalog(library)
    catalog.drop(["file:///docs/fruit.pdf"])
    copy = without_a_head(library, tmp_path / "copy")
    catalog.close()
    with pytest.raises(LibraryError, match="damaged"):
        held(copy)
    doctor(copy)
    assert held(copy) == {name: value for name, value in right[1].items() if name != "fruit.pdf"}
    assert len(list(copy.glob("library.sqlite.damaged-*"))) == 2, "the file and its log"
    assert doctor(copy).well


def test_the_old_log_is_not_played_into_the_new_file(library: Path, tmp_path: Path, right: Right) -> None:
    catalog = Catalog(library)
    catalog.set_embedder(catalog.embedder() or "")
    before = catalog.generation()
    copy = without_a_head(library, tmp_path / "copy")
    catalog.close()
    doctor(copy)
    mended = Catalog(copy)
    assert mended.generation().number > before.number
    assert mended.changes(before) is None, "the history begins anew"
    mended.close()
    assert held(copy) == right[1]


def test_rows_of_a_salvage_have_their_numbers(library: Path) -> None:
    """Chunk ids are never used again, also after a repair."""
    catalog = Catalog(library)
    last = int(max(catalog.chunk_ids()))
    catalog.close()
    flip(library / "library.sqlite", 3)
    doctor(library)
    catalog = Catalog(library)
    assert int(max(catalog.chunk_ids())) == last
    catalog.close()


def test_a_library_without_its_log_mode_gets_it_again(library: Path, right: Right) -> None:
    sql(library, "PRAGMA journal_mode = DELETE")
    begun = time.monotonic()
    assert doctor(library).well
    assert time.monotonic() - begun < 5, "it must not wait for the lock that it holds itself"
    assert (library / "library.sqlite").read_bytes()[18:20] == b"\2\2"
    assert answers(library) == right[0]


def test_vectors_are_not_made_by_another_embedder(library: Path) -> None:
    sql(library, "DELETE FROM vectors WHERE hash = (SELECT max(hash) FROM vectors)")
    other = load({"embedder.name": "hashing", "embedder.width": 16})
    found = mend(library, other)
    assert any("could not be mended" in line and "has no vector" in line for line in found.findings)
    assert doctor(library).mended
    assert doctor(library).well


def test_who_writes_is_not_disturbed(library: Path) -> None:
    with locked(library):
        with pytest.raises(LibraryLocked):
            doctor(library)
        (library / "cache" / ".making-vectors-x").mkdir()
        assert doctor(library, check=True).well, "it may be in use just now"
        with Rag.open(library, config=CONFIG) as rag:
            assert list(rag.doctor()) == []
    assert not doctor(library, check=True).well


def test_no_library_and_somebody_elses_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        doctor(tmp_path)
    db = sqlite3.connect(tmp_path / "library.sqlite")
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = (tmp_path / "library.sqlite").read_bytes()
    with pytest.raises(LibraryError, match="not a ragapp library"):
        doctor(tmp_path)
    assert (tmp_path / "library.sqlite").read_bytes() == before


def test_a_newer_library_is_left_alone(library: Path) -> None:
    sql(library, "PRAGMA user_version = 99", "CREATE TABLE novelty (x)")
    before = (library / "library.sqlite").read_bytes()
    with pytest.raises(LibraryNewer):
        doctor(library)
    assert (library / "library.sqlite").read_bytes() == before


@pytest.mark.parametrize("seed", range(FLIPS))
def test_a_flipped_byte_gives_the_right_answer_or_a_refusal(seed: int, library: Path, right: Right) -> None:
    chance = random.Random(seed)
    path = library / "library.sqlite"
    flip(path, chance.randrange(path.stat().st_size), 1 << chance.randrange(8))
    if seed % 2:
        shutil.rmtree(library / "cache")  # everything is read from the file
    with suppress(LibraryError):
        assert answers(library) == right[0]
    try:
        changed = held(library) != right[1]
    except LibraryError:
        changed = True
    found = doctor(library)
    assert found.findings or not changed
    assert held(library).items() <= right[1].items()
    assert set(right[1]) - set(held(library)) <= set(found.lost) or not found.well
    assert doctor(library).well
