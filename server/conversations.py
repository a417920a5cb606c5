"""Conversations: listed, searched, renamed, rated, exported, and really deleted. ``/v1/ask`` adds their messages.

Each belongs to the key that made it; to every other key it does not exist (404).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ragapp.server.auth import owner_of
from ragapp.server.house import House
from ragapp.server.markdown import render
from ragapp.server.schemas import ErrorResponse
from ragapp.talks import MAX_COMMENT, MAX_TITLE, Message, Talk, Talks

_T = TypeVar("_T")

MAX_Q = 200
EXAMPLE: dict[str, Any] = {
    "id": "5e7e66260130ef18af10171e",
    "title": "How long is the warranty?",
    "created": "2026-01-31T12:00:00.000000Z",
    "updated": "2026-01-31T12:00:04.250000Z",
    "messages": 2,
    "collection": "manuals",
}
FEEDBACK: dict[str, Any] = {"rating": 1, "comment": "The right page at once."}

Id = Annotated[str, Path(max_length=100)]
Settings = Annotated[dict[str, Any], Field(description="any JSON object of 8,000 bytes at most")]
Title = Annotated[str, Field(max_length=MAX_TITLE)]


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class NewConversation(BaseModel):
    """Without a title, the first question becomes one."""

    model_config = _example({"title": "Warranties", "settings": {"flow": "linear"}})

    title: Title | None = None
    settings: Settings | None = None


class ConversationChange(BaseModel):
    """What is left out stays; ``settings`` are replaced whole."""

    model_config = _example({"title": "Warranties"})

    title: Title | None = None
    settings: Settings | None = None


class FeedbackIn(BaseModel):
    """What a reader thinks of an answer; 0 without a comment takes it back."""

    model_config = _example(FEEDBACK)

    rating: Literal[-1, 0, 1]
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] = ""


class FeedbackOut(BaseModel):
    model_config = _example(FEEDBACK)

    rating: int
    comment: str


class ConversationOut(BaseModel):
    """``messages`` is how many there are; ``updated`` is when the newest came."""

    model_config = _example(EXAMPLE)

    id: str
    title: str
    created: str
    updated: str
    messages: int
    collection: str


class ConversationList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ConversationOut]


class TalkMessage(BaseModel):
    """``html`` is the text rendered and sanitised; ``answer`` is as in the event ``done`` of ``/v1/ask``, with its
    ``steps``, and null for questions."""

    id: str
    role: Literal["user", "assistant"]
    text: str
    html: str
    created: str
    answer: dict[str, Any] | None
    feedback: FeedbackOut | None

    @classmethod
    def of(cls, message: Message) -> TalkMessage:
        return cls.model_validate({**message.as_dict(), "html": render(message.text)})


class ConversationDetail(BaseModel):
    model_config = _example(
        {
            **EXAMPLE,
            "settings": {},
            "messages": [
                {
                    "id": "c0ffee0130ef18af10171e00",
                    "role": "user",
                    "text": "How long is the warranty?",
                    "html": "<p>How long is the warranty?</p>\n",
                    "created": "2026-01-31T12:00:00.000000Z",
                    "answer": None,
                    "feedback": None,
                }
            ],
        }
    )

    id: str
    title: str
    created: str
    updated: str
    collection: str
    settings: dict[str, Any]
    messages: list[TalkMessage]


def routes(house: House) -> APIRouter:
    """``/v1/conversations`` and all below it."""
    # A deletion while another process reads the desk's file for long.
    locked: dict[int | str, dict[str, Any]] = {409: {"model": ErrorResponse}}
    router = APIRouter(prefix="/v1/conversations", tags=["conversations"], responses=locked)
    _add_lists(router, house)
    _add_one(router, house)
    _add_messages(router, house)
    return router


async def _ask(house: House, request: Request, do: Callable[[str, Talks, str], _T]) -> _T:
    """Run ``do(collection, talks, owner)`` in a thread: it reads and writes files."""
    collection = house.of(request)
    return await asyncio.to_thread(do, collection.name, collection.talks, owner_of(request))


Collection = Annotated[str | None, Query(description="name of a collection; the default one where it is left out")]


def _add_lists(router: APIRouter, house: House) -> None:
    @router.get("")
    async def conversations(
        request: Request,
        collection: Collection = None,
        q: Annotated[str, Query(max_length=MAX_Q, description="only those whose title or text holds this")] = "",
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    ) -> ConversationList:
        """List one's conversations, the one with the newest message first."""

        def listed(name: str, talks: Talks, owner: str) -> ConversationList:
            found = talks.list(q, owner=owner, limit=limit, offset=offset)
            return ConversationList(data=[_out(talk, name) for talk in found])

        return await _ask(house, request, listed)

    @router.post("", status_code=201)
    async def create(
        request: Request, body: NewConversation | None = None, collection: Collection = None
    ) -> ConversationOut:
        """Begin a conversation."""
        asked = body or NewConversation()

        def made(name: str, talks: Talks, owner: str) -> ConversationOut:
            return _out(talks.create(asked.title or "", asked.settings, owner=owner), name)

        return await _ask(house, request, made)


