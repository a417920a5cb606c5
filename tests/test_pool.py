"""Workers that read ahead, and the thread that writes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ragapp.ingest.pool import Pool
from ragapp.ingest.reading import ReadingProcess, Settings
from ragapp.ingest.report import Progress, page_ranges
from ragapp.ingest.scan import Source
from ragapp.ingest.writer import Writer
from tests.libraries import child_environment

SOURCES = [Source(Path(f"/docs/{n}.pdf"), f"file:///docs/{n}.pdf", f"{n}.pdf", 1, 1) for n in range(12)]


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadingProcess, "start", lambda self: None)


def taken(pool: Pool[str]) -> list[str]:
    found = []
    while (item := pool.take(wait=True)) is not None:
        found.append(item[1])
    return found


def test_every_source_is_read_once() -> None:
    pool = Pool(lambda process, source: source.name, SOURCES, Settings(), 3)
    with pool.open():
        assert sorted(taken(pool)) == sorted(source.name for source in SOURCES)


def test_one_worker_is_enough_while_nobody_waits() -> None:
    readers: set[str] = set()

    def read(process: ReadingProcess, source: Source) -> str:
        readers.add(str(threading.get_ident()))
        return source.name

    pool = Pool(read, SOURCES, Settings(), 4)
    with pool.open():
        taken(pool)
    assert len(readers) == 1


def test_more_workers_come_when_reading_is_slow() -> None:
    at_once: list[int] = []
    lock = threading.Lock()
    busy = [0]

    def read(process: ReadingProcess, source: Source) -> str:
        with lock:
            busy[0] += 1
            at_once.append(busy[0])
        time.sleep(0.5)
        with lock:
            busy[0] -= 1
        return source.name

    pool = Pool(read, SOURCES[:6], Settings(), 2)
    with pool.open():
        assert len(taken(pool)) == 6
    assert max(at_once) == 2


def test_an_error_of_a_reader_reaches_who_takes() -> None:
    def read(process: ReadingProcess, source: Source) -> str:
        raise KeyboardInterrupt

    pool = Pool(read, SOURCES, Settings(), 1)
    with pool.open(), pytest.raises(KeyboardInterrupt):
        pool.take(wait=True)


def test_leaving_early_ends_the_readers() -> None:
    pool = Pool(lambda process, source: source.name, SOURCES, Settings(), 2)
    with pool.open():
        pool.take(wait=True)
    assert not [thread for thread in threading.enumerate() if thread.name == "ragapp-read"]


def test_the_writer_keeps_the_order() -> None:
    done: list[int] = []
    with Writer(ahead=2) as writer:
        for n in range(20):
            writer.put(lambda n=n: done.append(n))  # type: ignore[misc]
    assert done == list(range(20))


def test_an_error_of_the_writer_is_raised_and_nothing_is_called_after_it() -> None:
    done: list[int] = []

    def broken() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), Writer() as writer:  # noqa: PT012
        writer.put(broken)
        for n in range(100):
            writer.put(lambda n=n: done.append(n))  # type: ignore[misc]
    assert done == []


def test_a_block_left_by_an_error_drops_what_waits() -> None:
    done: list[int] = []
    gate = threading.Event()
    with pytest.raises(ZeroDivisionError), Writer() as writer:  # noqa: PT012
        writer.put(lambda: done.append(0) if gate.wait(5) else None)
        writer.put(lambda: done.append(1))
        threading.Timer(0.2, gate.set).start()
        raise ZeroDivisionError
    assert done in ([0], [])


def test_page_ranges() -> None:
    assert page_ranges([]) == ""
    assert page_ranges([3]) == "3"
    assert page_ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"


def test_time_left_is_by_bytes() -> None:
    assert Progress("a", "embed", 1, 4, 0, 0, 10, 0, 400, 2.0).seconds_left is None
    assert Progress("a", "embed", 1, 4, 0, 0, 10, 100, 400, 2.0).seconds_left == 6.0
    assert Progress("a", "embed", 1, 4, 6, 9, 10, 100, 400, 2.0).pages_per_second == 8.0


PRESSED = """
import random, signal, sys
from pathlib import Path
from ragapp.ingest import pool as pools
from ragapp.ingest.pool import Pool
from ragapp.ingest.reading import ReadingProcess, Settings
from ragapp.ingest.scan import Source
from ragapp.ingest.writer import Writer

pools.HUNGER = 0.0001  # so that workers are started all the time
SOURCES = [Source(Path("a"), "a", "a", 1, 1)] * 5000
ReadingProcess.start = lambda self: None

def press(*_):
    raise KeyboardInterrupt

def writing():
    signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-5, 1e-3))
    with Writer() as writer:
        for _ in range(20_000):
            writer.put(lambda: None)

def reading():
    pool = Pool(lambda process, source: source.name, SOURCES, Settings(), 16)
    signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-5, 2e-3))
    with pool.open():
        while pool.take(wait=True):
            pass

signal.signal(signal.SIGALRM, press)
moments = random.Random(0)
for _ in range(1500):
    for work in (writing, reading):
        try:
            work()
        except KeyboardInterrupt:
            pass
print("all ended")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
def test_ctrl_c_in_any_line_ends_both() -> None:
    """With a queue.Queue in either, one of the first few hundred presses leaves it standing still for ever.

    Python drops an interruption in a weak reference's callback, with a word on standard error; the work goes on then.
    """
    command = [sys.executable, "-c", PRESSED]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=90, check=False)
    assert (done.stdout, done.returncode) == ("all ended\n", 0), done.stderr
