"""What our chat models share: turns become a prompt, texts become chunks, and an answer in one piece is its stream.

Chunks are pieces of text, and a last one that tells usage and speed.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field

from ragapp.errors import ModelError
from ragapp.streaming import Stops

__all__ = [
    "StreamedChat", "estimated_tokens", "last_piece", "let_through", "piece", "refusals", "role", "spaced", "tell",
    "text_tokens", "turns_of", "waiting_piece",
]  # fmt: skip

_ROLES = {SystemMessage: "system", HumanMessage: "user", AIMessage: "assistant"}
_PIECE = re.compile(r"[A-Za-z]{1,4}|[^\sA-Za-z]|\n+|[^\S\n]{2,}")


class StreamedChat(BaseChatModel):
    """A chat model that writes by streaming: ``_stream`` and ``count_tokens`` are a subclass's own, the rest follows.

    Requests may override ``max_tokens`` (or ``max_new_tokens``), ``temperature``, ``top_p``, ``seed`` and ``stop``;
    what they leave open is as set here. ``temperature`` 0 is greedy. ``context_tokens`` is the window, and None what
    the model says of itself.
    """

    model_config = ConfigDict(extra="forbid")

    max_new_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = None
    context_tokens: int | None = Field(default=None, ge=1)

    @abstractmethod
    def count_tokens(self, messages: Sequence[BaseMessage]) -> int:
        """How many tokens the prompt made of these messages has."""

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """``count_tokens``, under LangChain's name; ``tools`` are not covered."""
        return self.count_tokens(messages)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """The stream, joined; without the places in a queue, which LangChain would add up."""
        chunks = self._stream(messages, stop=stop, run_manager=run_manager, **kwargs)
        return generate_from_stream(c for c in chunks if "queue_position" not in c.message.response_metadata)


# -- tokens of a model whose tokenizer is not at hand ----------------------------------------------------------------


def text_tokens(text: str) -> int:
    """Tokens of a text, erring on the high side.

    Four Latin letters, a digit, a sign or a character of another script each count as one; a rare character may be
    more to an old vocabulary.
    """
    return sum(1 for _ in _PIECE.finditer(text))


def estimated_tokens(messages: Sequence[BaseMessage]) -> int:
    """``text_tokens`` of messages, with eight more for each of them, which is what a template puts around it."""
    return sum(8 + text_tokens(str(message.text)) for message in messages)


# -- what a model is given -------------------------------------------------------------------------------------------


def role(message: BaseMessage) -> str:
    """What templates and servers call the one who speaks. Raises ModelError for messages of tools."""
    if isinstance(message, ChatMessage):
        return message.role
    for kind, name in _ROLES.items():
        if isinstance(message, kind):
            return name
    raise ModelError(f"The model takes no messages of type {message.type}.", "Tool calls are not covered.")


def turns_of(messages: Sequence[BaseMessage], control: Collection[str] = ()) -> list[dict[str, str]]:
    """Messages as templates and servers take them; ``control`` are the tokens that no text may hold, see ``spaced``."""
    return [{"role": role(message), "content": spaced(str(message.text), control)} for message in messages]


def spaced(text: str, control: Collection[str]) -> str:
    """The text with a space inside whatever would be read as one of these control tokens.

    Without it a document that contains "<|eot_id|>" could end the user's turn and write one for the system. A token of
    one character stays: it has no inside.
    """
    for token in sorted(control):  # the same text every time, whatever order a set has
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


@contextmanager
def refusals(model: str, turns: Sequence[dict[str, str]]) -> Iterator[None]:
    """Render a model's template inside. What the template raises becomes a ModelError that names the turns."""
    try:
        yield
    except Exception as error:  # a template is code that comes with the model, and raises what it likes
        roles = ", ".join(turn["role"] for turn in turns)
        raise ModelError(
            f"The chat template of {model} does not take these messages ({roles}): {error}",
            "Many templates want user and assistant by turns, and some take no system message.",
        ) from error


# -- what comes back -------------------------------------------------------------------------------------------------


def piece(text: str) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=text))


def waiting_piece(position: int) -> ChatGenerationChunk:
    """An empty chunk; ``position`` is the place in the queue, from 1, and 0 when the model is at work on the answer.

    LangChain adds up whole numbers when chunks are joined, so a joined message's position means nothing.
    """
    about = {"queue_position": position} if position else {}
    return ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata=about))


def tell(chunk: ChatGenerationChunk, run_manager: CallbackManagerForLLMRun | None) -> ChatGenerationChunk:
    if run_manager is not None:
        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
    return chunk


def last_piece(model: str, asked: int, written: int, reason: str, seconds: float, **more: float) -> ChatGenerationChunk:
    """``seconds`` are those of the model, prompt included, and not those that the reader took."""
    speed = round(written / seconds, 2) if seconds > 0 else 0.0
    about = {"finish_reason": reason, "tokens_per_second": speed, "model_name": model, **more}
    return ChatGenerationChunk(
        message=AIMessageChunk(
            content="",
            usage_metadata=UsageMetadata(input_tokens=asked, output_tokens=written, total_tokens=asked + written),
            response_metadata=about,
            chunk_position="last",
        )
    )


def let_through(
    texts: Iterable[str | None], stops: Stops, run_manager: CallbackManagerForLLMRun | None = None
) -> Iterator[ChatGenerationChunk]:
    """A chunk for each text that comes, with what the stop strings let pass of it, up to the first that is complete.

    Where that is nothing (a text held back, "", or None for a while without any) the chunk is empty and no callback
    hears of it: it is there so that a reader may close the stream.
    """
    for text in texts:
        if passed := stops.feed(text or ""):
            yield tell(piece(passed), run_manager)
        elif not stops.hit:
            yield piece("")
        if stops.hit:
            return
    if rest := stops.feed("", end=True):
        yield tell(piece(rest), run_manager)
