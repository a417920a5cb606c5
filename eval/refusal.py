"""How well a library tells questions that it can answer from those that it cannot, and a calibration made of that.

    python -m ragapp.eval.refusal LIBRARY ANSWERABLE.jsonl [UNANSWERABLE.jsonl] [--json] [--fit FILE]

The questions are in any format of ragapp.eval.formats. Without unanswerable questions they are made of the answerable
ones by holding back the document that the best passage is of; where the library has no other document, the pages of the
best passages. What is held back may stand elsewhere too, so some of these "mistakes" are none.

Printed are the right refusals (share of the unanswerable questions that are refused at the threshold), the false ones
(share of the answerable), the Brier score, how often questions were answerable among those of like confidence, and
the risk-coverage curve (El-Yaniv & Wiener 2010): when only the surest questions are answered, how many of the answered
ones were unanswerable. AURC is the area below that curve; less is better.

``--fit FILE`` writes a scale and a shift for the log-odds of the built-in judge, fitted to these questions (Platt
1999), for ``[answer] calibration = "FILE"``. Printed is then also what they reach on the questions that they were
fitted to; others will do a little worse.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragapp.errors import ConfigError
from ragapp.eval.dataset import Question, load
from ragapp.evidence import PRIOR, Calibration, Evidence
from ragapp.ports import Judge, Tools
from ragapp.rag import Rag
from ragapp.types import Passage, Query

DEEPER = 3  # times as many candidates are looked for where a document is held back
PAGES_HELD = 3  # passages whose pages are held back in a library of one document
BINS = 10
STEPS = tuple(round(0.1 * n, 1) for n in range(1, 10))  # thresholds of the printed curve
ROUNDS = 200  # of Newton's method; it needs about ten
RIDGE = 0.5
TINY = 1e-9  # a confidence of 0 or 1 has no log-odds

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """The questions whose confidence lies between ``low`` and a tenth more."""

    low: float
    questions: int
    confidence: float
    answerable: float


@dataclass(frozen=True, slots=True)
class Point:
    """What answering only at this confidence or above means: shares of all, of the answered, of either kind."""

    threshold: float
    coverage: float
    risk: float
    right: float
    false: float


@dataclass(frozen=True, slots=True)
class Report:
    """Right and false refusals at the threshold, and what any other threshold would do."""

    threshold: float
    answerable: int
    unanswerable: int
    right: float
    false: float
    brier: float
    aurc: float
    bins: tuple[Bin, ...]
    curve: tuple[Point, ...]


def questions_of(path: Path) -> list[Question]:
    """The questions of a set in any format, without what is known of their answers. Raises ReadError as ``load``."""
    return [Question(question.id, question.text) for question in load(path).questions]


def candidates(tools: Tools, question: str, *, hold_back: bool = False) -> list[Passage]:
    """What the judge would see: found and reranked; with ``hold_back`` as if the answer were not in the library."""
    query = Query(question)
    found = tools.retriever.retrieve(query, tools.depth * (DEEPER if hold_back else 1))
    if hold_back and found:
        found = _without_answer(found)
    return tools.reranker.rerank(query.sought, found[: tools.depth])


def _without_answer(found: Sequence[Passage]) -> list[Passage]:
    """The passages without those of the best one's document, or, if that leaves nothing, of the best ones' pages."""
    others = [passage for passage in found if passage.chunk.document_id != found[0].chunk.document_id]
    if others:
        return others
    pages = {passage.chunk.page for passage in found[:PAGES_HELD]}
    return [passage for passage in found if passage.chunk.page not in pages]


def confidences(tools: Tools, judge: Judge, questions: Sequence[Question], *, hold_back: bool = False) -> list[float]:
    """The judge's probabilities, a question each."""
    return [
        judge.confidence(Query(question.text), candidates(tools, question.text, hold_back=hold_back))
        for question in questions
    ]


# -- the measures ----------------------------------------------------------------------------------------------------


