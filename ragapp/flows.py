"""Flows: whole ways from a question to an answer, the four shapes of Modular RAG (Gao et al. 2024), made of steps.

Without a language model each still works: what a model would write is then done by wording alone, or left out.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from ragapp.ports import Tools
from ragapp.steps import (
    check_expansion,
    gather,
    greet,
    hypothesize,
    missing,
    needs_library,
    pool,
    refuse,
    rerank,
    rewrite,
    search,
    search_all,
    small_talk,
    split,
    step_back,
    vary,
    weigh,
    widen,
    write,
)
from ragapp.types import Done, Event, Found, Passage, Query

ROUNDS = 3  # further searches of the looping flow
HOPELESS = 0.5  # share of the judge's threshold below which a first search is thrown away


def linear(tools: Tools, query: Query) -> Iterator[Event]:
    """One way for every question: rewrite, search, look closely, weigh, write or refuse.

    Where the settings ask for it the search is widened by other wordings and the more general question, and by HyDE
    (Gao et al. 2022) always or, by default, only where the first search is weak.
    """
    check_expansion(tools)
    query = yield from rewrite(tools, query)
    passages = yield from _search_widely(tools, query)
    passages, confidence = yield from _look(tools, query, passages)
    if confidence < tools.judge.threshold and tools.expansion.hyde == "auto" and tools.writer is not None:
        imagined = yield from hypothesize(tools, query)
        if imagined.hypotheses:
            again = yield from search(tools, imagined)
            pooled = yield from pool(tools, [passages, again])
            passages, confidence = yield from _look(tools, query, pooled)
    yield from _finish(tools, query, passages, confidence)


def conditional(tools: Tools, query: Query) -> Iterator[Event]:
    """As much as a question needs: none for small talk, a second search where the first is weak.

    Corrective RAG (Yan et al. 2024): a confident search is answered from; an ambiguous one is joined by a second one; a
    hopeless one is replaced by it. The model is asked whether documents are wanted at all only when the first search
    was weak, as searching costs milliseconds and a wrong "no" the answer.
    """
    check_expansion(tools)
    if (yield from small_talk(query)):
        yield from _greet(query)
        return
    query = yield from rewrite(tools, query)
    passages = yield from _search_widely(tools, query)
    passages, confidence = yield from _look(tools, query, passages)
    if confidence < tools.judge.threshold:
        if tools.writer is not None and not (yield from needs_library(tools, query)):
            yield from _greet(query)
            return
        is_hopeless = confidence < HOPELESS * tools.judge.threshold
        # Passages that are worth nothing have no words to search with either.
        wider = yield from widen(tools, query, [] if is_hopeless else passages)
        again = yield from search(tools, wider)
        lists = [again] if is_hopeless and again else [passages, again]
        # What was worded without a model only adds to what was found.
        pooled = yield from pool(tools, lists, 0 if wider.hypotheses else tools.k // 2)
        passages, confidence = yield from _look(tools, query, pooled)
    yield from _finish(tools, query, passages, confidence)


def branching(tools: Tools, query: Query) -> Iterator[Event]:
    """A question of several parts: each searched at the same time, all pooled, one rerank, one answer.

    The question itself is searched too, so that a wrong split loses little. The searches take turns in the pool: the
    parts of a comparison share few passages, and the one that the whole question finds less of would get none.
    """
    check_expansion(tools)
    query = yield from rewrite(tools, query)
    parts = yield from split(tools, query)
    first = yield from _search_widely(tools, query)
    lists = [first]
    if len(parts) > 1:
        lists += yield from search_all(tools, parts)
        query = replace(query, parts=tuple(part.sought for part in parts))
    passages = yield from pool(tools, lists, in_turns=True)
    passages, confidence = yield from _look(tools, query, passages)
    yield from _finish(tools, query, passages, confidence)


def looping(tools: Tools, query: Query) -> Iterator[Event]:
    """Search until the passages suffice: what is missing is searched for next, within the budget.

    Iterative retrieval as in Modular RAG and ITER-RETGEN (Shao et al. 2023), judged before each round.
    """
    check_expansion(tools)
    query = yield from rewrite(tools, query)
    passages = yield from _search_widely(tools, query)
    lists, asked = [passages], {query.sought}
    while len(lists) <= ROUNDS and not tools.budget.is_late:
        further = yield from missing(tools, query, passages[: tools.k])
        if further is None or further.sought in asked:
            break
        asked.add(further.sought)
        lists.append((yield from search(tools, further)))
        # What is missing is added behind what was found for the question itself.
        passages = yield from pool(tools, lists, tools.k // 2)
    passages, confidence = yield from _look(tools, query, passages)
    yield from _finish(tools, query, passages, confidence)


# -- what they share ---------------------------------------------------------------------------------------------------


def _search_widely(tools: Tools, query: Query) -> Generator[Event, None, list[Passage]]:
    """One search, or those that the settings ask for besides, pooled."""
    wanted = tools.expansion
    queries = [query]
    if wanted.variants:
        queries += yield from vary(tools, query)
    if wanted.step_back:
        queries.append((yield from step_back(tools, query)))
    if wanted.hyde == "on":
        queries.append((yield from hypothesize(tools, query)))
    # A helping call that failed has left the question as it was.
    lists = yield from search_all(tools, _different(queries))
    return (yield from pool(tools, lists)) if len(lists) > 1 else lists[0]


def _different(queries: Sequence[Query]) -> list[Query]:
    """The queries that search for something of their own, in order."""
    return list({(query.sought, query.hypotheses): query for query in reversed(queries)}.values())[::-1]


def _look(
    tools: Tools, query: Query, passages: Sequence[Passage]
) -> Generator[Event, None, tuple[list[Passage], float]]:
    """Passages looked at closely, and how sure that makes."""
    ordered = yield from rerank(tools, query, passages)
    confidence = yield from weigh(tools, query, ordered)
    return ordered, confidence


def _finish(tools: Tools, query: Query, passages: Sequence[Passage], confidence: float) -> Iterator[Event]:
    """The best passages made readable, then the answer, or that there is none."""
    gathered = yield from gather(tools, query, passages)
    yield Found(tuple(gathered))
    if confidence < tools.judge.threshold:
        answer = yield from refuse(tools, query, gathered, confidence)
    else:
        answer = yield from write(tools, query, gathered, confidence)
    yield Done(answer)


def _greet(query: Query) -> Iterator[Event]:
    yield Found(())
    yield Done((yield from greet(query)))
