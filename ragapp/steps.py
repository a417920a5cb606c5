"""The verbs a flow is made of. Each yields events while it works and returns its result.

Every verb that had work to do ends with one Step that says what it cost and why. Those that ask a language model may
fail, be refused by the budget, or get a reply that makes no sense: then they return what was there before, and the Step
has a ``warning`` or says that the budget was used up. What the model writes for them is never a Token.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from ragapp.errors import ConfigError, ModelError
from ragapp.followups import ABSENT, standalone
from ragapp.ports import Tools
from ragapp.retrievers import has_same_parent, is_same
from ragapp.text import collapse, is_chinese, no_answer
from ragapp.types import Answer, Event, Passage, Query, Step, Token, Turn, Waiting
from ragapp.wording import content, is_small_talk, names, sub_questions, tokens
from ragapp.writers import lines, paragraphs, verdict

HYPOTHESES = 1  # passages that are imagined; at temperature 0 further ones say the same
MOST_PARTS = 4  # questions that one question is split into
SEARCHES = 4  # searches at a time
RRF_CONSTANT = 60  # of reciprocal rank fusion (Cormack et al. 2009)
HISTORY_CHARS = 3000  # of the conversation that the model is shown to rewrite a question
TURN_CHARS = 800  # of one turn of it
JUDGED_CHARS = 6000  # of passages that the model is shown to judge them
FEEDBACK_PASSAGES = 3  # whose words widen a question without a model …
FEEDBACK_WORDS = 6  # … and how many of them
LACKING = 1 / 3  # of what a question tells, in no passage: then it is searched for
TOKENS: Mapping[str, int] = {  # that a task may write
    "rewrite": 96, "hyde": 200, "variants": 48, "step_back": 64, "split": 64, "route": 8, "judge": 96,
}  # fmt: skip
HELLO_EN = "I answer questions about your documents. Ask me about something that stands in them."
HELLO_ZH = "我根据您的文档回答问题。请就文档中的内容向我提问。"


# -- asking the model --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Reply:
    """What the model said to a helping call, nothing where it was not asked or failed; and what a Step says of it."""

    text: str = ""
    detail: dict[str, object] = field(default_factory=dict)

    def useless(self, what: str) -> None:
        """Note that the reply was no ``what``, where there was a reply."""
        if self.text:
            self.detail["warning"] = f"The model wrote no {what}; the question is used without."


def _ask(
    tools: Tools, task: str, query: Query, values: Mapping[str, str], times: int = 1
) -> Generator[Event, None, _Reply]:
    """Put one helping question to the model, within the budget."""
    if tools.writer is None:
        return _Reply()
    granted = tools.budget.grant(TOKENS[task] * times)
    if not granted:
        return _Reply(detail={"calls": 0, "skipped": "the budget is used up"})
    asked = replace(query, deadline=tools.budget.help_deadline)
    try:
        written = yield from _quietly(tools.writer.write(task, asked, values, granted))
    except ModelError as error:
        return _Reply(detail={"calls": 1, "tokens": granted, "warning": f"The model failed at {task!r}: {error}"})
    used = written.usage.completion_tokens
    # A model that counts nothing has used what it was granted.
    tools.budget.give_back(granted - used if used else 0)
    cost = {"calls": 1, "tokens": used or granted, "prompt_tokens": written.usage.prompt_tokens}
    return _Reply(written.text.strip(), cost)


def _quietly(writing: Generator[Event, None, Any]) -> Generator[Event, None, Any]:
    """What a generator returns; of its events only those that say it waits."""
    with closing(writing):
        while True:
            try:
                event = next(writing)
            except StopIteration as end:
                return end.value
            if isinstance(event, Waiting):
                yield event


def check_expansion(tools: Tools) -> None:
    """Raise ConfigError where the settings ask for what only a language model can write, and none is set."""
    if tools.writer is not None:
        return
    wanted = tools.expansion
    asked = {"hyde = 'on'": wanted.hyde == "on", "variants": wanted.variants > 0, "step_back": wanted.step_back}
    named = [name for name, is_wanted in asked.items() if is_wanted]
    if named:
        raise ConfigError(
            f"[search] {', '.join(named)} needs a language model to write what is searched for, and none is set.",
            "Name one (--llm, or [chat] model), or leave the setting as it is by default (--hyde auto).",
        )


# -- before the search -------------------------------------------------------------------------------------------------


def rewrite(tools: Tools, query: Query) -> Generator[Event, None, Query]:
    """Write out what a question takes from its conversation: by the model, else by the words of earlier questions."""
    if query.standalone or not any(turn.role == "user" for turn in query.history):
        return query
    started = time.perf_counter()
    by_words = standalone(query.text, query.history, tools.words)
    reply = yield from _ask(tools, "rewrite", query, {"question": query.text, "history": _conversation(query)})
    written = lines(reply.text, 1)
    if not written:
        reply.useless("standalone question")
    sought = written[0] if written else by_words
    by = "model" if written else "words"
    yield _step("rewrite", started, {"by": by, "question": sought, "changed": sought != query.text, **reply.detail})
    return replace(query, standalone=sought if sought != query.text else "")


def _conversation(query: Query) -> str:
    """The latest turns as lines, newest last, within HISTORY_CHARS."""
    chinese = is_chinese(query.text)
    roles = {"user": "用户：" if chinese else "User: ", "assistant": "助手：" if chinese else "Assistant: "}
    shown: list[str] = []
    room = HISTORY_CHARS
    for turn in reversed([turn for turn in query.history if turn.role in roles]):
        line = f"{roles[turn.role]}{_short(turn)}"
        if len(line) > room:
            break
        room -= len(line)
        shown.append(line)
    return "\n".join(reversed(shown))


def _short(turn: Turn) -> str:
    text = collapse(turn.text)
    return text if len(text) <= TURN_CHARS else f"{text[:TURN_CHARS]}…"


def hypothesize(tools: Tools, query: Query) -> Generator[Event, None, Query]:
    """The question with passages that might answer it, as the model imagines them (HyDE, Gao et al. 2022)."""
    started = time.perf_counter()
    values = {"question": query.sought, "count": str(HYPOTHESES)}
    reply = yield from _ask(tools, "hyde", query, values, HYPOTHESES)
    imagined = tuple(paragraphs(reply.text, HYPOTHESES))
    if not imagined:
        reply.useless("passage")
    yield _step("hypothesize", started, {"passages": list(imagined), **reply.detail})
    return replace(query, hypotheses=imagined) if imagined else query


def vary(tools: Tools, query: Query) -> Generator[Event, None, list[Query]]:
    """Other wordings of a question, as many as the tools say; none where there is no model."""
    count = tools.expansion.variants
    return (yield from _others(tools, query, "vary", "variants", count))


def step_back(tools: Tools, query: Query) -> Generator[Event, None, Query]:
    """The more general question behind a question (Zheng et al. 2023); the question itself where there is no model."""
    others = yield from _others(tools, query, "step_back", "step_back", 1)
    return others[0] if others else query


def _others(tools: Tools, query: Query, name: str, task: str, count: int) -> Generator[Event, None, list[Query]]:
    """Other questions that the model writes for a question."""
    started = time.perf_counter()
    values = {"question": query.sought, "count": str(count)}
    reply = yield from _ask(tools, task, query, values if task != "step_back" else {"question": query.sought}, count)
    written = [line for line in lines(reply.text, count) if line != query.sought]
    if not written:
        reply.useless("other question")
    yield _step(name, started, {"questions": written, **reply.detail})
    return [_as_question(query, line) for line in written]


def split(tools: Tools, query: Query) -> Generator[Event, None, list[Query]]:
    """The questions that a question holds, at least itself: by the model, else by its wording."""
    started = time.perf_counter()
    values = {"question": query.sought, "count": str(MOST_PARTS)}
    reply = yield from _ask(tools, "split", query, values, MOST_PARTS)
    parts = lines(reply.text, MOST_PARTS)
    by = "model" if parts else "words"
    if not parts:
        reply.useless("sub-question")
        parts = sub_questions(query.sought)[:MOST_PARTS]
        # A later part may lean on an earlier one: "… and when was it sold?"
        earlier = [Turn("user", part) for part in parts]
        parts = [standalone(part, earlier[:place], tools.words) for place, part in enumerate(parts)]
    yield _step("split", started, {"by": by, "questions": parts, **reply.detail})
    return [_as_question(query, part) for part in parts] if len(parts) > 1 else [query]


def _as_question(query: Query, text: str) -> Query:
    """The query, searching for another question."""
    return replace(query, standalone=text, hypotheses=())


def needs_library(tools: Tools, query: Query) -> Generator[Event, None, bool]:
    """Whether a message asks for something that may stand in documents: yes, unless the model says a clear no."""
    started = time.perf_counter()
    reply = yield from _ask(tools, "route", query, {"question": query.text, "history": _conversation(query)})
    said, _ = verdict(reply.text)
    if said is None:
        reply.useless("yes or no")
    yield _step(
        "route", started, {"library": said is not False, "by": "model" if reply.text else "words", **reply.detail}
    )
    return said is not False


def small_talk(query: Query) -> Generator[Event, None, bool]:
    """Whether a message is nothing but a greeting, thanks, or a question about the assistant: by its wording alone."""
    started = time.perf_counter()
    found = is_small_talk(query.text)
    yield _step("route", started, {"library": not found, "by": "words"})
    return found


def greet(query: Query) -> Generator[Event, None, Answer]:
    """Say what can be asked, where no document is wanted."""
    text = HELLO_ZH if is_chinese(query.text) else HELLO_EN
    yield Token(text)
    return Answer(text, (), (), "stop")


# -- search ------------------------------------------------------------------------------------------------------------


def search(tools: Tools, query: Query, k: int | None = None) -> Generator[Event, None, list[Passage]]:
    """Find passages: as many as are looked at closely, or ``k``."""
    started = time.perf_counter()
    passages = tools.retriever.retrieve(query, k or tools.depth)
    yield _step("search", started, _searched([query], [passages]))
    return passages


def search_all(
    tools: Tools, queries: Sequence[Query], k: int | None = None
) -> Generator[Event, None, list[list[Passage]]]:
    """Find passages for several questions at the same time; a list for each, in their order."""
    if len(queries) == 1:
        return [(yield from search(tools, queries[0], k))]
    started = time.perf_counter()
    # No event is yielded before the last thread has ended, so closing the flow leaves none behind.
    with ThreadPoolExecutor(min(SEARCHES, max(1, len(queries))), "ragapp-search") as threads:
        found = list(threads.map(lambda query: tools.retriever.retrieve(query, k or tools.depth), queries))
    yield _step("search", started, _searched(queries, found))
    return found


def _searched(queries: Sequence[Query], found: Sequence[Sequence[Passage]]) -> dict[str, object]:
    return {
        "passages": sum(map(len, found)),
        "queries": [query.sought for query in queries],
        "hypotheses": sum(len(query.hypotheses) for query in queries),
    }


def pool(
    tools: Tools, lists: Sequence[Sequence[Passage]], ahead: int = 0, *, in_turns: bool = False
) -> Generator[Event, None, list[Passage]]:
    """Several rankings as one, nothing twice, by reciprocal rank fusion (Cormack et al. 2009), at most ``depth`` long.

    The first list's best ``ahead`` passages stay in front: for further searches that are to add and not to displace.
    ``in_turns`` the best of every list come first, then the second ones: for lists that answer different questions,
    where what two of them found is no better than what only one can find.

    Places are compared and not scores, as each search scales its scores to its own best. What an earlier list found
    keeps that list's ranks and scores, so the question's own search should come first. The scores are handed out anew
    in the new order, so that they still fall from the first passage to the last and keep their scale.
    """
    started = time.perf_counter()
    kept: list[Passage] = []
    points: list[float] = []
    turns: list[int] = []  # the best place that each has in any list
    for found in lists:
        for place, passage in enumerate(found, 1):
            at = next((i for i, other in enumerate(kept) if _is_one(passage, other)), None)
            if at is None:
                at = len(kept)
                kept.append(passage)
                points.append(0.0)
                turns.append(place)
            points[at] += 1 / (RRF_CONSTANT + place)
            turns[at] = min(turns[at], place)
    stays = min(ahead, len(lists[0]))
    order = sorted(range(len(kept)), key=lambda i: (min(i, stays), turns[i] if in_turns else 0, -points[i], i))[
        : tools.depth
    ]
    scores = sorted((passage.score for passage in kept), reverse=True)
    pooled = [replace(kept[i], score=score) for i, score in zip(order, scores, strict=False)]
    yield _step("pool", started, {"lists": len(lists), "passages": len(pooled)})
    return pooled


def _is_one(one: Passage, other: Passage) -> bool:
    return has_same_parent(one.chunk, other.chunk) or is_same(one.chunk, other.chunk)


def widen(tools: Tools, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Query]:
    """Another search for a question whose first one was weak: with an imagined passage, else with other words.

    Without a model the question's telling words are joined by words that the best passages share (pseudo-relevance
    feedback, Lavrenko & Croft 2001, by counting), names and all; what asks and what only joins words is left out.
    """
    if tools.writer is not None and tools.expansion.hyde != "off":
        imagined = yield from hypothesize(tools, query)
        if imagined.hypotheses:
            return imagined
    started = time.perf_counter()
    told = content(query.sought)
    added = _feedback(tools, told, passages[:FEEDBACK_PASSAGES])
    yield _step("widen", started, {"by": "words", "words": [*told, *added]})
    return _as_question(query, " ".join([*told, *added])) if told else query


def _feedback(tools: Tools, told: Sequence[str], passages: Sequence[Passage]) -> list[str]:
    """Words that at least two of the passages share and that tell something, the most telling first."""
    known = {term for word in told for term in tools.words.words(word)}
    most = tools.words.weight(ABSENT)
    seen: dict[str, int] = {}
    spelled: dict[str, str] = {}
    for passage in passages:
        for word in content(passage.chunk.text):
            term = next(iter(tools.words.words(word)), "")
            if term and term not in known and 0.3 * most < tools.words.weight(term) < most:
                seen[term] = seen.get(term, 0) + 1
                spelled.setdefault(term, word)
    shared = [term for term, count in seen.items() if count > 1]
    shared.sort(key=lambda term: (-seen[term] * tools.words.weight(term), term))
    return [spelled[term] for term in shared[:FEEDBACK_WORDS]]


# -- a closer look -----------------------------------------------------------------------------------------------------


def rerank(tools: Tools, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, list[Passage]]:
    """Look at passages more closely. A reranker that gave up says so in the Step's warning."""
    started = time.perf_counter()
    noted = getattr(tools.reranker, "rerank_noted", None)
    if noted is None:
        ordered, warning = tools.reranker.rerank(query.sought, passages), None
    else:
        result = noted(query.sought, passages)
        ordered, warning = list(result.passages), result.warning
    yield _step("rerank", started, {"passages": len(ordered), **({"warning": warning} if warning else {})})
    return ordered