def report(answerable: Sequence[float], unanswerable: Sequence[float], threshold: float) -> Report:
    """The measures of the confidences in answerable and in unanswerable questions; neither may be empty."""
    sure = np.array([*answerable, *unanswerable], dtype=np.float64)
    truth = np.array([1.0] * len(answerable) + [0.0] * len(unanswerable))
    at = point(sure, truth, threshold)
    return Report(
        threshold, len(answerable), len(unanswerable), at.right, at.false, float(((sure - truth) ** 2).mean()),
        area(sure, truth), tuple(bins(sure, truth)), tuple(point(sure, truth, step) for step in STEPS),
    )  # fmt: skip


def point(sure: Numbers, truth: Numbers, threshold: float) -> Point:
    """What happens at a threshold; the risk of answering nothing is 0."""
    answered = sure >= threshold
    risk = float(1 - truth[answered].mean()) if answered.any() else 0.0
    right, false = (float(1 - answered[truth == kind].mean()) for kind in (0.0, 1.0))
    return Point(threshold, float(answered.mean()), risk, right, false)


def area(sure: Numbers, truth: Numbers) -> float:
    """The mean risk when the 1, 2, … surest questions are answered; equally sure ones share their risk."""
    _, place, counts = np.unique(-sure, return_inverse=True, return_counts=True)
    wrong = np.bincount(place, weights=1 - truth) / counts
    return float((np.cumsum(wrong[place[np.argsort(-sure, kind="stable")]]) / np.arange(1, len(sure) + 1)).mean())


def bins(sure: Numbers, truth: Numbers) -> Iterator[Bin]:
    """Ten bins of confidence, empty ones left out; a confidence of 1 is in the last."""
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    for n in range(BINS):
        here = place == n
        if here.any():
            yield Bin(n / BINS, int(here.sum()), float(sure[here].mean()), float(truth[here].mean()))


def lines(result: Report) -> Iterator[str]:
    """The report as text, its tables in Markdown."""
    yield (
        f"At the threshold {result.threshold:g}: right refusals {result.right:.1%} of {result.unanswerable}, "
        f"false refusals {result.false:.1%} of {result.answerable}. Brier {result.brier:.3f}, AURC {result.aurc:.3f}."
    )
    yield ""
    yield "| threshold | coverage | risk | right refusals | false refusals |"
    yield "|---|---|---|---|---|"
    for p in result.curve:
        yield f"| {p.threshold:.1f} | {p.coverage:.3f} | {p.risk:.3f} | {p.right:.3f} | {p.false:.3f} |"
    yield ""
    yield "| confidence | questions | mean | were answerable |"
    yield "|---|---|---|---|"
    for b in result.bins:
        yield f"| {b.low:.1f}-{b.low + 1 / BINS:.1f} | {b.questions} | {b.confidence:.3f} | {b.answerable:.3f} |"


def shape(result: Report) -> dict[str, object]:
    """The report as JSON."""
    facts = ("threshold", "answerable", "unanswerable", "right", "false", "brier", "aurc")
    rows = {
        "bins": [{name: getattr(b, name) for name in Bin.__slots__} for b in result.bins],
        "curve": [{name: getattr(p, name) for name in Point.__slots__} for p in result.curve],
    }
    return {**{name: getattr(result, name) for name in facts}, **rows}


# -- the calibration -------------------------------------------------------------------------------------------------


def fitted(answerable: Sequence[float], unanswerable: Sequence[float]) -> Calibration:
    """Scale and shift of the log-odds by maximum likelihood, from uncalibrated confidences of both kinds.

    Answerable questions weigh PRIOR of all, however many there are, as in the built-in fit. Each kind's wanted
    probability falls short of 1 and 0 as it has few questions (Platt 1999), and a ridge draws scale and shift towards
    1 and 0, which change nothing. Raises ConfigError where the confidences of the
    answerable questions are not the higher ones: no scale makes sense of that.
    """
    odds = _log_odds(np.array([*answerable, *unanswerable]))
    counts = len(answerable), len(unanswerable)
    wanted = np.repeat([(counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2)], counts)
    weights = np.repeat([PRIOR * sum(counts) / counts[0], (1 - PRIOR) * sum(counts) / counts[1]], counts)
    place = np.array([1.0, 0.0])
    for _ in range(ROUNDS):
        step = _newton(place, odds, wanted, weights)
        # A full step may overshoot where the two kinds lie far apart.
        place = place + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    if place[0] <= 0:
        raise ConfigError(
            "The unanswerable questions look more answerable than the answerable ones: no calibration helps.",
            "Are the files given in the right order, and is it the library they are about?",
        )
    return Calibration(round(float(place[0]), 4), round(float(place[1]), 4))


