"""The desk: changes, readers beside writers, several processes, and files that are not well."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ragapp import desk as room
from ragapp.desk import DESK, Desk
from ragapp.errors import LibraryError, LibraryLocked
from tests.libraries import child_environment

NOTES = ("CREATE TABLE IF NOT EXISTS notes (text TEXT)",)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(Desk(tmp_path)) as made:
        made.make(NOTES)
        yield made


def texts(desk: Desk) -> list[str]:
    return [row["text"] for row in desk.rows("SELECT text FROM notes ORDER BY rowid")]


def everything_in(folder: Path) -> bytes:
    """All bytes of the desk's files: the file itself, its log, and what goes with it."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob(f"{DESK}*")))


def test_what_is_written_is_there_for_the_next(tmp_path: Path) -> None:
    with closing(Desk(tmp_path)) as desk:
        assert desk.lasting
        desk.make(NOTES)
        assert desk.execute("INSERT INTO notes VALUES (?)", "a") == 1
    with closing(Desk(tmp_path)) as desk:
        desk.make(NOTES)
        assert texts(desk) == ["a"]
        assert desk.row("SELECT text FROM notes WHERE text = ?", "b") is None


def test_a_change_is_made_whole_or_not_at_all(desk: Desk) -> None:
    def fail() -> None:
        with desk.change() as db:
            db.execute("INSERT INTO notes VALUES ('half')")
            assert texts(desk) == ["half"]  # it sees its own
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert texts(desk) == []
    with desk.change() as db:
        db.execute("INSERT INTO notes VALUES ('whole')")
    assert texts(desk) == ["whole"]


def test_readers_do_not_wait_for_a_change(desk: Desk) -> None:
    seen: list[list[str]] = []
    with desk.change() as db:
        db.execute("INSERT INTO notes VALUES ('not yet')")
        reader = threading.Thread(target=lambda: seen.append(texts(desk)))
        reader.start()
        reader.join(5)
    assert seen == [[]]
    assert texts(desk) == ["not yet"]


def test_a_folder_that_cannot_be_written_gives_a_desk_that_does_not_last(tmp_path: Path) -> None:
    with closing(Desk(tmp_path / "nothing here")) as desk:
        assert not desk.lasting
        desk.make(NOTES)
        desk.execute("INSERT INTO notes VALUES ('a')")
        with desk.erasing() as db:
            db.execute("INSERT INTO notes VALUES ('b')")
        assert texts(desk) == ["a", "b"]
    assert not (tmp_path / "nothing here").exists()


def test_what_is_erased_leaves_no_byte(desk: Desk, tmp_path: Path) -> None:
    for number in range(300):
        desk.execute("INSERT INTO notes VALUES (?)", f"secret-{number} " + "filling " * 40)
    assert b"secret-7 " in everything_in(tmp_path)
    with desk.erasing() as db:
        db.execute("DELETE FROM notes WHERE rowid != 10")
    left = everything_in(tmp_path)
    assert b"secret-9 " in left
    assert not [number for number in range(300) if number != 9 and f"secret-{number} ".encode() in left]


def test_what_is_erased_leaves_no_room(desk: Desk, tmp_path: Path) -> None:
    for number in range(300):
        desk.execute("INSERT INTO notes VALUES (?)", f"{number} " * 200)
    with desk.erasing() as db:
        db.execute("DELETE FROM notes")
    assert sum(path.stat().st_size for path in tmp_path.glob(f"{DESK}*")) < 100_000


def test_a_quick_deletion_is_scrubbed_by_the_next(tmp_path: Path) -> None:
    with closing(Desk(tmp_path)) as desk:
        desk.make(NOTES)
        for number in range(300):
            desk.execute("INSERT INTO notes VALUES (?)", f"a secret {number} " * 200)
        with desk.erasing(fully=False) as db:
            db.execute("DELETE FROM notes")
        assert b"a secret" not in everything_in(tmp_path)
        assert len(everything_in(tmp_path)) > 500_000
    with closing(Desk(tmp_path)) as desk:
        assert len(everything_in(tmp_path)) < 100_000
        assert desk.rows("SELECT * FROM desk_owes") == []


