"""``POST /v1/ask``: an answer as typed events, kept in a conversation where one is named.

``id:`` counts the events of an answer from 1; a comment comes every ten seconds in which nothing else does. An error
before the first event has a status of its own, a later one is the event ``error``. See telling.py for the events.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ragapp.errors import ConfigError, NotFound, RagappError
from ragapp.rag import Rag
from ragapp.server.answerer import named_reranker
from ragapp.server.auth import owner_of
from ragapp.server.chat import flows_of
from ragapp.server.errors import ErrorTable
from ragapp.server.house import Collection, House
from ragapp.server.offers import Offers
from ragapp.server.schemas import Finite, MaxTokens, Seed
from ragapp.server.sse import EVENT, EventStream, complete, frame
from ragapp.server.telling import Teller, Told
from ragapp.talks import Message, new_id
from ragapp.types import Answer, Asked, Done, Query, Turn

REMEMBERED = 100  # messages of a conversation that a question is asked with; the flow takes what fits


class Said(BaseModel):
    """An earlier message."""

    role: Literal["user", "assistant", "system"]
    content: str


class AskRequest(BaseModel):
    """A question, with what it follows on and with wishes for this one answer. What is left out is up to the settings.

    Either ``history`` or ``conversation`` says what was said before.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"question": "How long is the warranty?", "flow": "linear", "k": 6, "model": "llama-3.2-1b"},
                {
                    "question": "And of the pump?",
                    "history": [
                        {"role": "user", "content": "How long is the warranty of the fan?"},
                        {"role": "assistant", "content": "It lasts 12 months [1]."},
                    ],
                    "where": ["manuals/*"],
                },
            ]
        }
    )

    question: str
    history: Annotated[list[Said], Field(max_length=1000)] | None = None
    conversation: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="id of a conversation: its messages are the history, and question and answer are kept in it"
    )
    replaces: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="id of a message of the conversation: it and all after it are forgotten for this question"
    )
    collection: Annotated[str, Field(max_length=200)] | None = None
    flow: Annotated[str, Field(max_length=200)] | None = None
    k: Annotated[int, Field(ge=1, le=50)] | None = Field(None, description="passages that may be cited")
    reranker: Annotated[str, Field(max_length=200)] | None = Field(None, description="a name that /v1/answerer lists")
    hyde: Literal["auto", "on", "off"] | None = None
    model: Annotated[str, Field(max_length=1000)] | None = Field(
        None, description='who writes: a name that /v1/answerer lists, or "" for quotes'
    )
    strict: bool | None = Field(None, description="leave out sentences of a Llama that no cited page bears out")
    where: Annotated[list[str], Field(max_length=100)] = Field(
        default_factory=list, description="only documents whose name matches one of these (fnmatch)"
    )
    seed: Seed | None = None
    temperature: Annotated[Finite, Field(ge=0, le=2)] | None = None
    max_tokens: MaxTokens | None = None

    @field_validator("where", mode="before")
    @classmethod
    def _one_or_many(cls, where: object) -> object:
        return [where] if isinstance(where, str) else where or []

    def options(self) -> dict[str, object]:
        wishes = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in wishes.items() if value is not None}


EXAMPLE = """id: 1
event: start
data: {"id":"ask-2f6c","conversation":null,"question_message":null,"message":null,"flow":"linear","answerer":"quotes"}

id: 2
event: step
data: {"name":"search","seconds":0.009,"at":0.0093,"detail":{"passages":20,"queries":["How long is the warranty?"]}}

id: 3
event: token
data: {"text":"The "}

"""


def routes(house: House) -> APIRouter:
    """``POST /v1/ask``."""
    router = APIRouter(prefix="/v1", tags=["ask"])
    flows = {name: flows_of(collection.rag) for name, collection in house.collections.items()}
    offers = {name: Offers(collection) for name, collection in house.collections.items()}

    @router.post(
        "/ask",
        summary="Ask a question, and read the answer as typed events",
        response_class=Response,
        responses={
            200: {
                "description": "The events start, waiting, step, found, token, block, cited, done and error.",
                "content": {"text/event-stream": {"schema": dict(EVENT), "example": EXAMPLE}},
            }
        },
    )
    async def ask(body: AskRequest, request: Request) -> Response:
        """Ask a question, and read the answer as it is made.

        First comes **start**. A **step** is a stage that has ended, with what it did; **found** are the passages that
        may be cited; **token** is text, **block** finished Markdown of it as HTML; **cited** is what a mark [n] stands
        for; **done** has all of it once more, and **error** says why there is no more.
        """
        collection = house.at(body.collection)
        house.allow(request, collection.name)
        if body.conversation is not None and body.history:
            raise ConfigError("A conversation has a history of its own.", "Send either history or conversation.")
        if body.replaces is not None and body.conversation is None:
            raise ConfigError("Only a message of a conversation can be replaced.", "Send its conversation too.")
        flow = _flow(body.flow, flows[collection.name], collection.rag)
        place = Place(collection, offers[collection.name])
        answering = Answering(house.table, place, body, flow, owner_of(request))
        return EventStream(answering.told, house.gate, Events(), house.table)

    return router


def _flow(name: str | None, flows: Mapping[str, str], rag: Rag) -> str:
    """The flow to run. Raises ConfigError for one that is not listed: a dotted path would import what it names."""
    if name is not None and name not in flows:
        raise ConfigError(f"There is no flow named {name!r}.", f"Known: {', '.join(flows)}.")
    return flows[name] if name else rag.config.answer.flow


