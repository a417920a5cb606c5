"""Who gets the machine next."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

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