def weigh(tools: Tools, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, float]:
    """How likely it is that the library holds the answer, from 0 to 1."""
    started = time.perf_counter()
    confidence = min(1.0, max(0.0, float(tools.judge.confidence(query, passages))))
    yield _step("weigh", started, {"confidence": round(confidence, 4), "threshold": tools.judge.threshold})
    return confidence


def missing(tools: Tools, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Query | None]:
    """The question to search for next, None where the passages hold what was asked for (or nothing can be done).

    The model judges; without one it is the telling words of the question that no passage has, with its names.
    """
    started = time.perf_counter()
    reply = yield from _ask(tools, "judge", query, {"question": query.sought, "passages": _shown(passages)})
    enough, further = verdict(reply.text)
    by = "model" if enough is not None and (enough or further) else "words"
    if by == "words":
        reply.useless("verdict with a question")
        further = _uncovered(tools, query, passages)
    elif enough:
        further = ""
    yield _step("missing", started, {"by": by, "enough": not further, "next": further, **reply.detail})
    return _as_question(query, further) if further else None


def _shown(passages: Sequence[Passage]) -> str:
    """Passages for the model to judge, the best that fit into JUDGED_CHARS."""
    blocks: list[str] = []
    room = JUDGED_CHARS
    for number, passage in enumerate(passages, 1):
        block = f"[{number}] {passage.document}, page {passage.chunk.page}\n{collapse(passage.chunk.text)}"
        if len(block) > room and blocks:
            break
        blocks.append(block[:room])
        room -= len(block)
    return "\n\n".join(blocks)


