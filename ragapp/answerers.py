"""Answers by a chat model that cites its passages."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ragapp.marks import Marks
from ragapp.ports import Library
from ragapp.resolver import Resolver
from ragapp.text import NO_ANSWER_EN, NO_ANSWER_ZH, no_answer
from ragapp.types import Answer, Event, FinishReason, Passage, Query, Step, Token, Usage, Waiting

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from ragapp.prompts import Prompts

EMPTY = "The model wrote nothing that could be shown."
_ROLES = {"human": "user", "ai": "assistant"}
_NOT_A_LETTER = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class ChatAnswerer:
    """Asks a LangChain chat model, with as many passages as its window holds, and resolves the marks it writes.

    ``count`` gives the tokens of messages by the model's own tokenizer, ``window`` how many it reads and writes
    together, ``reserve`` how many of them are kept for the answer. ``strict`` leaves out sentences that do not stand in
    what they cite. The answer's passages are all that were given, and a mark is the place of its passage among them.

    A model that only says that the answer is not there has its words replaced by the sentence that says so in the
    question's language, with the finish reason "no_evidence"; so has, if ``strict``, one of whose words nothing is
    left. An answer that ``query.deadline`` ends has the finish reason "length", and is resolved as far as it goes.
    """

    model: Any
    stored: Library
    window: Callable[[], int]
    count: Callable[[Sequence[BaseMessage]], int]
    reserve: int
    prompts: Prompts
    strict: bool = False

    def answer(self, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
        """Raises ContextTooLong when not even one passage fits, ModelError when the model fails."""
        from ragapp.prompts import pack

        started = time.perf_counter()
        window, options = self.window(), self._options(query)
        wanted = cast("int", options.get("max_tokens") or self.reserve)
        room = window - min(wanted, window // 2)
        messages, kept = pack(self.prompts, query, passages, room, self.count, core=self.stored.core)
        asked = self.count(messages)
        shown = [{"role": _role(message), "content": str(message.text)} for message in messages]
        cut = [number for number in range(1, len(passages) + 1) if number not in kept]
        detail = {"tokens": asked, "passages": len(kept), "cut": cut, "messages": shown}
        yield Step("prompt", time.perf_counter() - started, detail)

        # Of a passage that did not fit the prompt may hold a part; what is cited is the passage that was found.
        numbered = {number: passages[number - 1] for number in kept}
        resolver, silence = Resolver(numbered, self.stored, self.strict, query.text), _Silence(numbered)
        told = _Told(asked)
        # Closing the model's stream is what stops the model, also when this generator is closed half way.
        with closing(self.model.stream(messages, **options)) as stream:
            for chunk in stream:
                told.hear(chunk)
                events = resolver.feed(silence.feed(str(chunk.text)))
                if told.position is not None:
                    events.append(Waiting(told.position))
                # An empty piece says that the model still works: passed on, so that who waits may leave.
                yield from events or (Token(""),)
                if query.deadline is not None and not told.is_last and time.monotonic() >= query.deadline:
                    told.reason = "length"
                    break
        yield from resolver.feed(silence.end())
        yield from resolver.end()

        reason, text, citations = told.reason, resolver.text, tuple(resolver.citations)
        if silence.is_all or (self.strict and not text and reason == "stop"):
            yield Token(no_answer(query.text))
            return Answer(no_answer(query.text), (), tuple(passages), "no_evidence", told.usage)
        if not citations and _says_nothing_is_there(text):
            reason = "no_evidence"
        figures, warnings = tuple(resolver.figures), () if text.strip() else (EMPTY,)
        return Answer(text, citations, tuple(passages), reason, told.usage, figures=figures, warnings=warnings)

    def _options(self, query: Query) -> dict[str, object]:
        """What the model is told beside its messages: wishes of the question, and what is left of its tokens."""
        options = dict(query.options)
        wanted = cast("int", options.get("max_tokens") or self.reserve)
        if query.tokens_left is not None and query.tokens_left < wanted:
            options["max_tokens"] = max(1, query.tokens_left)
        if query.seed is not None:
            options["seed"] = query.seed
        return options


class _Told:
    """What the model's pieces say besides their text. ``asked`` are the tokens of the prompt, by our own count."""

    def __init__(self, asked: int) -> None:
        self.reason: FinishReason = "stop"
        self.is_last = False
        self.position: int | None = None
        self._asked = asked
        self._pieces = 0
        self._usage: Usage | None = None

    def hear(self, chunk: Any) -> None:
        facts: Mapping[str, Any] = chunk.response_metadata
        self._pieces += bool(chunk.text)
        self.is_last = bool(facts.get("finish_reason"))
        if facts.get("finish_reason") == "length":
            self.reason = "length"
        place = facts.get("queue_position")
        self.position = place if isinstance(place, int) and not chunk.text else None
        if chunk.usage_metadata:
            before = self._usage or Usage()
            # The counts of a stream's pieces add up, as LangChain has it.
            self._usage = Usage(
                before.prompt_tokens + chunk.usage_metadata["input_tokens"],
                before.completion_tokens + chunk.usage_metadata["output_tokens"],
            )

    @property
    def usage(self) -> Usage:
        """The model's own count; of one that was stopped before it gave any, ours, a piece being at least a token."""
        return self._usage or Usage(self._asked, self._pieces)


class _Silence:
    """Holds an answer back as long as it may only be the sentence that nothing was found.

    A model that says so and goes on without citing one of the ``known`` passages has said nothing else.
    """

    def __init__(self, known: Collection[int]) -> None:
        self.is_all = False
        self._held: str | None = ""
        self._marks = Marks(known)
        self._cites = False

    def feed(self, text: str) -> str:
        if self._held is None:
            return text
        self._held += text
        self._cites |= any(isinstance(item, int) for item in self._marks.feed(text))
        said = _letters(self._held)
        if any(nothing.startswith(said) for nothing in _NOTHING) or (said.startswith(_NOTHING) and not self._cites):
            return ""
        held, self._held = self._held, None
        return held

    def end(self) -> str:
        """What is left, once it is clear that no more comes."""
        held, self._held = self._held or "", None
        self.is_all = _letters(held).startswith(_NOTHING) and not self._cites
        return "" if self.is_all else held


def _letters(text: str) -> str:
    return _NOT_A_LETTER.sub("", text).casefold()


_NOTHING = tuple(_letters(sentence) for sentence in (NO_ANSWER_EN, NO_ANSWER_ZH))


def _says_nothing_is_there(text: str) -> bool:
    return any(nothing in _letters(text) for nothing in _NOTHING)


def _role(message: BaseMessage) -> str:
    return str(getattr(message, "role", "") or _ROLES.get(message.type, message.type))
