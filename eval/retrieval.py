"""How good a list of found passages is: success, recall, precision, MRR, nDCG and MAP, on three levels.

``passages`` takes every hit as it is; a hit is right when it overlaps a gold quote or, where its question has none (or
the quote was not found in the document), when its page is gold. ``pages`` and ``documents`` keep the first hit of each
page or document. The measures are trec_eval's, by way of ir_measures (MacAvaney et al. 2022): gains are the grades of
the gold places and not powers of two; on the level of passages every right one counts 1.

A measure that does not apply is absent, never 0: all of them for a question without gold, or that cannot be answered;
a level that the gold says nothing about; recall, nDCG and MAP where nobody knows how many right ones there are, as of
pages when a gold place names none. All measures look at the list as it was recorded: "map" is cut where it ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final, Literal, get_args

from ragapp.errors import ConfigError
from ragapp.eval.questions import Gold, Question, is_same_document
from ragapp.eval.records import Hit, Record

if TYPE_CHECKING:
    from ir_measures.measures import Measure

Level = Literal["passages", "pages", "documents"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
SUCCESS_AT = (1, 3, 5, 10)
RECALL_AT = (1, 3, 5, 10, 20)
MEASURES: Final = (
    *(f"success@{k}" for k in SUCCESS_AT), *(f"recall@{k}" for k in RECALL_AT),
    "precision@5", "mrr@10", "ndcg@10", "map",
)  # fmt: skip
NAMES: Final = tuple(f"{level}.{measure}" for level in LEVELS for measure in MEASURES)

# The same few names are compared over and over.
_is_same = lru_cache(maxsize=1 << 16)(is_same_document)
_NEED_TOTAL = frozenset(name for name in MEASURES if name.startswith(("recall@", "ndcg@", "map")))

Scores = dict[str, float]


@dataclass(slots=True)
class _Ranking:
    """What ir_measures is given of one question on one level: names best first, and the grades of the right ones.

    ``is_complete`` says whether ``grades`` holds all that could have been found.
    """

    found: list[str] = field(default_factory=list)
    grades: dict[str, int] = field(default_factory=dict)
    is_complete: bool = True


def scores(question: Question, hits: Sequence[Hit], relevant: Mapping[str, int]) -> Scores:
    """The measures of one list, best hit first, as "LEVEL.MEASURE". ``relevant`` is as in Record."""
    return scores_of_all([(question, Record(question.id, "search", tuple(hits), relevant=relevant))])[question.id]


def scores_of_all(pairs: Iterable[tuple[Question, Record]]) -> dict[str, Scores]:
    """The measures of many questions by id, computed together; one without any has an empty dict.

    Of a record only ``hits`` and ``relevant`` are looked at.
    """
    made: dict[str, Scores] = {}
    rankings: dict[str, tuple[str, Level, _Ranking]] = {}
    for question, record in pairs:
        made[question.id] = {}
        for level, ranking in _rankings(question, record.hits, record.relevant):
            rankings[str(len(rankings))] = question.id, level, ranking
    grades = {key: ranking.grades for key, (*_, ranking) in rankings.items()}
    found = {key: ranking.found for key, (*_, ranking) in rankings.items()}
    for key, measure, value in measured(grades, found):
        name, level, ranking = rankings[key]
        if ranking.is_complete or measure not in _NEED_TOTAL:
            made[name][f"{level}.{measure}"] = value
    return {name: {key: each[key] for key in NAMES if key in each} for name, each in made.items()}


def why_not(question: Question, measure: str) -> str:
    """Why a question lacks a measure of NAMES, in words to count by."""
    level, _, name = measure.partition(".")
    if not question.answerable:
        return "unanswerable"
    if not any(gold.relevance > 0 for gold in question.gold):
        return "no gold"
    known = [gold for gold in question.gold if gold.relevance > 0]
    is_quoted = level == "passages" and any(gold.quote for gold in known)
    if level != "documents" and not is_quoted and not any(gold.pages for gold in known):
        return "no gold page" if level == "pages" else "no gold page or quote"
    if name in _NEED_TOTAL:
        return "number of right pages unknown" if level == "pages" else "number of right passages unknown"
    return "gold quote not found in the document" if is_quoted else "no hits recorded"


def _rankings(question: Question, hits: Sequence[Hit], relevant: Mapping[str, int]) -> Iterator[tuple[Level, _Ranking]]:
    """The levels that the gold of a question says something about."""
    gold = [place for place in question.gold if place.relevance > 0]
    if not question.answerable or not gold:
        return
    names = _names(gold)
    if any(place.pages for place in gold) or relevant.get("passages") or any(hit.gold is not None for hit in hits):
        yield "passages", _of_passages(gold, hits, relevant.get("passages"))
    if any(place.pages for place in gold):
        yield "pages", _of_pages(gold, names, hits)
    yield "documents", _of_documents(gold, names, hits)


def _of_passages(gold: Sequence[Gold], hits: Sequence[Hit], total: int | None) -> _Ranking:
    """Every hit is one of its own; those that could have been found besides have names that no hit has."""
    found = [str(place) for place in range(len(hits))]
    right = [name for name, hit in zip(found, hits, strict=True) if is_right(gold, hit)]
    missed = max(0, (total or 0) - len(right))
    # A list without a right one still needs something that it could have held.
    others = [f"missed {n}" for n in range(missed)] or ([] if right else ["missed"])
    return _Ranking(found, dict.fromkeys([*right, *others], 1), total is not None)


def is_right(gold: Sequence[Gold], hit: Hit) -> bool:
    """Whether a hit overlaps a gold quote, or lies on a gold page that is known without a quote."""
    if hit.gold:
        return True
    return any(
        hit.page in place.pages and _is_same(place.document, hit.document)
        for place in gold
        if place.relevance > 0 and (hit.gold is None or not place.quote)
    )


def _of_pages(gold: Sequence[Gold], names: Mapping[str, str], hits: Sequence[Hit]) -> _Ranking:
    grades: dict[str, int] = {}
    for place in gold:
        for page in place.pages:
            key = _page(names[place.document], page)
            grades[key] = max(grades.get(key, 0), place.relevance)
    found = [_page(_named(names, hit.document), hit.page) for hit in hits]
    return _Ranking(list(dict.fromkeys(found)), grades, all(place.pages for place in gold))


def _of_documents(gold: Sequence[Gold], names: Mapping[str, str], hits: Sequence[Hit]) -> _Ranking:
    grades: dict[str, int] = {}
    for place in gold:
        key = names[place.document]
        grades[key] = max(grades.get(key, 0), place.relevance)
    return _Ranking(list(dict.fromkeys(_named(names, hit.document) for hit in hits)), grades)


def _names(gold: Sequence[Gold]) -> dict[str, str]:
    """One name for each gold document, however its places spell it."""
    names: dict[str, str] = {}
    for place in gold:
        same = (known for known in names.values() if _is_same(known, place.document))
        names.setdefault(place.document, next(same, place.document))
    return names


def _named(names: Mapping[str, str], document: str) -> str:
    """The gold's name of a document, or its own."""
    return next((name for spelled, name in names.items() if _is_same(spelled, document)), document)


