"""How often the right page was among those that were found: hit@k and the mean reciprocal rank, exact and near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragapp.eval.benched import Hits
from ragapp.eval.questions import Question, is_same_document

Place = Sequence[object]  # a document's name, and its page or None
DEEPEST = 10  # ranks that count for the mean of 1/rank


def hits(questions: Sequence[Question], found: Mapping[str, Sequence[Place]]) -> Hits | None:
    """The scores over the questions that have a gold page, None where there are none.

    A question that is not in ``found`` counts as not found. Several passages of one page each take a rank.
    """
    paged = [question for question in questions if any(gold.pages for gold in question.gold)]
    if not paged:
        return None
    exact = [rank_of(question, found.get(question.id, ()), 0) for question in paged]
    near = [rank_of(question, found.get(question.id, ()), 1) for question in paged]
    return Hits(len(paged), _at(exact, 1), _at(exact, 5), _mrr(exact), _at(near, 5), _mrr(near))


def rank_of(question: Question, places: Sequence[Place], near: int) -> int:
    """The rank from 1 of the first place that is at most ``near`` pages from a gold page; 0 if there is none."""
    for rank, (document, page) in enumerate(places, 1):
        if isinstance(page, int) and _is_gold(question, str(document), page, near):
            return rank
    return 0


def _is_gold(question: Question, document: str, page: int, near: int) -> bool:
    return any(
        is_same_document(gold.document, document) and any(abs(page - right) <= near for right in gold.pages)
        for gold in question.gold
    )


def _at(ranks: Sequence[int], k: int) -> float:
    return sum(0 < rank <= k for rank in ranks) / len(ranks)


def _mrr(ranks: Sequence[int]) -> float:
    return sum(1 / rank for rank in ranks if 0 < rank <= DEEPEST) / len(ranks)
