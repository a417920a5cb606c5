"""What one answer may cost: never more than was allowed, and always something for the answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.budget import Budget


@given(
    calls=st.integers(1, 20),
    tokens=st.integers(1, 5000),
    wishes=st.lists(st.tuples(st.integers(-1, 3000), st.floats(0, 1)), max_size=30),
)
def test_helping_calls_stay_within_and_leave_the_answer_its_share(
    calls: int, tokens: int, wishes: list[tuple[int, float]]
) -> None:
    budget = Budget(calls, tokens, 600)
    made = written = 0
    for wish, share in wishes:
        granted = budget.grant(wish)
        assert 0 <= granted <= max(0, wish)
        if granted:
            used = int(share * granted)
            budget.give_back(granted - used)
            made, written = made + 1, written + used
    answer = budget.grant_answer()
    assert made + 1 <= calls
    assert answer >= 1
    assert 2 * answer >= tokens
    assert written + answer <= tokens


def test_a_grant_is_what_was_asked_for_while_there_is_enough() -> None:
    budget = Budget(calls=3, tokens=100, seconds=600)
    assert (budget.grant(30), budget.grant(30), budget.grant(30)) == (30, 20, 0)
    assert budget.is_over


def test_one_call_is_the_answers() -> None:
    budget = Budget(calls=2, tokens=1000, seconds=600)
    assert (budget.grant(10), budget.grant(10)) == (10, 0)
    assert budget.calls == 1


def test_what_was_not_written_may_be_written_later() -> None:
    budget = Budget(calls=9, tokens=100, seconds=600)
    assert budget.grant(50) == 50
    assert budget.grant(50) == 0
    budget.give_back(40)
    budget.give_back(-5)
    assert budget.grant(50) == 40


def test_helping_calls_have_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget = Budget(seconds=10)
    now = 1004.9
    assert not budget.is_late
    now = 1005.0
    assert budget.is_late
    assert budget.grant(10) == 0
    assert (budget.help_deadline, budget.deadline) == (1005.0, 1010.0)


def test_a_renewed_budget_has_nothing_used(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget = Budget(4, 200, 10)
    budget.grant(60)
    now = 1009.0
    renewed = budget.renewed()
    assert (renewed.calls, renewed.tokens, renewed.deadline) == (4, 200, 1019.0)
    assert (budget.calls, budget.tokens) == (3, 140)


def test_threads_together_get_no_more_than_there_is() -> None:
    budget = Budget(calls=41, tokens=100_000, seconds=600)
    with ThreadPoolExecutor(8) as threads:
        granted = list(threads.map(lambda _: budget.grant(100), range(200)))
    assert sum(1 for grant in granted if grant) == 40
    assert budget.calls == 1
