"""OpenAI's chat completions and models, over flows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse
from starlette.types import Receive

from ragapp.errors import QuestionError
from ragapp.rag import Rag
from ragapp.server.errors import ErrorTable, Refusal
from ragapp.server.gate import Gate
from ragapp.server.house import House
from ragapp.server.schemas import (
    ChatCompletion,
    ChatRequest,
    Choice,
    Message,
    MessageOut,
    Model,
    ModelList,
    Outcome,
    OutcomeWithPassages,
    PassageOut,
    UsageOut,
)
from ragapp.server.sse import EVENT, ClientGone, EventStream, Start, complete, frame, running
from ragapp.types import Answer, Done, Event, Found, Query, Token, Turn, Waiting

DEFAULT = "ragapp"
DONE = b"data: [DONE]\n\n"
EXAMPLE = """data: {"id":"chatcmpl-2f6c","object":"chat.completion.chunk","created":1764000000,"model":"ragapp",\
"choices":[{"index":0,"delta":{"content":"The "},"logprobs":null,"finish_reason":null}]}

data: [DONE]

"""


def routes(house: House) -> APIRouter:
    """``POST /v1/chat/completions`` and ``GET /v1/models``."""
    router = APIRouter(prefix="/v1", tags=["chat"])
    opened = int(time.time())
    flows = {name: flows_of(collection.rag) for name, collection in house.collections.items()}
    usual = flows[house.default.name]

    @router.post(
        "/chat/completions",
        summary="Answer a conversation, the way OpenAI does",
        response_model=ChatCompletion,
        responses={200: {"content": {"text/event-stream": {"schema": dict(EVENT), "example": EXAMPLE}}}},
    )
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answer the last user message from the library, as a whole or as a stream.

        The request and the answer are OpenAI's. The member `ragapp` of the answer, and of some frames of a stream, has
        the passages and citations. `tools` and `functions` are read over; several answers (`n`), `logprobs`, JSON as
        `response_format`, and a `tool_choice` that demands a call are refused.
        """
        collection = house.at(body.collection)
        house.allow(request, collection.name)
        flow, query = flow_of(body.model, flows[collection.name]), query_of(body)

        def start() -> Iterator[Event]:
            return complete(collection.rag.stream(query, flow=flow))

        head = Head(body.model, house.table)
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            return EventStream(start, house.gate, Chunks(head, usage), house.table)
        answer = await whole(start, house.gate, request.receive)
        return JSONResponse(head.completion(answer).model_dump()) if answer else Response(status_code=499)

    @router.get("/models", summary="List what can be asked")
    async def models() -> ModelList:
        """The flows that can be asked, as models; 'ragapp' is the one in the settings."""
        return ModelList(data=[Model(id=name, created=opened) for name in usual])

    @router.get("/models/{name}", summary="Look up a model")
    async def model(name: str) -> Model:
        """One of the flows that can be asked."""
        flow_of(name, usual)
        return Model(id=name, created=opened)

    return router


def flows_of(rag: Rag) -> dict[str, str]:
    """What ``model`` may be, the default first, and the flow it stands for.

    To be asked once: the names of plug-ins are looked up in all installed packages, which takes milliseconds.
    """
    default = rag.config.answer.flow
    return {DEFAULT: default, **{name: name for name in [default, *rag.flows()]}}


def flow_of(model: str, flows: Mapping[str, str]) -> str:
    """The flow a model's name stands for. Raises 404 for any other.

    Only names that are listed are ever resolved: a dotted path would import whatever a client names.
    """
    if model not in flows:
        raise Refusal(
            404, "model_not_found", f"There is no model {model!r}.", "GET /v1/models lists them.", param="model"
        )
    return flows[model]


