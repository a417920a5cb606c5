"""Answers by a chat model that cites its passages."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ragapp.citations import cite_claims
from ragapp.ports import Library
from ragapp.text import no_answer
from ragapp.types import Answer, Event, FinishReason, Passage, Query, Token, Usage

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


@dataclass(frozen=True, slots=True)
class ChatAnswerer:
    """Asks a LangChain chat model, with as many passages as its window holds, and resolves the markers it writes.

    ``count`` gives the tokens of messages by the model's own tokenizer, ``window`` how many it reads and writes
    together, ``reserve`` how many of them are kept for the answer.
    """

    model: Any
    stored: Library
    window: Callable[[], int]
    count: Callable[[Sequence[BaseMessage]], int]
    reserve: int

    def answer(self, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
        """Raises ContextTooLong when not even one passage fits, ModelError when the model fails."""
        from ragapp.prompts import pack

        window = self.window()
        wanted = cast("int", query.options.get("max_tokens") or self.reserve)
        messages, kept = pack(query, passages, window - min(wanted, window // 2), self.count)
        options = dict(query.options)
        if query.seed is not None:
            options["seed"] = query.seed
        parts: list[str] = []
        reason: FinishReason = "stop"
        usage = Usage()
        # Closing the model's stream is what stops the model, also when this generator is closed half way.
        with closing(self.model.stream(messages, **options)) as stream:
            for chunk in stream:
                # An empty piece says that the model is still reading: passed on, so that who waits may leave.
                parts.append(str(chunk.text))
                yield Token(parts[-1])
                if chunk.response_metadata.get("finish_reason") == "length":
                    reason = "length"
                if chunk.usage_metadata:
                    usage = Usage(chunk.usage_metadata["input_tokens"], chunk.usage_metadata["output_tokens"])
        text = "".join(parts)
        citations = tuple(cite_claims(text, kept, self.stored))
        if no_answer(query.text).rstrip(".。") in text and not citations:
            reason = "no_evidence"
        return Answer(text, citations, tuple(passages), reason, usage)
