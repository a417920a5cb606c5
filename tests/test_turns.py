"""Who gets the machine next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from ragapp import turns as places
from ragapp.embedders import BuiltinEmbedder
from ragapp.turns import Rank, Turns


def _order(turns: Turns[str], ranks: Sequence[Rank]) -> list[tuple[Rank, int]]:
    """In which order those who come one after the other, while the machine is taken, are served."""
    served: list[tuple[Rank, int]] = []

    def come(rank: Rank, number: int) -> None:
        with turns.taken(rank):
            served.append((rank, number))

    threads = [threading.Thread(target=come, args=(rank, number)) for number, rank in enumerate(ranks)]
    with turns.taken(Rank.INGEST):
        for waiting, thread in enumerate(threads, 1):
            thread.start()
            while len(turns._waiting) < waiting:
                time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    return served


def test_questions_go_first_and_equals_in_the_order_in_which_they_came() -> None:
    question, answer, ingest = Rank.QUESTION, Rank.ANSWER, Rank.INGEST
    served = _order(Turns(["machine"]), [ingest, answer, question, ingest, question, answer])
    assert served == [(question, 2), (question, 4), (answer, 1), (answer, 5), (ingest, 0), (ingest, 3)]


def test_who_comes_back_at_once_waits_behind_who_was_waiting() -> None:
    assert _order(Turns(["machine"]), [Rank.INGEST] * 3) == [(Rank.INGEST, n) for n in range(3)]


def test_a_machine_is_given_back_after_an_error() -> None:
    turns = Turns(["machine"])
    with pytest.raises(ValueError, match="broken"), turns.taken(Rank.ANSWER):
        raise ValueError("broken")
    with turns.taken(Rank.ANSWER) as machine:
        assert machine == "machine"


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("handed", [False, True], ids=["still waiting", "just handed one"])
def test_who_is_interrupted_while_waiting_takes_no_machine_along(handed: bool) -> None:
    turns = Turns(["machine"])
    holding, go = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.taken(Rank.ANSWER):
            holding.set()
            go.wait(10)

    def interrupt() -> None:
        while not turns._waiting:
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def interrupted(*_: object) -> None:
        if handed:
            go.set()
            threads[0].join(10)
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGINT, interrupted)
    threads = [threading.Thread(target=work) for work in (hold, interrupt)]
    for thread in threads:
        thread.start()
    holding.wait(10)
    try:
        with pytest.raises(KeyboardInterrupt), turns.taken(Rank.QUESTION):
            pytest.fail("there is no machine")
    finally:
        signal.signal(signal.SIGINT, usual)
    go.set()
    for thread in threads:
        thread.join(10)
    came = threading.Event()

    def come() -> None:
        with turns.taken(Rank.QUESTION):
            came.set()

    threading.Thread(target=come, daemon=True).start()
    assert came.wait(10)


@pytest.mark.parametrize("machines", [1, 2])
def test_an_ingest_goes_on_however_many_questions_come(machines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PATIENCE_S", 0.05)
    turns, over = Turns(list(range(machines))), threading.Event()
    served: list[float] = []

    def question() -> None:
        while not over.is_set():
            with turns.taken(Rank.QUESTION):
                time.sleep(0.002)

    def ingest() -> None:
        while not over.is_set():
            with turns.taken(Rank.INGEST):
                served.append(time.monotonic())

    threads = [threading.Thread(target=question) for _ in range(4)]
    threads.append(threading.Thread(target=ingest))
    for thread in threads:
        thread.start()
    time.sleep(1)
    over.set()
    for thread in threads:
        thread.join(10)
    assert len(served) > 2
    # Nor is it let before every question; the last one had no question beside it any more.
    assert min(later - earlier for earlier, later in pairwise(served[:-1])) > 0.05


def test_the_last_machine_is_kept_for_a_better_rank_that_came_of_late() -> None:
    turns = Turns(["one", "two"])
    with turns.taken(Rank.QUESTION):
        pass
    came = threading.Event()

    def ingest() -> None:
        with turns.taken(Rank.INGEST):
            came.set()

    thread = threading.Thread(target=ingest)
    with turns.taken(Rank.ANSWER):
        thread.start()
        assert not came.wait(0.1)
        with turns.taken(Rank.QUESTION):  # it does not wait at all
            pass
    thread.join(10)
    assert came.is_set()


@pytest.mark.parametrize("questions", [1, 2])
def test_an_answer_has_all_machines_until_others_than_its_own_question_come(questions: int) -> None:
    turns = Turns(["one", "two"])
    for _ in range(questions):
        with turns.taken(Rank.QUESTION):
            pass
    came = threading.Event()

    def answer() -> None:
        with turns.taken(Rank.ANSWER):
            came.set()

    thread = threading.Thread(target=answer)
    with turns.taken(Rank.ANSWER):
        thread.start()
        assert came.wait(0.2) is (questions == 1)
    thread.join(10)
    assert came.is_set()


def test_as_many_at_once_as_there_are_machines() -> None:
    turns = Turns(["one", "two"])
    with turns.taken(Rank.INGEST) as first, turns.taken(Rank.INGEST) as second:
        assert {first, second} == {"one", "two"}


def test_only_better_ranks_are_reasons_to_cut_work_up() -> None:
    turns = Turns(["machine"])
    with turns.taken(Rank.INGEST):
        pass
    assert not turns.is_sought(Rank.INGEST)
    with turns.taken(Rank.ANSWER):
        pass
    assert turns.is_sought(Rank.INGEST)
    assert not turns.is_sought(Rank.ANSWER)
    with turns.taken(Rank.QUESTION):
        pass
    assert not turns.is_sought(Rank.ANSWER), "an answer has a question of its own"
    with turns.taken(Rank.QUESTION):
        pass
    assert turns.is_sought(Rank.ANSWER)
    assert not turns.is_sought(Rank.QUESTION), "there is no better one"


def test_a_question_does_not_wait_for_an_ingest_to_end() -> None:
    embedder = BuiltinEmbedder()
    embedder.embed_query("warm")
    texts = [f"{number} lighthouses were repaired before the storms of that winter came. " * 8 for number in range(300)]
    ended = threading.Event()

    def ingest() -> None:
        embedder.embed_documents(texts)
        ended.set()

    thread = threading.Thread(target=ingest)
    thread.start()
    asked = 0
    while not ended.is_set():
        embedder.embed_query(f"How many lighthouses were repaired in {1900 + asked}?")
        asked += 1
    thread.join(60)
    assert asked > 8  # a batch has some fifty of these texts, and every one is done in parts


def test_an_ingest_that_is_cut_up_gives_the_same_vectors() -> None:
    texts = [f"Keeper {number} writes the log. " * (1 + number % 9) for number in range(80)]
    alone = BuiltinEmbedder().embed_documents(texts)
    sought = BuiltinEmbedder()
    sought.embed_query("Who writes the log?")
    assert abs(sought.embed_documents(texts) - alone).max() < 0.01


FIRST_USE = """
import threading
from ragapp.embedders import BuiltinEmbedder
embedder = BuiltinEmbedder()
embedder.spans("the tokenizer is there")
together = threading.Barrier(2)

def ask():
    together.wait()
    embedder.embed_query("the first question of all")

threads = [threading.Thread(target=ask) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("attempt", range(5))
def test_two_first_questions_at_once_are_both_answered(attempt: int) -> None:
    # OpenVINO would stand still in four of ten such processes; see embedders.
    subprocess.run([sys.executable, "-c", FIRST_USE], check=True, timeout=60)