def query_of(body: ChatRequest) -> Query:
    """The question with what was said before it. Raises QuestionError when the user has not said anything."""
    asked = [place for place, message in enumerate(body.messages) if message.role == "user"]
    if not asked:
        raise Refusal(400, "invalid_value", "There is no message of the user.", _LAST_IS_USER, param="messages")
    last = asked[-1]
    if any(message.role == "assistant" for message in body.messages[last:]):
        raise Refusal(400, "invalid_value", "An answer cannot be continued.", _LAST_IS_USER, param="messages")
    text = body.messages[last].text
    if not text.strip():
        raise QuestionError("The question is empty.", "Write what you want to know.")
    turns = (_turn(message) for place, message in enumerate(body.messages) if place != last)
    return Query(text, tuple(turn for turn in turns if turn.text), seed=body.seed, options=_options(body))


_LAST_IS_USER = "The last message must be the user's: it is the question."


def _turn(message: Message) -> Turn:
    role: Literal["user", "assistant", "system"] = "system" if message.role == "developer" else message.role
    return Turn(role, message.text)


def _options(body: ChatRequest) -> dict[str, object]:
    """The wishes that were given, and no others: what is missing is the model's own business."""
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    wishes = {
        "max_tokens": body.max_completion_tokens or body.max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "stop": [text for text in stop if text] or None,
    }
    return {name: value for name, value in wishes.items() if value is not None}


async def whole(start: Start[Event], gate: Gate, receive: Receive) -> Answer | None:
    """The answer, when it is complete; None when the client did not wait for it."""
    answer: Answer | None = None
    try:
        async with running(start, gate, receive) as relay:
            while (events := await relay.read()) is not None:
                answer = next((event.answer for event in events if isinstance(event, Done)), answer)
    except ClientGone:
        return None
    return answer


@dataclass(frozen=True)
class Head:
    """What every frame of one answer says alike. ``table`` knows the paths that no answer may hold."""

    model: str
    table: ErrorTable = field(default_factory=ErrorTable)
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, answer: Answer) -> ChatCompletion:
        message = MessageOut(content=answer.text)
        passages = [PassageOut.of(passage) for passage in answer.passages]
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[Choice(message=message, finish_reason=_reason(answer))],
            usage=UsageOut.of(answer),
            ragapp=OutcomeWithPassages(**dict(self.outcome(answer)), passages=passages),
        )

    def outcome(self, answer: Answer) -> Outcome:
        warnings = tuple(map(self.table.without_paths, answer.warnings))
        return Outcome.of(replace(answer, warnings=warnings))


class Chunks:
    """An answer's frames, to the letter of OpenAI's ``chat.completion.chunk``; see sse.Writer."""

    def __init__(self, head: Head, include_usage: bool) -> None:
        self._outcome = head.outcome
        self._head = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
        }
        self._null_usage: dict[str, Any] = {"usage": None} if include_usage else {}

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def waiting(self, position: int) -> bytes:
        return self._chunk({}, ragapp={"waiting": position}) if position else b""

    def frames(self, event: Event) -> bytes:
        match event:
            case Token(text) if text:
                return self._chunk({"content": text})
            case Found(passages):
                found = [PassageOut.of(passage).model_dump() for passage in passages]
                return self._chunk({}, ragapp={"passages": found})
            case Waiting(position) if position:
                return self.waiting(position)
            case Done(answer):
                return self._last(answer)
        return b""

    def failure(self, body: Mapping[str, Any]) -> bytes:
        return frame(body)

    def ending(self) -> bytes:
        return DONE

    def _last(self, answer: Answer) -> bytes:
        last = self._chunk({}, _reason(answer), ragapp=self._outcome(answer).model_dump())
        if self._null_usage:
            last += frame({**self._head, "choices": [], "usage": UsageOut.of(answer).model_dump()})
        return last

    def _chunk(self, delta: dict[str, str], reason: str | None = None, **more: object) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return frame({**self._head, "choices": [choice], **self._null_usage, **more})


def _reason(answer: Answer) -> Literal["stop", "length"]:
    """OpenAI's word for the end; ours stands in the ``ragapp`` member."""
    return "length" if answer.finish_reason == "length" else "stop"