def _page(document: str, page: int) -> str:
    return f"{document}\n{page}"


# -- ir_measures -------------------------------------------------------------------------------------------------------


def measured(
    grades: Mapping[str, Mapping[str, int]], found: Mapping[str, Sequence[str]], measures: Collection[str] = MEASURES
) -> Iterator[tuple[str, str, float]]:
    """Question, measure and value, for every question of ``grades``; what is found best first, nothing twice.

    ``measures`` are named as in MEASURES, with any k; one with k looks at the first k that were found. A question
    without anything found has zeros. Raises ConfigError for an unknown measure.
    """
    if not grades:
        return
    import ir_measures

    wanted = {_measure(name): name for name in measures}
    # trec_eval orders by score, and what is equal by name: no two scores are.
    run = {
        question: {name: float(len(names) - place) for place, name in enumerate(names)}
        for question, names in found.items()
    }
    for result in ir_measures.iter_calc(list(wanted), {key: dict(right) for key, right in grades.items()}, run):
        yield result.query_id, wanted[result.measure], float(result.value)


@cache
def _measure(name: str) -> Measure:
    """What ir_measures calls it."""
    import ir_measures

    kinds = {"success": "Success", "recall": "R", "precision": "P", "mrr": "RR", "ndcg": "nDCG", "map": "AP"}
    kind, at, cut = name.partition("@")
    if kind not in kinds or (at and not cut.isdigit()):
        raise ConfigError(f"There is no measure {name!r} of a ranking.", f"There are {', '.join(kinds)}, with @k.")
    made: Measure = ir_measures.parse_measure(f"{kinds[kind]}{at}{cut}")
    return made