def _uncovered(tools: Tools, query: Query, passages: Sequence[Passage]) -> str:
    """What the question tells, the library knows and no passage has, with the question's names; empty for little.

    A verb that the pages word differently is no reason to search again: it is much only when a name is among it, or
    LACKING of all that the question tells.
    """
    having = {
        term
        for passage in passages
        for term in tools.words.words(f"{passage.title} {passage.document} {passage.chunk.header} {passage.chunk.text}")
    }
    most = tools.words.weight(ABSENT)
    told = {word: tools.words.words(word) for word in content(query.sought)}
    weights = {word: sum(map(tools.words.weight, terms)) for word, terms in told.items()}
    lacking = [
        word
        for word, terms in told.items()
        if not having.intersection(terms) and any(tools.words.weight(term) < most for term in terms)
    ]
    named = names(query.sought)
    is_named = any(word in tokens(name) for name in named for word in lacking)
    if not lacking or not (is_named or sum(weights[word] for word in lacking) >= LACKING * sum(weights.values())):
        return ""
    return " ".join([*lacking, *(name for name in named if not set(content(name)) <= set(lacking))])


# -- the answer --------------------------------------------------------------------------------------------------------


def gather(tools: Tools, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, list[Passage]]:
    """Make passages to be read out of the best ones that were found, as many as may be cited."""
    started = time.perf_counter()
    gathered = tools.gatherer.gather(query, passages[: tools.k])
    yield _step("gather", started, {"passages": len(gathered), "cut": _cut(tools, passages, gathered)})
    return gathered


