"""What there is to say about a run, alone or beside an earlier one: its measures, and the questions that went wrong.

This is the report's content in figures and records; ``exhibits.py`` puts it into words, tables and pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ragapp.eval.answering import is_refused
from ragapp.eval.compare import Comparison, compare
from ragapp.eval.dataset import Dataset, Gold, Question, is_same_document
from ragapp.eval.judging import kept
from ragapp.eval.measures import HEADLINE, Summary, of_run, summary
from ragapp.eval.records import Hit, Manifest, Record, RunFolder

Fault = Literal["error", "answered", "missed", "refused", "wrong", "late"]
FAULTS: tuple[Fault, ...] = ("error", "answered", "missed", "refused", "wrong", "late")
LATE = 5  # a right page after this many others is late: few people look further
# What stands for a run: how early the right page comes, else how good the answers are.
METRICS = (
    "pages.mrr@10", "passages.mrr@10", "documents.mrr@10", "answer.f1", "answer.contains", "verbatim", "refusal.right"
)  # fmt: skip
NOT_STAGES = ("first_token", "total")

Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Confidences:
    """How sure the judge was of questions that can be answered and of those that cannot, and what was refused."""

    answerable: tuple[float, ...] = ()
    unanswerable: tuple[float, ...] = ()
    answered: int = 0
    answered_wrongly: int = 0

    @property
    def count(self) -> int:
        return len(self.answerable) + len(self.unanswerable)

    @property
    def coverage(self) -> float:
        """The share of the judged questions that were answered."""
        return self.answered / self.count if self.count else 0.0

    @property
    def risk(self) -> float:
        """The share of the answered questions that could not be answered; 0 where none was answered."""
        return self.answered_wrongly / self.answered if self.answered else 0.0


@dataclass(frozen=True, slots=True)
class Side:
    """One run: how it was made, its measures, and those of each question. ``stages`` are its steps in their order."""

    manifest: Manifest
    summary: Summary
    scores: Scores
    confidences: Confidences
    stages: tuple[str, ...]
    done: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A question that went wrong, and how: the gravest of its faults.

    ``error``: nothing came back. ``answered``: the documents hold no answer, and one was given. ``missed``: no right
    page among those found. ``refused``: there is an answer, and none was given. ``wrong``: the answer has nothing of
    what was expected. ``late``: the right page stands after the first ``LATE``. ``rank`` is the place of the first
    right page, None where there is none.
    """

    question: Question
    record: Record
    fault: Fault
    rank: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. ``other`` is what ``run`` is compared with, ``comparison`` the way from that to this.

    ``metric`` is the measure that stands for the run, a share of which more is better; empty where none applies.
    ``headline`` are the leading measures that the run has. ``pairs`` are the questions that both runs have ``metric``
    for, as (other, run). ``lost`` are sorted by fault, the gravest first.
    """

    dataset: Dataset
    run: Side
    metric: str
    headline: tuple[str, ...]
    lost: tuple[Lost, ...]
    other: Side | None = None
    comparison: Comparison | None = None
    pairs: tuple[tuple[float, float], ...] = ()


def report(run: RunFolder, other: RunFolder | None = None) -> Report:
    """Everything about a run, and with ``other`` (the earlier one) what has changed since.

    Raises ReadError for damaged records, and ConfigError where the two asked different questions.
    """
    dataset, records = run.dataset(), run.records()
    side = _side(run, dataset, records)
    headline = tuple(name for name in HEADLINE if name in side.summary.means)
    metric = next((name for name in METRICS if name in side.summary.means), "")
    lost = tuple(_lost(dataset, records, side.scores))
    if other is None:
        return Report(dataset, side, metric, headline, lost)
    before = _side(other, dataset, other.records())
    return Report(
        dataset, side, metric, headline, lost, before, compare(other, run),
        tuple(_pairs(before.scores, side.scores, metric)),
    )  # fmt: skip


def _side(run: RunFolder, dataset: Dataset, records: Sequence[Record]) -> Side:
    made = summary(dataset, records, judged=kept(run.path))
    return Side(
        run.manifest, made, of_run(dataset, records), _confidences(dataset, records), tuple(_stages(records)),
        len(records),
    )  # fmt: skip


def _confidences(dataset: Dataset, records: Sequence[Record]) -> Confidences:
    answerable = {question.id: question.answerable for question in dataset.questions}
    judged = [record for record in records if record.confidence is not None and record.id in answerable]
    answered = [record for record in judged if not is_refused(record)]
    sure: dict[bool, list[float]] = {True: [], False: []}
    for record in judged:
        sure[answerable[record.id]].append(record.confidence or 0.0)
    return Confidences(
        tuple(sure[True]), tuple(sure[False]), len(answered), sum(not answerable[record.id] for record in answered)
    )


def _stages(records: Sequence[Record]) -> Iterator[str]:
    """The steps in the order in which questions took them."""
    names = dict.fromkeys(name for record in records for name in record.timings)
    return (name for name in names if name not in NOT_STAGES)


def _pairs(before: Scores, after: Scores, metric: str) -> Iterator[tuple[float, float]]:
    for question, scores in after.items():
        if metric in scores and metric in before.get(question, {}):
            yield before[question][metric], scores[metric]


def _lost(dataset: Dataset, records: Sequence[Record], scores: Scores) -> Iterator[Lost]:
    """The questions that went wrong, by fault; among equals the later the right page the graver, then as asked."""
    questions = {question.id: question for question in dataset.questions}
    found = []
    for record in records:
        question = questions.get(record.id)
        if question is None:
            continue
        rank = first_right(question.gold, record.hits)
        fault = fault_of(question, record, rank, scores.get(record.id, {}))
        if fault:
            found.append(Lost(question, record, fault, rank))
    return iter(sorted(found, key=lambda lost: (FAULTS.index(lost.fault), -(lost.rank or 0))))


def fault_of(question: Question, record: Record, rank: int | None, scores: Mapping[str, float]) -> Fault | None:
    """The gravest thing that went wrong with a question, None where nothing did."""
    if record.error:
        return "error"
    was_refused = is_refused(record)
    if not question.answerable:
        return "answered" if record.kind == "ask" and not was_refused else None
    if question.gold and rank is None:
        return "missed"
    if was_refused:
        return "refused"
    # What must be in an answer says more than which words it shares with the expected one.
    expected = scores.get("answer.contains", scores.get("answer.recall"))
    if expected == 0:
        return "wrong"
    return "late" if rank is not None and rank > LATE else None


def first_right(gold: Sequence[Gold], hits: Sequence[Hit]) -> int | None:
    """The place of the first page that is gold, counted in pages: a page that was found twice counts once.

    A gold place without pages is right on any page of its document.
    """
    pages = dict.fromkeys((hit.document, hit.page) for hit in hits)
    for place, (document, page) in enumerate(pages, 1):
        if any(is_right(each, document, page) for each in gold):
            return place
    return None


def is_right(gold: Gold, document: str, page: int) -> bool:
    """Whether a page is one of a gold place's; a grade of 0 is not gold."""
    return gold.relevance > 0 and is_same_document(gold.document, document) and (not gold.pages or page in gold.pages)