def _add_one(router: APIRouter, house: House) -> None:
    @router.get("/{conversation}")
    async def conversation(request: Request, conversation: Id, collection: Collection = None) -> ConversationDetail:
        """Read a conversation with its messages."""
        return await _ask(house, request, lambda name, talks, owner: _detail(talks, conversation, owner, name))

    @router.patch("/{conversation}")
    async def change(
        request: Request, conversation: Id, body: ConversationChange, collection: Collection = None
    ) -> ConversationOut:
        """Give a conversation another title or other settings."""

        def changed(name: str, talks: Talks, owner: str) -> ConversationOut:
            if body.title is not None:
                talks.rename(conversation, body.title, owner=owner)
            if body.settings is not None:
                talks.set_settings(conversation, body.settings, owner=owner)
            return _out(talks.get(conversation, owner=owner), name)

        return await _ask(house, request, changed)

    @router.delete("/{conversation}", status_code=204, response_class=Response)
    async def delete(request: Request, conversation: Id, collection: Collection = None) -> None:
        """Delete a conversation; no byte of it is left in the file."""
        await _ask(house, request, lambda _, talks, owner: talks.delete(conversation, owner=owner))

    @router.get(
        "/{conversation}/export",
        response_class=Response,
        responses={
            200: {
                "content": {
                    "text/markdown": {"schema": {"type": "string"}},
                    "application/json": {"schema": {"type": "object"}},
                }
            }
        },
    )
    async def export(
        request: Request, conversation: Id, collection: Collection = None, format: Literal["md", "json"] = "md"
    ) -> Response:
        """Download a conversation as Markdown with its sources, or as JSON with all there is."""
        return await _ask(house, request, lambda _, talks, owner: _file(talks, conversation, owner, format))


def _add_messages(router: APIRouter, house: House) -> None:
    @router.delete("/{conversation}/messages/{message}", status_code=204, response_class=Response)
    async def truncate(request: Request, conversation: Id, message: Id, collection: Collection = None) -> None:
        """Delete a message and all after it, as one does to ask again."""
        await _ask(house, request, lambda _, talks, owner: talks.truncate(conversation, message, owner=owner))

    @router.put("/{conversation}/messages/{message}/feedback")
    async def feedback(
        request: Request, conversation: Id, message: Id, body: FeedbackIn, collection: Collection = None
    ) -> FeedbackOut:
        """Say what one thinks of an answer. It is kept with the answer, and goes nowhere."""

        def rated(_: str, talks: Talks, owner: str) -> FeedbackOut:
            kept = talks.rate(conversation, message, body.rating, body.comment, owner=owner).feedback
            return FeedbackOut(rating=kept.rating if kept else 0, comment=kept.comment if kept else "")

        return await _ask(house, request, rated)


def _out(talk: Talk, collection: str) -> ConversationOut:
    return ConversationOut(**talk.as_dict(), collection=collection)


def _detail(talks: Talks, conversation: str, owner: str, collection: str) -> ConversationDetail:
    talk = talks.get(conversation, owner=owner)
    messages = [TalkMessage.of(message) for message in talks.messages(conversation, owner=owner)]
    facts = {**talk.as_dict(), "messages": messages, "settings": dict(talk.settings), "collection": collection}
    return ConversationDetail.model_validate(facts)


def _file(talks: Talks, conversation: str, owner: str, format: Literal["md", "json"]) -> Response:
    if format == "md":
        text, kind = talks.export_markdown(conversation, owner=owner), "text/markdown"
    else:
        exported = talks.export(conversation, owner=owner)
        text, kind = json.dumps(exported, ensure_ascii=False, indent=2) + "\n", "application/json"
    name = _file_name(talks.get(conversation, owner=owner).title, format)
    headers = {"Content-Disposition": name, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(text, media_type=kind, headers=headers)


def _file_name(title: str, ending: str) -> str:
    """The header that names a download (RFC 6266): ASCII for old programs, UTF-8 (RFC 8187) for the others."""
    name = re.sub(r'[\\/:*?"<>|\x00-\x1f\x7f]+', " ", title)
    name = " ".join(name.split())[:80].strip(" .") or "conversation"
    plain = re.sub(r"[^A-Za-z0-9 ._()-]+", "_", name)
    return f"attachment; filename=\"{plain}.{ending}\"; filename*=UTF-8''{quote(f'{name}.{ending}', safe='')}"
