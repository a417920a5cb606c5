"""Fits the built-in weights of the judge of evidence (``evidence.py``) to questions, and says how they do elsewhere.

    python -m ragapp.eval.judgement --learn LIBRARY ANSWERABLE.jsonl [UNANSWERABLE.jsonl] --learn … [--apart …] [--json]

``examples.py`` tells what the files look like and how unanswerable examples are made of answerable questions. A library
may be given more than once. Sets given by ``--apart`` take no part in the fit, and a question that stands in one of
them is left out of the others. Libraries that share a document are never asked each other's questions.

Printed are the weights as they stand in ``evidence.py``, three sets of them: English with meaning, words alone, and
Chinese, Japanese and Korean. Then how often each library's questions are refused at the threshold by weights that were
fitted without that library and without its questions: wrongly where they can be answered, rightly where they cannot.
Then the same of the sets apart, by the weights as printed, with risk and coverage (``refusal.py``).

The fit is a logistic regression with a small ridge. Answerable examples weigh ``PRIOR`` of all and unanswerable ones
the rest, shared out among their kinds by ``SHARES``; within a kind all examples weigh the same. A file gives at most
``--most`` questions, so that no library drowns the others. The same files and libraries give the same weights.

This makes weights for everyone. For one library ``python -m ragapp.eval.refusal --fit`` writes a calibration, which
shifts and scales their log-odds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragapp.errors import ConfigError
from ragapp.eval.examples import Asked, Kind, Pair, asked_of, drawn, elsewhere, found, pairs
from ragapp.eval.refusal import Report, lines, report, shape
from ragapp.evidence import CJK, ENGLISH, PRIOR, WORDS_ALONE, Calibration, Evidence, Facts, Odds
from ragapp.rag import Rag
from ragapp.text import has_cjk
from ragapp.types import Query

SHARES: Mapping[Kind, float] = {"elsewhere": 0.4, "unanswerable": 0.4, "document": 0.3, "passages": 0.3}
KINDS: Sequence[Kind] = ("answerable", "unanswerable", "elsewhere", "document", "passages")
OTHERS = 2  # libraries that a question is asked to beside its own
MOST = 150
THRESHOLD = 0.5
RIDGE = 0.2
ROUNDS = 100  # of Newton's method; it needs about ten

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Source:
    """A library and files of questions about it."""

    library: Path
    answerable: Path
    unanswerable: Path | None = None

    @property
    def name(self) -> str:
        return self.library.resolve().name


@dataclass(frozen=True, slots=True)
class Example:
    """What is known of a question in a library; ``subject`` is the library that the question is about."""

    kind: Kind
    subject: str
    library: str
    is_cjk: bool
    facts: Facts


@dataclass(frozen=True, slots=True)
class Weighing:
    """A set of weights to be fitted: its name in evidence.py, its facts, and the questions that it is for."""

    name: str
    facts: Sequence[str]
    is_for_cjk: bool

    def takes(self, examples: Iterable[Example]) -> list[Example]:
        """The examples in its script; none where a fact is 0 throughout, as meaning is with other embedders."""
        mine = [example for example in examples if example.is_cjk == self.is_for_cjk]
        return mine if all(any(getattr(e.facts, name) for e in mine) for name in self.facts) else []


WEIGHINGS = (
    Weighing("ENGLISH", tuple(ENGLISH.weights), False),
    Weighing("WORDS_ALONE", tuple(WORDS_ALONE.weights), False),
    Weighing("CJK", tuple(CJK.weights), True),
)


@dataclass(frozen=True, slots=True)
class Row:
    """How many of a library's examples of a kind there are, and the share that is refused."""

    library: str
    kind: Kind
    examples: int
    refused: float


@dataclass(frozen=True, slots=True)
class Fit:
    """Weights, what they refuse of libraries that were left out, of the sets apart, and the measures of the latter.

    ``apart`` is None where the sets apart lack answerable or unanswerable examples.
    """

    name: str
    odds: Odds
    left_out: tuple[Row, ...]
    kept_apart: tuple[Row, ...]
    apart: Report | None