def test_what_could_not_be_scrubbed_is_scrubbed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BUSY_S", 0.05)
    with closing(Desk(tmp_path)) as desk, closing(sqlite3.connect(tmp_path / DESK, isolation_level=None)) as other:
        desk.make(NOTES)
        desk.execute("INSERT INTO notes VALUES (?)", "a secret " * 30)
        other.execute("BEGIN")
        assert len(other.execute("SELECT * FROM notes").fetchall()) == 1

        def erase() -> None:
            with desk.erasing() as db:
                db.execute("DELETE FROM notes")

        with pytest.raises(LibraryLocked, match="It is deleted"):
            erase()
        assert texts(desk) == []
        assert b"a secret" in everything_in(tmp_path)
        other.execute("COMMIT")
    with closing(Desk(tmp_path)) as desk:
        assert b"a secret" not in everything_in(tmp_path)
        assert desk.rows("SELECT * FROM desk_owes") == []


def test_a_process_that_dies_before_it_scrubbed_leaves_it_to_the_next(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom ragapp.desk import Desk\n"
        "desk = Desk(Path(sys.argv[1]))\ndesk.make(['CREATE TABLE notes (text TEXT)'])\n"
        "desk.execute('INSERT INTO notes VALUES (?)', 'a secret ' * 30)\ndesk.scrub = lambda: os._exit(9)\n"
        "with desk.erasing() as db:\n    db.execute('DELETE FROM notes')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], env=child_environment(), check=False)
    assert done.returncode == 9
    with closing(Desk(tmp_path)) as desk:
        assert desk.rows("SELECT * FROM notes") == []
        assert b"a secret" not in everything_in(tmp_path)


def test_many_processes_make_and_write_one_desk(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom ragapp.desk import Desk\ndesk = Desk(Path(sys.argv[1]))\n"
        "desk.make(['CREATE TABLE IF NOT EXISTS notes (text TEXT)'])\n"
        "for number in range(20):\n    desk.execute('INSERT INTO notes VALUES (?)', f'{sys.argv[2]}-{number}')\n"
        "    desk.rows('SELECT * FROM notes')\ndesk.close()\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", program, tmp_path, str(n)], env=child_environment())
        for n in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    with closing(Desk(tmp_path)) as desk:
        assert len(set(texts(desk))) == 80


def test_a_lock_that_lasts_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BUSY_S", 0.05)
    with closing(Desk(tmp_path)) as desk, closing(sqlite3.connect(tmp_path / DESK, isolation_level=None)) as other:
        desk.make(NOTES)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LibraryLocked):
            desk.execute("INSERT INTO notes VALUES ('a')")
        other.execute("ROLLBACK")
        desk.execute("INSERT INTO notes VALUES ('a')")


def test_a_desk_that_somebody_reads_while_its_log_is_begun_is_waited_for(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / DESK, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE notes (text TEXT)")  # with a journal of the old kind
        other.execute("BEGIN")
        other.execute("SELECT * FROM notes").fetchall()
        later = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        later.start()
        with closing(Desk(tmp_path)) as desk:
            assert texts(desk) == []
        later.join()


def test_a_file_that_is_no_desk_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / DESK).write_bytes(b"oops" * 5000)
    with pytest.raises(LibraryError, match="cannot be used") as caught:
        Desk(tmp_path)
    assert "move it away" in caught.value.hint


def test_a_closed_desk_is_said_to_be_closed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.make(NOTES)
    texts(desk)
    desk.close()
    desk.close()
    for use in (lambda: texts(desk), lambda: desk.execute("DELETE FROM notes"), desk.scrub):
        with pytest.raises(LibraryError, match="closed"):
            use()


def opened(folder: Path) -> list[str]:
    """The files in a folder that this process holds open, each as often as it does."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.append(os.readlink(path))
    return [name for name in found if name.startswith(str(folder))]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs a list of open files")
def test_no_file_stays_open(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.make(NOTES)
    threads = [threading.Thread(target=lambda: [texts(desk) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened(tmp_path)
    desk.close()
    assert opened(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs a list of open files")
def test_who_still_reads_when_it_is_closed_leaves_no_file_open_either(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.make(NOTES)
    before = len(opened(tmp_path))
    long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) FROM n"
    readers = [threading.Thread(target=desk.rows, args=(long,)) for _ in range(2)]
    for reader in readers:
        reader.start()
    while len(opened(tmp_path)) <= before and any(reader.is_alive() for reader in readers):
        time.sleep(0.001)
    desk.close()
    for reader in readers:
        reader.join()
    assert opened(tmp_path) == []
