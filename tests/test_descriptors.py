"""Reading a library's files must not cost the process its locks on them: what another process then writes was lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragapp import descriptors
from ragapp.rag import Rag
from tests.libraries import child_environment

HASHING = ("--set", "embedder.name=hashing")


def ingest_elsewhere(library: Path, file: Path) -> None:
    command = [sys.executable, "-m", "ragapp", "ingest", str(file), "--library", str(library), *HASHING]
    subprocess.run(command, check=True, capture_output=True, env=child_environment(), timeout=60)


def note(folder: Path, number: int) -> Path:
    file = folder / f"note {number}.txt"
    file.write_text(f"The number of thing {number} is 4{number}.", encoding="utf-8")
    return file


def connect_twice(rag: Rag) -> None:
    """Two reads at once want a second connection, which is looked at before it is opened."""
    with rag.catalog._reading() as one, rag.catalog._reading() as other:
        for db in (one, other):
            db.execute("SELECT count(*) FROM files").fetchone()


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_what_another_process_ingests_stays_beside_an_open_library(tmp_path: Path) -> None:
    notes = [note(tmp_path, number) for number in range(5)]
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        rag.add([notes[0]])
        connect_twice(rag)
        ingest_elsewhere(tmp_path / "library", notes[1])
        assert (tmp_path / "library" / "library.sqlite-wal").exists(), "the other one must not believe itself alone"
        rag.add([notes[2]])
        ingest_elsewhere(tmp_path / "library", notes[3])
        rag.add([notes[4]])
        assert [entry.document for entry in rag.documents()] == [file.name for file in notes]
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        assert [entry.document for entry in rag.documents()] == [file.name for file in notes]
        assert list(rag.doctor()) == []


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_removal_looks_for_traces_and_keeps_the_locks(tmp_path: Path) -> None:
    notes = [note(tmp_path, number) for number in range(4)]
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        rag.add(notes[:2])
        rag.remove(notes[0].name)
        ingest_elsewhere(tmp_path / "library", notes[2])
        assert (tmp_path / "library" / "library.sqlite-wal").exists()
        rag.add([notes[3]])
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        assert [entry.document for entry in rag.documents()] == [file.name for file in notes[1:]]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_descriptors_are_used_again_and_closed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    path.write_bytes(b"SQLite format 3\0")

    def is_open() -> int:
        links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
        return sum(os.path.realpath(link) == os.path.realpath(path) for link in links)

    with descriptors.reading(path) as file:
        assert file.read() == b"SQLite format 3\0"
    assert is_open() == 0, "nobody holds it"
    name = descriptors.hold(path)
    for _ in range(5):
        with descriptors.reading(path) as file:
            assert file.read(6) == b"SQLite"
    assert is_open() == 1
    other = tmp_path / "other"
    other.write_bytes(b"another file")
    os.replace(other, path)
    with descriptors.reading(path) as file:
        assert file.read() == b"another file"
    descriptors.release(name)
    assert is_open() == 0