@dataclass(frozen=True, slots=True)
class Place:
    """Where a question is asked: a library, and the models that it may name there."""

    collection: Collection
    offers: Offers


class Answering:
    """One answer, from the question to its last event; ``told`` is run in a thread of its own."""

    def __init__(self, table: ErrorTable, place: Place, asked: AskRequest, flow: str, owner: str) -> None:
        self._table, self._flow = table, flow
        self._collection, self._offers = place.collection, place.offers
        self._asked, self._owner = asked, owner
        self._id = f"ask-{uuid.uuid4().hex}"
        self._message = new_id()  # of the answer, where it is kept

    def told(self) -> Iterator[Told]:
        """Everything that is told. A question that cannot be asked raises before anything is kept of it."""
        rag = self._collection.rag
        wishes = self._wishes(rag)
        events = rag.stream(self._query(), flow=self._flow, asked=wishes)
        answerer = self._offers.name_of(rag.config.chat.model if wishes.model is None else wishes.model)
        teller = NamedTeller(self._table, answerer)
        question = self._keep_question()
        kept, reason = False, ""
        try:
            with closing(complete(events)) as flowing:
                # An error of the first event is to have a status: nothing may be told before it.
                first = next(flowing)
                yield self._start(answerer, question)
                for event in chain((first,), flowing):
                    if isinstance(event, Done):
                        self._keep_answer(teller, event.answer)
                        kept = True
                        yield from teller.done(event.answer, self._message if self._asked.conversation else None)
                    else:
                        yield from teller.tell(event)
        except RagappError as error:
            reason = error.message
            raise
        finally:
            if not kept:
                self._keep_answer(teller, teller.cut_off(reason))

    def _start(self, answerer: str, question: str | None) -> Told:
        kept = {
            "conversation": self._asked.conversation,
            "question_message": question,
            "message": question and self._message,
        }
        return Told("start", {"id": self._id, **kept, "flow": self._flow, "answerer": answerer})

    def _query(self) -> Query:
        asked = self._asked
        return Query(
            asked.question,
            self._history(),
            where=tuple(map(_whole, asked.where)),
            seed=asked.seed,
            options=asked.options(),
        )

    def _wishes(self, rag: Rag) -> Asked:
        asked = self._asked
        reranker, model = named_reranker(rag, asked.reranker), self._offers.meant(asked.model)
        return Asked(asked.k, reranker, asked.hyde, asked.strict, model)

    def _history(self) -> tuple[Turn, ...]:
        """What was said before. Raises NotFound for a conversation that is not there, or somebody else's, and for a
        message that is to be replaced and is not in it."""
        if self._asked.conversation is None:
            return tuple(Turn(turn.role, turn.content) for turn in self._asked.history or () if turn.content)
        kept = self._collection.talks.messages(self._asked.conversation, owner=self._owner)
        if self._asked.replaces is not None:
            kept = kept[: _place(kept, self._asked.replaces)]
        return tuple(Turn(message.role, message.text) for message in kept[-REMEMBERED:] if message.text)

    def _keep_question(self) -> str | None:
        """Keep the question in the conversation, if there is one; its id. Raises NotFound."""
        if self._asked.conversation is None:
            return None
        talks = self._collection.talks
        if self._asked.replaces is not None:
            # Not before now: of a question that could not be asked, what it stands for is still there.
            talks.truncate(self._asked.conversation, self._asked.replaces, owner=self._owner)
        return talks.append(self._asked.conversation, "user", self._asked.question, owner=self._owner).id

    def _keep_answer(self, teller: Teller, answer: Answer) -> None:
        if self._asked.conversation is not None:
            told = {**teller.told(answer), "steps": teller.steps}
            with suppress(NotFound):  # whoever stopped it may have deleted the conversation too
                self._collection.talks.append(
                    self._asked.conversation, "assistant", answer.text, told, owner=self._owner, message=self._message
                )


class NamedTeller(Teller):
    """Tells an answer with the name of who wrote it."""

    def __init__(self, table: ErrorTable, answerer: str) -> None:
        super().__init__(table)
        self._answerer = answerer

    def told(self, answer: Answer) -> dict[str, Any]:
        return {**super().told(answer), "answerer": self._answerer}


def _place(messages: Sequence[Message], wanted: str) -> int:
    """How many messages are before the one with this id. Raises NotFound."""
    for place, message in enumerate(messages):
        if message.id == wanted:
            return place
    raise NotFound("The conversation has no such message.", "GET /v1/conversations/{id} lists them.")


def _whole(text: str) -> str:
    """The text without halves of character pairs, as a broken client may send them: they cannot be stored."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Events:
    """Named events with numbers; see sse.Writer."""

    def __init__(self) -> None:
        self._number = 0

    def opening(self) -> bytes:
        return b""

    def waiting(self, position: int) -> bytes:
        return self._next("waiting", {"position": position})

    def frames(self, event: Told) -> bytes:
        return self._next(event.name, event.data) if event.name else b""

    def failure(self, body: Mapping[str, Any]) -> bytes:
        return self._next("error", body)

    def ending(self) -> bytes:
        return b""

    def _next(self, name: str, data: Mapping[str, Any]) -> bytes:
        self._number += 1
        return frame(data, name, self._number)
