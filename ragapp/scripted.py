"""A double of the language model, for tests: it says what it was told to say."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import Field

from ragapp.chunks import StreamedChat, last_piece, let_through
from ragapp.errors import ContextTooLong, ModelError
from ragapp.sampling import Options
from ragapp.streaming import Stops

__all__ = ["ScriptedChat"]


class ScriptedChat(StreamedChat):
    """A double for tests: answers with ``replies`` one after the other, word by word, and keeps the ``prompts`` it saw.

    A word comes every ``delay_s`` seconds, or at once where who reads has fallen behind. ``fail_at`` n raises ``error``
    in place of the n-th word (from 1) of every reply. ``closed`` counts the streams that were closed before their end.
    A token is a word, for ``window``, ``count_tokens`` and usage alike. Raises ModelError when it is asked more often
    than it has replies.
    """

    replies: list[str]
    delay_s: float = 0.0
    fail_at: int | None = None
    error: Exception = Field(default_factory=lambda: ModelError("The scripted model failed, as it was told to."))
    context_tokens: int = 8192
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
        stops, started, written = Stops(options.stop), time.monotonic(), list[str]()
        try:
            yield from let_through(self._said(words[:most], written), stops, run_manager)
            reason = "stop" if stops.hit or len(words) <= most else "length"
            yield last_piece("scripted", asked, len(written), reason, time.monotonic() - started)
        except GeneratorExit:
            self.closed += 1
            raise

    def _said(self, words: Sequence[str], written: list[str]) -> Iterator[str]:
        """The words one after the other, each noted in ``written`` when its turn comes."""
        due = time.monotonic()
        for number, word in enumerate(words, 1):
            due += self.delay_s
            time.sleep(max(0.0, due - time.monotonic()))
            if number == self.fail_at:
                raise self.error
            written.append(word)
            yield word