def _newton(place: Numbers, odds: Numbers, wanted: Numbers, weights: Numbers) -> Numbers:
    """The step of Newton's method for the penalised likelihood."""
    rows = np.stack([odds, np.ones_like(odds)], axis=1)
    likely = 1 / (1 + np.exp(-np.clip(rows @ place, -60, 60)))
    slope = rows.T @ (weights * (wanted - likely)) - RIDGE * (place - np.array([1.0, 0.0]))
    curve = (rows * (weights * likely * (1 - likely))[:, None]).T @ rows + np.diag([RIDGE, RIDGE])
    step: Numbers = np.linalg.solve(curve, slope)
    return step


def _log_odds(sure: Numbers) -> Numbers:
    clipped = np.clip(sure, TINY, 1 - TINY)
    odds: Numbers = np.log(clipped / (1 - clipped))
    return odds


def _uncalibrated(tools: Tools) -> Evidence:
    """The library's judge without the calibration that is set. Raises ConfigError for a judge of the user's own."""
    if not isinstance(tools.judge, Evidence):
        raise ConfigError("Only the built-in judge can be calibrated.", "Leave out --fit to measure your own.")
    return replace(tools.judge, calibration="")


def calibrate(rag: Rag, answerable: Sequence[Question], unanswerable: Sequence[Question], file: Path) -> Report:
    """Fit the library's judge to questions, write the calibration, and return what it reaches on the same questions."""
    judge = _uncalibrated(rag.tools)
    sure, unsure = _both(rag.tools, judge, answerable, unanswerable)
    made = fitted(sure, unsure)
    made.save(file)
    after = [[made.probability(odds) for odds in _log_odds(np.array(kind)).tolist()] for kind in (sure, unsure)]
    return report(after[0], after[1], judge.threshold)


def measure(rag: Rag, answerable: Sequence[Question], unanswerable: Sequence[Question]) -> Report:
    """What the library's judge reaches, as it is set."""
    tools = rag.tools
    sure, unsure = _both(tools, tools.judge, answerable, unanswerable)
    return report(sure, unsure, tools.judge.threshold)


def _both(
    tools: Tools, judge: Judge, answerable: Sequence[Question], unanswerable: Sequence[Question]
) -> tuple[list[float], list[float]]:
    """The confidences in both kinds; without unanswerable questions the answers of the others are held back."""
    asked = unanswerable or answerable
    return (
        confidences(tools, judge, answerable),
        confidences(tools, judge, asked, hold_back=not unanswerable),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ragapp.eval.refusal", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="LIBRARY", help="folder of the library")
    parser.add_argument("answerable", type=Path, help='questions that it answers, a line each: {"id", "question"}')
    parser.add_argument("unanswerable", type=Path, nargs="?", help="questions that it does not answer")
    parser.add_argument("--fit", type=Path, metavar="FILE", help="write a calibration for [answer] calibration")
    parser.add_argument("--json", action="store_true", help="a JSON object instead of tables")
    given = parser.parse_args(arguments)
    answerable = questions_of(given.answerable)
    unanswerable = questions_of(given.unanswerable) if given.unanswerable else []
    with Rag.open(given.folder, create=False) as rag:
        reports = {"measured": measure(rag, answerable, unanswerable)}
        if given.fit:
            reports["fitted"] = calibrate(rag, answerable, unanswerable, given.fit)
    if given.json:
        shown: dict[str, object] = {name: shape(result) for name, result in reports.items()}
        sys.stdout.write(json.dumps(shown if given.fit else shown["measured"]) + "\n")
        return
    for name, result in reports.items():
        sys.stdout.write("\n".join([*([f"{name}:"] if given.fit else []), *lines(result), ""]) + "\n")


if __name__ == "__main__":
    main()
