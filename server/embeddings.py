"""``POST /v1/embeddings``: OpenAI's, by the embedder of the default library. No seat is taken: no model writes.

Nothing is left out of a long text: the built-in model embeds it in windows and takes their mean. One request is
computed at a time, in a thread of its own, in small batches, so that an answer finds a free core between two of them.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ragapp.errors import ConfigError
from ragapp.server.errors import Refusal
from ragapp.server.house import House

NAME = "ragapp"
MOST_TEXTS = 2048  # as OpenAI has it
MOST_CHARS = 100_000  # of one text
BATCH = 64  # texts computed together


class EmbeddingRequest(BaseModel):
    """OpenAI's request. Fields that are not listed here are read over."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": NAME, "input": ["How long is the warranty?", "保修期多长？"]}]}
    )

    input: str | Annotated[list[str], Field(min_length=1, max_length=MOST_TEXTS)]
    model: str = Field(NAME, description="'ragapp', or the fingerprint of the embedder")
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, description="the vectors have the width they have: no other can be asked for")

    @field_validator("input", mode="before")
    @classmethod
    def _no_tokens(cls, given: object) -> object:
        first = given[0] if isinstance(given, list) and given else None
        if isinstance(first, int | list):
            raise ValueError("send texts, not tokens: they would be those of another model")
        return given

    @field_validator("input")
    @classmethod
    def _something(cls, given: str | list[str]) -> str | list[str]:
        for text in _texts(given):
            if not text.strip():
                raise ValueError("a text is empty")
            if len(text) > MOST_CHARS:
                raise ValueError(f"a text has more than {MOST_CHARS:,} characters")
        return given


class EmbeddingOut(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="numbers, or with base64 their bytes: float32, little endian")


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """A vector of unit length for each text, in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.021, -0.047, 0.113]}],
                    "model": NAME,
                    "usage": {"prompt_tokens": 6, "total_tokens": 6},
                }
            ]
        }
    )

    object: Literal["list"] = "list"
    data: list[EmbeddingOut]
    model: str
    usage: EmbeddingUsage


def routes(house: House) -> APIRouter:
    """``POST /v1/embeddings``."""
    router = APIRouter(prefix="/v1", tags=["embeddings"])
    turn = asyncio.Lock()

    @router.post("/embeddings", summary="Turn texts into vectors, the way OpenAI does")
    async def embeddings(body: EmbeddingRequest, request: Request) -> EmbeddingResponse:
        """Vectors of the model that the library is searched with. Nothing of the texts is kept."""
        embedder = house.default.rag.embedder
        if body.model not in (NAME, embedder.fingerprint):
            raise Refusal(
                404, "model_not_found", f"There is no embedder {body.model!r}.", f"Ask for {NAME!r}.", param="model"
            )
        texts = [_whole(text) for text in _texts(body.input)]
        rows: list[NDArray[np.float32]] = []
        tokens = 0
        async with turn:
            for at in range(0, len(texts), BATCH):
                if await request.is_disconnected():
                    break
                made, count = await asyncio.to_thread(_embedded, embedder, texts[at : at + BATCH])
                rows.extend(made)
                tokens += count
                if body.dimensions not in (None, len(rows[0])):
                    raise ConfigError(
                        f"The vectors have {len(rows[0])} dimensions, not {body.dimensions}.", "Leave dimensions out."
                    )
        return EmbeddingResponse(
            data=[EmbeddingOut(index=i, embedding=_encoded(row, body.encoding_format)) for i, row in enumerate(rows)],
            model=body.model,
            usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
        )

    return router


def _texts(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _whole(text: str) -> str:
    """The text without halves of character pairs, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _embedded(embedder: Any, texts: Sequence[str]) -> tuple[list[NDArray[np.float32]], int]:
    """A row for each text, and their tokens together."""
    rows = np.asarray(embedder.embed_documents(list(texts)), dtype=np.float32)
    return list(rows), sum(len(embedder.spans(text)) for text in texts)


def _encoded(row: NDArray[np.float32], encoding: str | None) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
    numbers: list[float] = row.tolist()
    return numbers