def _cut(tools: Tools, passages: Sequence[Passage], gathered: Sequence[Passage]) -> list[dict[str, object]]:
    """The passages that were looked at and may not be cited: beyond ``k``, or joined to a better one."""
    kept = {passage.chunk.id for passage in gathered}
    return [
        {
            "document": passage.document,
            "page": passage.chunk.page,
            "place": place,
            "score": round(passage.score, 6),
            "found_by": {name: {"rank": rank.rank, "score": rank.score} for name, rank in passage.found_by.items()},
            "by": "joined" if place <= tools.k else "k",
        }
        for place, passage in enumerate(passages, 1)
        if place > tools.k or passage.chunk.id not in kept
    ]


def write(
    tools: Tools, query: Query, passages: Sequence[Passage], confidence: float | None = None
) -> Generator[Event, None, Answer]:
    """Write the answer, token by token, with what is left of the budget."""
    started = time.perf_counter()
    granted = tools.budget.grant_answer()
    asked = replace(query, deadline=tools.budget.deadline, tokens_left=max(1, granted))
    answer = yield from tools.answerer.answer(asked, passages)
    used = answer.usage
    cost = {"tokens": used.completion_tokens, "prompt_tokens": used.prompt_tokens}
    yield _step("write", started, {"citations": len(answer.citations), **cost})
    return replace(answer, confidence=confidence)


def refuse(
    tools: Tools, query: Query, passages: Sequence[Passage], confidence: float
) -> Generator[Event, None, Answer]:
    """Say that the library does not hold the answer; the nearest passages are in the Answer."""
    started = time.perf_counter()
    text = no_answer(query.text)
    yield Token(text)
    yield _step("refuse", started, {"confidence": round(confidence, 4), "threshold": tools.judge.threshold})
    return Answer(text, (), tuple(passages), "no_evidence", confidence=confidence)


def _step(name: str, started: float, detail: Mapping[str, object]) -> Step:
    return Step(name, time.perf_counter() - started, dict(detail))
