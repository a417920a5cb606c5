"""Intervals, paired differences and Holm's correction: known cases, properties, and how often they are wrong."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.errors import ConfigError
from ragapp.eval import stats
from ragapp.eval.stats import Difference, holm, interval, intervals, paired, sign_test, surviving

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
FAST = 400  # rounds, where the numbers do not matter


def run_of(values: list[float]) -> dict[str, float]:
    return {f"q{place}": value for place, value in enumerate(values)}


# -- one mean ----------------------------------------------------------------------------------------------------------


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    low, high = interval([1.0] * 60 + [0.0] * 40)
    # The normal approximation: .6 ± 1.96 * sqrt(.6 * .4 / 100).
    assert low == pytest.approx(0.504, abs=0.012)
    assert high == pytest.approx(0.696, abs=0.012)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    samples = rng.normal(3.0, 1.0, size=(300, 60))
    covered = [low <= 3.0 <= high for low, high in (interval(row, rounds=1000) for row in samples)]
    assert 0.89 < np.mean(covered) < 0.985


@given(VALUES, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_an_interval_lies_inside_the_values_and_hangs_on_the_seed_alone(values: list[float], seed: int) -> None:
    low, high = interval(values, seed=seed, rounds=FAST)
    assert min(values) <= low <= high <= max(values)
    assert (low, high) == interval(np.array(values), seed=seed, rounds=FAST)


def test_more_questions_make_it_narrower_and_another_seed_hardly_another() -> None:
    few, many = interval([0.0, 1.0] * 10), interval([0.0, 1.0] * 250)
    assert many[1] - many[0] < (few[1] - few[0]) / 4
    assert interval([0.0, 1.0] * 250, seed=1) == pytest.approx(many, abs=0.01)


def test_a_column_has_the_interval_it_has_alone() -> None:
    rng = np.random.default_rng(3)
    table = rng.random((50, 3))
    assert intervals(table) == [interval(column) for column in table.T]


def test_memory_does_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = interval([0.0, 0.3, 1.0] * 5)
    monkeypatch.setattr(stats, "AT_ONCE", 45)
    assert interval([0.0, 0.3, 1.0] * 5) == pytest.approx(whole, abs=0.02)


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ConfigError, match="no values"):
        interval([])


# -- two runs ----------------------------------------------------------------------------------------------------------


def test_a_clear_change_is_better_or_worse_by_the_metric() -> None:
    a, b = run_of([0.0] * 30 + [1.0] * 30), run_of([1.0] * 25 + [0.0] * 5 + [1.0] * 30)
    up = paired(a, b, metric="m")
    assert (up.metric, up.n, up.changed, up.verdict) == ("m", 60, 25, "better")
    assert (up.mean_a, up.difference) == (0.5, pytest.approx(25 / 60))
    assert 0 < up.low < up.difference < up.high
    assert up.p < 0.001
    down = paired(b, a)
    assert (down.verdict, down.difference) == ("worse", -up.difference)
    assert paired(a, b, higher_is_better=False).verdict == "worse"
    assert paired(b, a, higher_is_better=False).verdict == "better"
    assert paired(a, b, higher_is_better=None).verdict == "differs"


def test_pairing_sees_what_means_alone_do_not() -> None:
    rng = np.random.default_rng(5)
    hard = rng.random(80)
    a, b = run_of(hard.tolist()), run_of((hard + rng.normal(0.02, 0.02, 80)).tolist())
    assert paired(a, b).verdict == "better"
    assert interval(hard)[1] > np.mean(list(b.values()))


def test_the_same_run_twice_is_noise() -> None:
    same = paired(run_of([0.1, 0.9, 0.4]), run_of([0.1, 0.9, 0.4]))
    assert (same.verdict, same.difference, same.low, same.high, same.p, same.changed) == ("noise", 0, 0, 0, 1, 0)


@pytest.mark.parametrize("changed", [1, 2, 3, 4, 5])
def test_five_questions_are_never_enough(changed: int) -> None:
    # The bootstrap alone calls four of fifty, and one of one, a change.
    for size in (changed, 50):
        before, after = [0.0] * size, [1.0] * changed + [0.0] * (size - changed)
        assert paired(run_of(before), run_of(after)).verdict == "noise"


def test_six_of_six_are() -> None:
    six = paired(run_of([0.0] * 50), run_of([1.0] * 6 + [0.0] * 44))
    assert (six.p, six.verdict) == (2 / 64, "better")


def test_a_gain_that_one_bad_question_could_undo_is_noise_whatever_the_test_says() -> None:
    made = paired(run_of([0.0] * 32), run_of([1.0] * 31 + [-10.0]))
    assert made.p < 0.05
    assert made.low < 0 < made.high
    assert made.verdict == "noise"


def test_only_questions_of_both_runs_count() -> None:
    made = paired({"a": 0.0, "b": 1.0, "only": 1.0}, {"b": 0.0, "a": 0.5, "other": 0.0}, rounds=FAST)
    assert (made.n, made.mean_a, made.mean_b) == (2, 0.5, 0.25)
    with pytest.raises(ConfigError, match="No question has m in both"):
        paired({"a": 1.0}, {"b": 1.0}, metric="m")


def test_the_order_of_the_questions_says_nothing() -> None:
    a, b = run_of([0.1, 0.5, 0.9, 0.2]), run_of([0.3, 0.4, 1.0, 0.9])
    assert paired(a, b) == paired(dict(reversed(a.items())), dict(reversed(b.items())))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=25))
@settings(max_examples=60, deadline=None)
def test_turned_round_everything_turns_round(pairs: list[tuple[float, float]]) -> None:
    a, b = run_of([one for one, _ in pairs]), run_of([other for _, other in pairs])
    there, back = paired(a, b, rounds=FAST), paired(b, a, rounds=FAST)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert there.p == pytest.approx(back.p)
    assert there.low <= there.high
    assert {"better": "worse", "worse": "better", "noise": "noise"}[there.verdict] == back.verdict
    if there.low <= 0 <= there.high:
        assert there.verdict == "noise"


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_the_sign_test_is_exact_for_few(changes: list[int]) -> None:
    every = np.array(list(product((1, -1), repeat=len(changes))))
    sums = np.abs(every @ np.array(changes))
    assert sign_test(changes) == pytest.approx(float((sums >= abs(sum(changes))).mean()))


def test_the_drawn_sign_test_comes_near_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = np.random.default_rng(2).normal(0.4, 1, 12)
    exact = sign_test(changes)
    monkeypatch.setattr(stats, "EXACT", 3)
    assert sign_test(changes) == pytest.approx(exact, abs=0.015)
    assert sign_test([1.0] * 40) == 1 / 10_001


def test_without_an_effect_few_differences_are_found() -> None:
    rng = np.random.default_rng(11)
    verdicts = [
        paired(run_of(rng.random(40).tolist()), run_of(rng.random(40).tolist()), rounds=1000).verdict
        for _ in range(200)
    ]
    assert verdicts.count("noise") >= 182


# -- many metrics ------------------------------------------------------------------------------------------------------


def difference(p: float, verdict: stats.Verdict = "better") -> Difference:
    return Difference(f"{p}", 50, 0.5, 0.6, 0.1, 0.05, 0.15, p, verdict)


def test_holm_by_hand() -> None:
    made = holm([difference(0.04), difference(0.01), difference(0.03), difference(0.005)])
    assert [each.adjusted for each in made] == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert [each.p for each in made] == [0.04, 0.01, 0.03, 0.005]
    assert [each.adjusted for each in holm([difference(0.9), difference(0.8)])] == [1.0, 1.0]
    assert holm([]) == ()


def test_what_survives() -> None:
    given = [difference(0.04), difference(0.01), difference(0.001, "noise"), difference(0.005), difference(0.03)]
    assert [each.p for each in surviving(given)] == [0.01, 0.005]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_makes_a_p_smaller_and_keeps_their_order(ps: list[float]) -> None:
    made = holm([difference(p) for p in ps])
    for each in made:
        assert each.adjusted is not None
        assert each.p <= each.adjusted <= min(1.0, each.p * len(ps)) + 1e-12
    in_order = sorted(made, key=lambda each: each.p)
    assert [each.adjusted for each in in_order] == sorted(each.adjusted or 0 for each in made)
