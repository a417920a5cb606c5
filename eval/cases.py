"""The questions that went wrong, one by one: where the answer stands, what was found instead, what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragapp.eval import plots
from ragapp.eval.captions import Language, say
from ragapp.eval.exhibits import Exhibit, percent, shortened
from ragapp.eval.findings import FAULTS, LATE, Lost, Report, is_right

SHOWN = 4  # questions of a fault that are shown whole
NAMED = 3  # places of each kind that are shown of a question


@dataclass(frozen=True, slots=True)
class Place:
    """A page, in words, and what stands there. ``is_right`` is for what was found."""

    document: str
    page: str
    text: str
    is_right: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A question that went wrong: where its answer stands, what was found in the first places, what was answered."""

    id: str
    question: str
    gold: tuple[Place, ...]
    found: tuple[Place, ...]
    expected: str
    answer: str
    remarks: tuple[str, ...]
    error: str


@dataclass(frozen=True, slots=True)
class Heap:
    """Questions with the same fault: some of them whole, of the others what was asked."""

    fault: str
    title: str
    count: int
    cases: tuple[Case, ...]
    others: tuple[tuple[str, str], ...]


def heaps(report: Report, language: Language) -> tuple[Heap, ...]:
    """The questions that went wrong, by fault."""
    made = []
    for fault in FAULTS:
        held = [lost for lost in report.lost if lost.fault == fault]
        if held:
            cases = tuple(_case(lost, language) for lost in held[:SHOWN])
            others = tuple((lost.question.id, lost.question.text) for lost in held[SHOWN:])
            made.append(Heap(fault, say(language, f"fault.{fault}", k=LATE), len(held), cases, others))
    return tuple(made)


def _case(lost: Lost, language: Language) -> Case:
    question, record = lost.question, lost.record
    gold = tuple(Place(g.document, pages(language, g.pages), shortened(g.quote)) for g in question.gold[:NAMED])
    # The first passage shows what was taken for the answer; of the others the place says enough.
    found = tuple(
        Place(hit.document, pages(language, (hit.page,)), "" if n else shortened(hit.text),
              any(is_right(each, hit.document, hit.page) for each in question.gold))
        for n, hit in enumerate(record.hits[:NAMED])
    )  # fmt: skip
    remarks = []
    if lost.rank is not None:
        remarks.append(say(language, "place", rank=lost.rank))
    if record.confidence is not None:
        remarks.append(say(language, "sure", value=f"{record.confidence:.2f}"))
    expected = question.answers[0] if question.answers else ", ".join(question.must_contain)
    if not question.answerable:
        expected = say(language, "no.answer")
    return Case(
        question.id, question.text, gold, found, shortened(expected), shortened(record.answer or ""), tuple(remarks),
        record.error,
    )  # fmt: skip


def pages(language: Language, numbers: Sequence[int]) -> str:
    """Pages in words; empty where none is named."""
    if not numbers:
        return ""
    if len(numbers) == 1:
        return say(language, "page", page=numbers[0])
    return say(language, "pages", pages=say(language, "comma").join(map(str, numbers)))


def faults(report: Report, language: Language) -> Exhibit:
    """How many questions have each fault, and how many have none."""
    counts = [(fault, sum(lost.fault == fault for lost in report.lost)) for fault in FAULTS]
    shown = [(say(language, f"fault.{fault}", k=LATE), count, "worse") for fault, count in counts if count]
    shown.append((say(language, "lost.right"), report.run.done - len(report.lost), "other"))
    most = max(1, report.run.done)
    return Exhibit(
        "faults", "", (say(language, "lost"), say(language, "questions"), "%"),
        tuple((label, str(count), percent(count / most)) for label, count, _ in shown),
        marks=tuple(plots.bar(count, most=most, style=style) for _, count, style in shown),
    )  # fmt: skip