# -- examples ----------------------------------------------------------------------------------------------------------


def examples_of(sources: Sequence[Source], banned: frozenset[str], most: int) -> list[Example]:
    """The examples of some sets, without the questions that are ``banned``. Raises ReadError, and what opening does."""
    asked = [(source, drawn(_allowed(asked_of(source.answerable), banned), most)) for source in sources]
    strangers = _strangers(sources)
    made: list[Example] = []
    for library in dict.fromkeys(source.library for source in sources):
        with Rag.open(library, create=False) as rag:
            for source, questions in asked:
                if source.library == library:
                    made += _own(rag, source, questions, banned, most)
                else:
                    made += _foreign(rag, library.resolve().name, source, questions, strangers[source.name])
    return made


def _allowed(questions: Iterable[Asked], banned: frozenset[str]) -> list[Asked]:
    return [asked for asked in questions if asked.text not in banned]


def _strangers(sources: Sequence[Source]) -> dict[str, list[str]]:
    """For each library those that share no document with it, of questions in the same script. Raises as ``_check``."""
    documents, scripts = {}, {}
    for source in sources:
        questions = asked_of(source.answerable)
        with Rag.open(source.library, create=False) as rag:
            _check(rag, source, questions)
            documents[source.name] = set(rag.catalog.document_ids())
        scripts[source.name] = has_cjk(questions[0].text)
    return {
        name: [n for n, others in documents.items() if not own & others and scripts[n] == scripts[name]]
        for name, own in documents.items()
    }


def _own(rag: Rag, source: Source, questions: Sequence[Asked], banned: frozenset[str], most: int) -> Iterator[Example]:
    """A library's own questions, and those that are known to have no answer in it."""
    judge = _judge(rag)
    for asked in questions:
        for pair in pairs(rag.tools, asked):
            yield _example(judge, pair, source.name, source.name)
    if source.unanswerable:
        for asked in drawn(_allowed(asked_of(source.unanswerable), banned), most):
            pair = Pair("unanswerable", asked.text, tuple(found(rag.tools, asked.text)))
            yield _example(judge, pair, source.name, source.name)


def _check(rag: Rag, source: Source, questions: Iterable[Asked]) -> None:
    """Raises ConfigError where the documents that answer a question are not there: it would count as answerable."""
    held = {Path(entry.document).name for entry in rag.documents()}
    for asked in questions:
        if asked.documents and not asked.documents & held:
            raise ConfigError(
                f"{source.answerable}: {min(asked.documents)} is not in the library {source.name}.",
                "Each question that is called answerable must be answered by a document of its library.",
            )


def _foreign(
    rag: Rag, library: str, source: Source, questions: Sequence[Asked], strangers: Sequence[str]
) -> Iterator[Example]:
    """Questions about another library, as far as this one is among those drawn for them."""
    judge = _judge(rag)
    for asked in questions:
        if library in elsewhere(asked.text, strangers, OTHERS):
            pair = Pair("elsewhere", asked.text, tuple(found(rag.tools, asked.text)))
            yield _example(judge, pair, source.name, library)


def _judge(rag: Rag) -> Evidence:
    """The library's judge. Raises ConfigError for one of the user's own."""
    judge = rag.tools.judge
    if not isinstance(judge, Evidence):
        raise ConfigError("Only the built-in judge has weights to fit.")
    return judge


def _example(judge: Evidence, pair: Pair, subject: str, library: str) -> Example:
    facts = judge.facts(Query(pair.question), pair.passages) if pair.passages else Facts(0.0, 0.0, 0.0, 0.0)
    return Example(pair.kind, subject, library, has_cjk(pair.question), facts)


# -- the fit -----------------------------------------------------------------------------------------------------------


