"""The measures of a run: for each question, and summed up with intervals, refusals, latencies and groups.

A mean is over the questions that have the metric, and says how many they are; the others are counted by reason
(``Summary.not_applicable``). A question whose record has an error has no measures at all: errors are shown beside the
means and not hidden in them as zeros.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ragapp.eval import answering, refusal, retrieval, stats
from ragapp.eval.judging import Judged
from ragapp.eval.questions import Dataset, Question
from ragapp.eval.records import Record
from ragapp.eval.refusal import Bin, Point


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean over ``n`` questions and its 95 % interval."""

    value: float
    n: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds over ``n`` questions."""

    p50: float
    p95: float
    mean: float
    n: int


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals in numbers of questions: ``right`` of unanswerable ones, ``false`` of answerable ones.

    ``precision`` is the share of the refusals that are right, None where nothing was refused; ``recall`` the share of
    the unanswerable questions that were refused, None where there are none.
    """

    answerable: int
    unanswerable: int
    right: int
    false: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Risk:
    """Risk and coverage at every confidence that occurs, falling; see ragapp.eval.refusal for the measures."""

    points: tuple[Point, ...]
    bins: tuple[Bin, ...]
    aurc: float
    brier: float


@dataclass(frozen=True, slots=True)
class Disagreements:
    """Where a model judge and the deterministic measure differ, as ids; ``unsure`` is what the judge did not decide."""

    judge: str
    measure: str
    judged: int
    agreed: int
    only_judge: tuple[str, ...]
    only_measure: tuple[str, ...]
    unsure: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers.

    ``means`` by metric; ``latency`` by step, in seconds. ``recall_at`` and ``success_at`` are by level
    ("passages", "pages", "documents") and k. ``by_tag`` is tag, value of the tag, metric. ``errors`` are sentences by
    id. ``not_applicable`` counts, for each metric, the questions without it by reason. ``missing`` questions have no
    record; ``answered`` records have an answer that is no refusal.
    """

    questions: int
    done: int
    answered: int
    missing: int
    means: Mapping[str, Mean]
    latency: Mapping[str, Percentiles] = field(default_factory=dict)
    recall_at: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    success_at: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    refusals: Refusals | None = None
    risk: Risk | None = None
    by_tag: Mapping[str, Mapping[str, Mapping[str, Mean]]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    not_applicable: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    disagreements: Disagreements | None = None


HEADLINE: Final = (
    "passages.success@1", "passages.success@5", "passages.mrr@10", "pages.ndcg@10", "pages.recall@10",
    "documents.success@1", "answer.contains", "answer.holds", "answer.f1", "citation.page_precision",
    "citation.precision", "citation.recall", "verbatim", "refusal.right", "refusal.false",
    "latency.first_token", "latency.total",
)  # fmt: skip
"""The metrics to show first, as far as a run has them."""

TAG_VALUES = 12  # a tag with more values than that names questions and does not sort them: no groups are made of it
TAG_ROUNDS = 2_000  # of the bootstrap within a group
CURVE_POINTS = 100  # of risk and coverage at most

_LESS_IS_BETTER = ("latency.", "refusal.false")
_NEITHER = ("answer.length",)
_RIGHT = ("answer.contains", "answer.holds")  # of these the first that a question has says whether an answer is right

Scores = Mapping[str, Mapping[str, float]]
Pairs = Sequence[tuple[Question, Record]]


def higher_is_better(name: str) -> bool | None:
    """Which direction of a metric is the good one: True, False, or None where neither is."""
    return None if name in _NEITHER else not name.startswith(_LESS_IS_BETTER)


# -- each question -----------------------------------------------------------------------------------------------------


def of_run(dataset: Dataset, records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """The measures of every question that has a record, by id; empty where the record has an error.

    A record of a question that the set does not have is left out; of several of one question the last counts.
    """
    return _of_pairs(_pairs(dataset, records))


def _pairs(dataset: Dataset, records: Iterable[Record]) -> Pairs:
    """The questions that have a record, in their order."""
    known = {record.id: record for record in records}
    return [(question, known[question.id]) for question in dataset.questions if question.id in known]


def _of_pairs(pairs: Pairs) -> dict[str, dict[str, float]]:
    found = retrieval.scores_of_all(pair for pair in pairs if not pair[1].error)
    return {asked.id: {**found.get(asked.id, {}), **answering.scores(asked, record)} for asked, record in pairs}


# -- all of them -------------------------------------------------------------------------------------------------------


def summary(
    dataset: Dataset,
    records: Iterable[Record],
    *,
    seed: int = 0,
    judged: Judged | None = None,
    more: Scores | None = None,
) -> Summary:
    """A run in numbers. ``more`` are further measures by question (ragas'), ``judged`` what a model judge said."""
    pairs = _pairs(dataset, records)
    scores = _of_pairs(pairs)
    for name, values in (more or {}).items():
        if name in scores:
            scores[name] |= values
    fine = [pair for pair in pairs if not pair[1].error]
    means = means_of(scores, seed=seed)
    return Summary(
        questions=len(dataset.questions),
        done=len(pairs),
        answered=sum(record.kind == "ask" and not answering.is_refused(record) for _, record in fine),
        missing=len(dataset.questions) - len(pairs),
        means=means,
        latency=_latency([record for _, record in fine]),
        recall_at=_by_cut(means, "recall", retrieval.RECALL_AT),
        success_at=_by_cut(means, "success", retrieval.SUCCESS_AT),
        refusals=_refusals(fine),
        risk=_risk(fine),
        by_tag=_by_tag(pairs, scores, seed),
        errors={question.id: record.error for question, record in pairs if record.error},
        not_applicable=_not_applicable(fine, scores),
        disagreements=_disagreements(scores, judged) if judged else None,
    )


def means_of(
    scores: Scores, *, names: Sequence[str] | None = None, seed: int = 0, rounds: int = stats.ROUNDS
) -> dict[str, Mean]:
    """The mean of every metric (or of those of ``names``), with its interval; metrics that nobody has are left out."""
    columns: dict[str, dict[str, float]] = {}
    for question, values in scores.items():
        for name, value in values.items():
            if names is None or name in names:
                columns.setdefault(name, {})[question] = value
    # Metrics of the same questions are drawn together: most of the time goes into drawing.
    together: dict[tuple[str, ...], list[str]] = {}
    for name, column in columns.items():
        together.setdefault(tuple(column), []).append(name)
    made: dict[str, Mean] = {}
    for questions, group in together.items():
        table = np.array([[columns[name][question] for name in group] for question in questions])
        edges = stats.intervals(table, seed=seed, rounds=rounds)
        for name, value, (low, high) in zip(group, table.mean(axis=0), edges, strict=True):
            made[name] = Mean(float(value), len(questions), low, high)
    return {name: made[name] for name in columns}


def percentiles(values: Sequence[float]) -> Percentiles:
    """Median, 95th percentile and mean of some seconds; there must be some."""
    found = np.array(values, dtype=np.float64)
    half, most = np.quantile(found, [0.5, 0.95])
    return Percentiles(float(half), float(most), float(found.mean()), len(found))


def _latency(records: Sequence[Record]) -> dict[str, Percentiles]:
    by_step: dict[str, list[float]] = {}
    for record in records:
        for step, seconds in record.timings.items():
            by_step.setdefault(step, []).append(seconds)
    return {step: percentiles(values) for step, values in by_step.items()}


def _by_cut(means: Mapping[str, Mean], measure: str, cuts: Sequence[int]) -> dict[str, dict[int, float]]:
    """The means of a measure at every cut, for the levels that have it."""
    found = {
        level: {k: means[name].value for k in cuts if (name := f"{level}.{measure}@{k}") in means}
        for level in retrieval.LEVELS
    }
    return {level: values for level, values in found.items() if values}


def _refusals(pairs: Pairs) -> Refusals | None:
    """Refusals in numbers, None where nothing was asked for an answer."""
    asked = [(question.answerable, answering.is_refused(record)) for question, record in pairs if record.kind == "ask"]
    if not asked:
        return None
    counts = Counter(asked)
    right, false = counts[False, True], counts[True, True]
    unanswerable = right + counts[False, False]
    return Refusals(
        false + counts[True, False], unanswerable, right, false,
        right / (right + false) if right + false else None, right / unanswerable if unanswerable else None,
    )  # fmt: skip


def _risk(pairs: Pairs) -> Risk | None:
    """Risk and coverage, where confidences in questions of both kinds are known."""
    known = [(r.confidence, float(q.answerable)) for q, r in pairs if r.confidence is not None]
    sure, truth = (np.array(column, dtype=np.float64) for column in (zip(*known, strict=True) if known else ((), ())))
    if not 0 < truth.sum() < len(truth):
        return None
    steps = np.unique(sure)[::-1]
    if len(steps) > CURVE_POINTS:
        steps = steps[np.linspace(0, len(steps) - 1, CURVE_POINTS).round().astype(int)]
    return Risk(
        tuple(refusal.point(sure, truth, float(step)) for step in steps), tuple(refusal.bins(sure, truth)),
        refusal.area(sure, truth), float(((sure - truth) ** 2).mean()),
    )  # fmt: skip


def _by_tag(pairs: Pairs, scores: Scores, seed: int) -> dict[str, dict[str, dict[str, Mean]]]:
    """The headline metrics of the questions of each value of each tag that has two values or more, and not too many."""
    groups: dict[str, dict[str, list[str]]] = {}
    for question, _ in pairs:
        for tag, value in question.tags.items():
            groups.setdefault(tag, {}).setdefault(value, []).append(question.id)
    return {
        tag: {value: _means_within(scores, found, seed) for value, found in values.items()}
        for tag, values in groups.items()
        if 1 < len(values) <= TAG_VALUES
    }


def _means_within(scores: Scores, questions: Sequence[str], seed: int) -> dict[str, Mean]:
    mine = {name: scores[name] for name in questions}
    return means_of(mine, names=HEADLINE, seed=seed, rounds=TAG_ROUNDS)


def _not_applicable(pairs: Pairs, scores: Scores) -> dict[str, dict[str, int]]:
    """For each metric that a run of this kind can have, the questions without it by reason."""
    counted: dict[str, Counter[str]] = {}
    for question, record in pairs:
        for name in retrieval.NAMES:
            if name not in scores[question.id]:
                counted.setdefault(name, Counter())[retrieval.why_not(question, name)] += 1
        for name in answering.NAMES if record.kind == "ask" else ():
            if name not in scores[question.id]:
                counted.setdefault(name, Counter())[answering.why_not(question, record, name)] += 1
    return {name: dict(counts.most_common()) for name, counts in counted.items()}


def _disagreements(scores: Scores, judged: Judged) -> Disagreements:
    """Where the judge and the first of ``_RIGHT`` that a question has differ; without one they cannot."""
    only_judge: list[str] = []
    only_measure: list[str] = []
    agreed = unsure = 0
    for name, said in judged.verdicts.items():
        measured = next((scores[name][metric] for metric in _RIGHT if metric in scores.get(name, {})), None)
        if said.right is None or measured is None:
            unsure += said.right is None
        elif said.right == (measured == 1):
            agreed += 1
        else:
            (only_judge if said.right else only_measure).append(name)
    return Disagreements(
        judged.judge, ", else ".join(_RIGHT), len(judged.verdicts), agreed, tuple(only_judge), tuple(only_measure),
        unsure,
    )  # fmt: skip
