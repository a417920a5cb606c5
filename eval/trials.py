"""Questions scored under many settings, each question under each settings once."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ragapp.errors import ConfigError
from ragapp.eval import answering, retrieval
from ragapp.eval.dataset import Question
from ragapp.eval.places import PlaceFinder, Places, cite_of, hit_of
from ragapp.eval.records import Kind, Record
from ragapp.eval.variants import Variant, Variants
from ragapp.steps import hypothesize, pool, rerank, rewrite, search_all
from ragapp.types import Answer, Event, Passage, Query

DEPTH = 20  # passages that are looked at, as in a run: recall@20 is the deepest measure
AT_ONCE = 16  # questions scored together; before each lot ``check`` is called

Settings = Mapping[str, object]
_T = TypeVar("_T")


def kind_of(metric: str) -> Kind:
    """What must be made to have a metric: lists of passages, or answers. Raises ConfigError for an unknown one."""
    if metric in retrieval.NAMES:
        return "search"
    if metric in answering.NAMES:
        return "ask"
    raise ConfigError(f"There is no metric {metric!r}.", f"Known: {', '.join((*retrieval.NAMES, *answering.NAMES))}.")


def key_of(settings: Settings) -> str:
    """What tells settings apart, whatever the order of their keys."""
    return json.dumps(dict(settings), sort_keys=True)


class Trials:
    """The scores of questions, kept by settings. ``check`` may raise, to stop a trial that is under way. Where
    ``metrics`` are named, only those are kept.

    With ``[search] hyde`` "on" and a Llama a search is that of a flow: for the question and for what the Llama imagines
    of it, pooled. Everything else is what ``Rag.search`` and ``Rag.ask`` give.
    """

    def __init__(
        self,
        variants: Variants,
        questions: Sequence[Question],
        *,
        kind: Kind = "search",
        seed: int = 0,
        metrics: Collection[str] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.questions = {question.id: question for question in questions}
        self._variants = variants
        self._kind = kind
        self._seed = seed
        self._metrics = frozenset(metrics)
        self._check = check
        finder = PlaceFinder(variants.base.catalog)
        self._places = {question.id: finder.find(question) for question in questions}
        self._scores: dict[str, dict[str, dict[str, float]]] = {}
        self._open: dict[str, Variant] = {}
        self._imagined: dict[tuple[str, str], tuple[str, ...]] = {}

    def scores(self, settings: Settings, ids: Iterable[str], metric: str) -> dict[str, float]:
        """A metric of questions by id; those that it does not apply to are left out."""
        wanted = list(ids)
        kept = self._scores.setdefault(key_of(settings), {})
        missing = [name for name in wanted if name not in kept]
        for at in range(0, len(missing), AT_ONCE):
            self._check()
            kept.update(self._scored(settings, missing[at : at + AT_ONCE]))
        return {name: kept[name][metric] for name in wanted if metric in kept[name]}

    def mean(self, settings: Settings, ids: Iterable[str], metric: str) -> float:
        """The mean of a metric over the questions that it applies to; 0 where it applies to none."""
        found = self.scores(settings, ids, metric)
        return sum(found.values()) / len(found) if found else 0.0

    def is_known(self, settings: Settings, name: str) -> bool:
        """Whether a question has been scored under these settings."""
        return name in self._scores.get(key_of(settings), {})

    def _scored(self, settings: Settings, ids: Sequence[str]) -> dict[str, dict[str, float]]:
        variant = self._variant(settings)
        pairs = [(self.questions[name], self._record(variant, self.questions[name])) for name in ids]
        found = retrieval.scores_of_all(pairs)
        if self._kind == "ask":
            found = {
                question.id: {**found[question.id], **answering.scores(question, made)} for question, made in pairs
            }
        return {name: self._wanted(scores) for name, scores in found.items()}

    def _wanted(self, scores: dict[str, float]) -> dict[str, float]:
        return {name: scores[name] for name in self._metrics & scores.keys()} if self._metrics else scores

    def _variant(self, settings: Settings) -> Variant:
        """The library under these settings; the one that was used last stays open."""
        key = key_of(settings)
        if key not in self._open:
            self.close()
            self._open[key] = self._variants.open(settings)
        return self._open[key]

    def close(self) -> None:
        """Let go of the library that is open; the next question opens it again."""
        for variant in self._open.values():
            variant.close()
        self._open.clear()

    # -- one question --------------------------------------------------------------------------------------------

    def _record(self, variant: Variant, question: Question) -> Record:
        query = Query(question.text, question.history, question.where, seed=self._seed)
        places = self._places[question.id]
        imagines = variant.config.search.hyde == "on" and variant.chat is not None
        found = self._widely(variant, query) if imagines and self._kind == "search" else variant.search(query, DEPTH)
        # How many chunks hold the gold is another number with every chunker.
        relevant = {level: count for level, count in places.relevant.items() if level != "passages"}
        record = Record(question.id, self._kind, tuple(hit_of(each, places) for each in found), relevant=relevant)
        return record if self._kind == "search" else _answered(record, variant.ask(query), places)

    def _widely(self, variant: Variant, query: Query) -> list[Passage]:
        tools = variant.tools
        query = returned(rewrite(tools, query))
        key = variant.config.chat.model, query.sought
        if key not in self._imagined:
            self._imagined[key] = returned(hypothesize(tools, query)).hypotheses
        queries = [query, *([replace(query, hypotheses=self._imagined[key])] if self._imagined[key] else [])]
        lists = returned(search_all(tools, queries, max(DEPTH, tools.depth)))
        pooled = returned(pool(tools, lists)) if len(lists) > 1 else lists[0]
        return returned(rerank(tools, query, pooled))[:DEPTH]


def returned(step: Generator[Event, None, _T]) -> _T:
    """What a step of a flow returns, its events passed over."""
    while True:
        try:
            next(step)
        except StopIteration as end:
            result: _T = end.value
            return result


def _answered(record: Record, answer: Answer, places: Places) -> Record:
    return replace(
        record,
        answer=answer.text,
        citations=tuple(cite_of(citation, places) for citation in answer.citations),
        finish_reason=answer.finish_reason,
        confidence=answer.confidence,
    )