def fitted(examples: Sequence[Example], facts: Sequence[str]) -> Odds:
    """The weights of some facts. Raises ConfigError without examples of both sorts."""
    truth = np.array([float(example.kind == "answerable") for example in examples])
    if not 0 < truth.sum() < len(truth):
        raise ConfigError("Weights need questions that can be answered and others that cannot.")
    rows = np.array([[*(getattr(example.facts, name) for name in facts), 1.0] for example in examples])
    place = logistic(rows, truth, _shares([example.kind for example in examples]))
    return Odds(round(float(place[-1]), 2), {name: round(float(w), 2) for name, w in zip(facts, place, strict=False)})


def _shares(kinds: Sequence[Kind]) -> Numbers:
    """What each example counts: see the module. The sum is their number."""
    present = {kind: kinds.count(kind) for kind in set(kinds)}
    total = sum(SHARES[kind] for kind in present if kind != "answerable")
    each = {kind: (1 - PRIOR) * SHARES.get(kind, 0.0) / total / count for kind, count in present.items()}
    each["answerable"] = PRIOR / present["answerable"]
    return np.array([each[kind] for kind in kinds]) * len(kinds)


def logistic(rows: Numbers, truth: Numbers, weights: Numbers) -> Numbers:
    """Weights of the columns by maximum likelihood, with a ridge on all but the last column, which is all 1.

    Newton's method, its steps no longer than 1 in any direction: a full one may overshoot.
    """
    place = np.zeros(rows.shape[1])
    ridge = np.full(rows.shape[1], RIDGE)
    ridge[-1] = 1e-6
    for _ in range(ROUNDS):
        likely = 1 / (1 + np.exp(-np.clip(rows @ place, -60, 60)))
        slope = rows.T @ (weights * (truth - likely)) - ridge * place
        curve = (rows * (weights * likely * (1 - likely))[:, None]).T @ rows + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        place = place + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return place


def left_out(examples: Sequence[Example], facts: Sequence[str]) -> Iterator[tuple[Example, float]]:
    """Each library's questions with the probabilities by weights that know neither it nor them."""
    for name in sorted({example.subject for example in examples}):
        rest = [example for example in examples if name not in (example.subject, example.library)]
        odds = fitted(rest, facts)
        yield from ((e, _probability(odds, e)) for e in examples if e.subject == name)


def _probability(odds: Odds, example: Example) -> float:
    return Calibration().probability(odds.of(example.facts))


def rows_of(judged: Iterable[tuple[Example, float]]) -> Iterator[Row]:
    """The share refused of each library's questions of each kind, in the order of KINDS."""

    def place(pair: tuple[Example, float]) -> tuple[int, str]:
        return KINDS.index(pair[0].kind), pair[0].subject

    for (kind, name), group in groupby(sorted(judged, key=place), key=place):
        sure = np.array([probability for _, probability in group])
        yield Row(name, KINDS[kind], len(sure), float((sure < THRESHOLD).mean()))


def fit(weighing: Weighing, learned: Sequence[Example], apart: Sequence[Example]) -> Fit:
    """Weights for questions of one sort, and how they do. Raises ConfigError without enough examples."""
    mine, others = weighing.takes(learned), weighing.takes(apart)
    odds = fitted(mine, weighing.facts)
    judged = [(example, _probability(odds, example)) for example in others]
    sure = [probability for example, probability in judged if example.kind == "answerable"]
    unsure = [probability for example, probability in judged if example.kind == "unanswerable"]
    several = len({example.subject for example in mine}) > 1
    return Fit(
        weighing.name, odds, tuple(rows_of(left_out(mine, weighing.facts))) if several else (),
        tuple(rows_of(judged)), report(sure, unsure, THRESHOLD) if sure and unsure else None,
    )  # fmt: skip


# -- what is printed ---------------------------------------------------------------------------------------------------


