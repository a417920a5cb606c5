"""The chunks that our chat models yield: pieces of text, and a last one that tells usage and speed."""

from __future__ import annotations

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk

from ragapp.errors import ModelError

__all__ = ["last_piece", "piece", "role", "tell", "waiting_piece"]

_ROLES = {SystemMessage: "system", HumanMessage: "user", AIMessage: "assistant"}


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


def role(message: BaseMessage) -> str:
    """What templates call the one who speaks. Raises ModelError for messages of tools."""
    if isinstance(message, ChatMessage):
        return message.role
    for kind, name in _ROLES.items():
        if isinstance(message, kind):
            return name
    raise ModelError(f"The local model takes no messages of type {message.type}.", "Tool calls are not covered.")
