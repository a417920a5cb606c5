"""A double of the language model, for tests: it says what it was told to say."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel, generate_from_stream
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field

from ragapp.chunks import last_piece, piece, tell
from ragapp.errors import ContextTooLong, ModelError
from ragapp.sampling import Options
from ragapp.streaming import Stops

__all__ = ["ScriptedChat"]


class ScriptedChat(BaseChatModel):
    """A double for tests: answers with ``replies`` one after the other, word by word, and keeps the ``prompts`` it saw.

    ``delay_s`` is slept before every word. ``fail_at`` n raises ``error`` in place of the n-th word (from 1) of every
    reply. ``closed`` counts the streams that were closed before their end. A token is a word, for ``window``,
    ``count_tokens`` and usage alike. Raises ModelError when it is asked more often than it has replies.
    """

    model_config = ConfigDict(extra="forbid")

    replies: list[str]
    delay_s: float = 0.0
    fail_at: int | None = None
    error: Exception = Field(default_factory=lambda: ModelError("The scripted model failed, as it was told to."))
    context_tokens: int = 8192
    max_new_tokens: int = 512
    prompts: list[list[BaseMessage]] = Field(default_factory=list)
    closed: int = 0

    @property
    def _llm_type(self) -> str:
        return "ragapp-scripted"

    def check(self) -> None:
        """Nothing is needed, so nothing can be missing."""

    def window(self) -> int:
        return self.context_tokens

    def count_tokens(self, messages: Sequence[BaseMessage]) -> int:
        return sum(len(str(message.text).split()) for message in messages)

    def get_token_ids(self, text: str) -> list[int]:
        return list(range(len(text.split())))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop=stop, run_manager=run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        options = Options.of(self, stop, kwargs)
        self.prompts.append(list(messages))
        asked = self.count_tokens(messages)
        if asked >= self.context_tokens:
            raise ContextTooLong(f"The prompt has {asked} words, and the scripted window is {self.context_tokens}.")
        if not self.replies:
            raise ModelError(
                f"The scripted model has no reply left for prompt number {len(self.prompts)}.",
                "Give ScriptedChat one reply for every time it is asked.",
            )
        words = re.findall(r"\s*\S+|\s+\Z", self.replies.pop(0))
        most = min(options.max_tokens, self.context_tokens - asked)
        stops, started, written = Stops(options.stop), time.monotonic(), 0
        try:
            for written, word in enumerate(words[:most], 1):
                time.sleep(self.delay_s)
                if written == self.fail_at:
                    raise self.error
                if text := stops.feed(word):
                    yield tell(piece(text), run_manager)
                if stops.hit:
                    break
            if text := stops.feed("", end=True):
                yield tell(piece(text), run_manager)
            reason = "stop" if stops.hit or len(words) <= most else "length"
            yield last_piece("scripted", asked, written, reason, time.monotonic() - started)
        except GeneratorExit:
            self.closed += 1
            raise