def constant(made: Fit) -> str:
    """The weights as a line of evidence.py."""
    weights = ", ".join(f'"{name}": {weight:.2f}' for name, weight in made.odds.weights.items())
    return f"{made.name} = Odds({made.odds.shift:.2f}, {{{weights}}})"


def text_of(made: Fit) -> Iterator[str]:
    """A fit as text, its tables in Markdown."""
    yield from (f"## {made.name}", "", constant(made))
    for title, rows in (("left out of the fit", made.left_out), ("kept apart", made.kept_apart)):
        if rows:
            yield from ("", f"| {title} | kind | examples | refused |", "|---|---|---|---|")
            yield from (f"| {row.library} | {row.kind} | {row.examples} | {row.refused:.3f} |" for row in rows)
            yield from (f"| mean | {kind} | | {mean:.3f} |" for kind, mean in means(rows).items())
    if made.apart:
        yield from ("", *lines(made.apart))
    yield ""


def means(rows: Sequence[Row]) -> dict[Kind, float]:
    """The mean share refused of each kind, all libraries alike."""
    by_kind = {kind: [row.refused for row in rows if row.kind == kind] for kind in KINDS}
    return {kind: float(np.mean(shares)) for kind, shares in by_kind.items() if shares}


def json_of(made: Fit) -> dict[str, object]:
    """A fit as JSON."""
    tables = {"left_out": made.left_out, "kept_apart": made.kept_apart}
    return {
        "shift": made.odds.shift,
        "weights": dict(made.odds.weights),
        **{name: [{key: getattr(row, key) for key in Row.__slots__} for row in rows] for name, rows in tables.items()},
        "apart": shape(made.apart) if made.apart else None,
    }


def _sources(given: Sequence[Sequence[str]]) -> list[Source]:
    """Raises ConfigError for anything but a library and one or two files."""
    for each in given:
        if len(each) not in (2, 3):
            raise ConfigError(f"{' '.join(each)}: a set is a library and one or two files of questions.")
    return [Source(Path(each[0]), *map(Path, each[1:])) for each in given]


def _tell_apart(sources: Sequence[Source]) -> None:
    """Raises ConfigError for two libraries of the same name."""
    folders = {source.library.resolve() for source in sources}
    if len({folder.name for folder in folders}) < len(folders):
        raise ConfigError("Two libraries have the same name.", "Results are shown by the names of their folders.")


def _questions(source: Source) -> Iterator[str]:
    for path in filter(None, (source.answerable, source.unanswerable)):
        yield from (asked.text for asked in asked_of(path))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ragapp.eval.judgement", description=(__doc__ or "").splitlines()[0]
    )
    parts = {"nargs": "+", "action": "append", "metavar": ("LIBRARY", "ANSWERABLE [UNANSWERABLE]"), "default": []}
    parser.add_argument("--learn", **parts, help="a library and questions to learn from")  # type: ignore[arg-type]
    parser.add_argument("--apart", **parts, help="a set that takes no part in the fit")  # type: ignore[arg-type]
    parser.add_argument("--most", type=int, default=MOST, help="questions of a file (%(default)s)")
    parser.add_argument("--json", action="store_true", help="a JSON object instead of tables")
    given = parser.parse_args(arguments)
    learned, apart = _sources(given.learn), _sources(given.apart)
    _tell_apart([*learned, *apart])
    banned = frozenset(text for source in apart for text in _questions(source))
    examples = examples_of(learned, banned, given.most), examples_of(apart, frozenset(), given.most)
    fits = [fit(each, *examples) for each in WEIGHINGS if each.takes(examples[0])]
    if not fits:
        raise ConfigError("There is nothing to learn from.", "Name sets: --learn LIBRARY ANSWERABLE.jsonl")
    show: Callable[[Fit], object] = json_of if given.json else lambda made: "\n".join(text_of(made))
    shown = {made.name: show(made) for made in fits}
    sys.stdout.write(json.dumps(shown) + "\n" if given.json else "\n".join(map(str, shown.values())))


if __name__ == "__main__":
    main()
