"""How sure a mean or a difference is: bootstrap intervals, paired differences, many comparisons at once.

Intervals are percentiles of the bootstrap over questions (Efron & Tibshirani 1993): the questions stand for others like
them, so it is they that are drawn again. A difference of two runs is measured question by question, which takes out how
hard each question is. Everything is drawn from a seed: the same numbers give the same answer.

Not covered: questions that hang together (ten about one page count as ten), and what values that are all alike leave
open: twenty questions out of twenty give an interval without width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragapp.errors import ConfigError

ROUNDS = 10_000
ALPHA = 0.05  # what a test must fall below, and what an interval leaves out
EXACT = 12  # questions that differ, up to which every way to turn their signs is tried
DIGITS = 12  # behind the point; what is smaller is an error of rounding
AT_ONCE = 2_000_000  # numbers drawn at a time, so that memory stays small

Verdict = Literal["better", "worse", "noise", "differs"]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric in two runs, over the ``n`` questions that have it in both; ``changed`` of them differ.

    ``difference`` is ``mean_b - mean_a``, ``low`` to ``high`` its interval, ``p`` from turning signs at random, and
    ``adjusted`` the same after Holm's correction, None while it stands alone. ``verdict`` is about b: "noise" where the
    interval holds 0 or p is .05 and above; "differs" where neither direction is the better one.
    """

    metric: str
    n: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p: float
    verdict: Verdict
    changed: int = 0
    adjusted: float | None = None


# -- one mean ----------------------------------------------------------------------------------------------------------


def interval(values: ArrayLike, *, seed: int = 0, rounds: int = ROUNDS) -> tuple[float, float]:
    """Between what the mean of these values lies, 95 %. Raises ConfigError where there are none."""
    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    ((low, high),) = intervals(column, seed=seed, rounds=rounds)
    return low, high


def intervals(table: ArrayLike, *, seed: int = 0, rounds: int = ROUNDS) -> list[tuple[float, float]]:
    """``interval`` for every column of a ``(questions, metrics)`` table, the same questions being drawn for all."""
    rows = np.asarray(table, dtype=np.float64)
    if not len(rows):
        raise ConfigError("There are no values to measure.", "Does any question have this metric?")
    means = np.concatenate(list(_drawn_means(rows, seed, rounds)))
    edges = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    # Sums that should be the same, or 0, may differ in their last digits.
    edges = np.clip(np.round(edges, DIGITS), rows.min(axis=0), rows.max(axis=0))
    return [(float(low), float(high)) for low, high in edges.T]


def _drawn_means(rows: Numbers, seed: int, rounds: int) -> Iterator[Numbers]:
    """Means of the columns over questions drawn with replacement, ``(rounds, metrics)`` in all."""
    rng, count = np.random.default_rng(seed), len(rows)
    for size in _portions(rounds, count):
        drawn = rng.integers(0, count, size=(size, count))
        places = (drawn + np.arange(size)[:, None] * count).ravel()
        often = np.bincount(places, minlength=size * count).reshape(size, count)
        yield often @ rows / count


def _portions(rounds: int, width: int) -> Iterator[int]:
    """``rounds`` in parts, each of which draws at most ``AT_ONCE`` numbers."""
    size = max(1, AT_ONCE // width)
    for start in range(0, rounds, size):
        yield min(size, rounds - start)


# -- two runs ----------------------------------------------------------------------------------------------------------


def paired(
    a: Mapping[str, float],
    b: Mapping[str, float],
    *,
    metric: str = "",
    higher_is_better: bool | None = True,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> Difference:
    """Run b against run a, values by question id; questions that only one of them has are left out.

    ``higher_is_better`` None is for what is neither good nor bad. Two things must be true of a change: its interval
    does not hold 0, and turning the signs of the questions' differences at random (Fisher 1935) seldom gives as much.
    The bootstrap alone calls four questions of fifty a change; the test alone gives no size.

    Raises ConfigError where no question is in both.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        raise ConfigError(f"No question has {metric or 'this metric'} in both runs.", "Are they runs of the same set?")
    before, after = (np.array([run[name] for name in common], dtype=np.float64) for run in (a, b))
    change = np.round(after - before, DIGITS)
    low, high = interval(change, seed=seed, rounds=rounds)
    p = sign_test(change, seed=seed, rounds=rounds)
    return Difference(
        metric, len(common), float(before.mean()), float(after.mean()), float(change.mean()), low, high, p,
        _verdict(low, high, p, higher_is_better), int(np.count_nonzero(change)),
    )  # fmt: skip


def _verdict(low: float, high: float, p: float, higher_is_better: bool | None) -> Verdict:
    if low <= 0 <= high or p >= ALPHA:
        return "noise"
    if higher_is_better is None:
        return "differs"
    return "better" if (low > 0) == higher_is_better else "worse"


def sign_test(change: ArrayLike, *, seed: int = 0, rounds: int = ROUNDS) -> float:
    """How often the sum of differences would be as large if each could as well have been its opposite (two-sided).

    Every way to turn the signs is tried where at most ``EXACT`` questions differ, else ``rounds`` of them.
    """
    differing = np.asarray(change, dtype=np.float64)
    differing = differing[differing != 0]
    found = abs(differing.sum()) * (1 - 1e-9)
    if len(differing) <= EXACT:
        signs = 1 - 2 * (np.arange(2 ** len(differing))[:, None] >> np.arange(len(differing)) & 1)
        return float((np.abs(signs @ differing) >= found).mean())
    rng, reached = np.random.default_rng(seed), 0
    for size in _portions(rounds, len(differing)):
        turned = 1 - 2 * rng.integers(0, 2, size=(size, len(differing)), dtype=np.int8)
        reached += int((np.abs(turned @ differing) >= found).sum())
    return (reached + 1) / (rounds + 1)


# -- many metrics ------------------------------------------------------------------------------------------------------


def holm(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """The differences in their order, each with ``adjusted`` set: Holm (1979).

    Of twenty metrics one falls below .05 by chance. Those whose ``adjusted`` does are changes even so; the verdicts,
    each about one metric, stay.
    """
    given = tuple(differences)
    order = sorted(range(len(given)), key=lambda place: given[place].p)
    adjusted, highest = [0.0] * len(given), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(given) - rank) * given[place].p))
        adjusted[place] = highest
    return tuple(replace(each, adjusted=value) for each, value in zip(given, adjusted, strict=True))


def surviving(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """Those that are no noise and stay below .05 after Holm's correction for all of them."""
    return tuple(each for each in holm(differences) if each.verdict != "noise" and (each.adjusted or 0) < ALPHA)
