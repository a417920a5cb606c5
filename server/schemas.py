"""What is read and written: OpenAI's shapes where OpenAI has one, ours for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from ragapp.shapes import answer_dict, citation_dict, passage_dict
from ragapp.types import Answer, Box, Citation, Passage

EXAMPLE_PASSAGE: dict[str, Any] = {
    "document": "manuals/pump.pdf",
    "document_id": "9f86d081884c7d65",
    "start": 8404,
    "end": 8433,
    "page": 12,
    "label": "",
    "score": 0.93,
    "text": "The warranty lasts 24 months.",
    "found_by": {"dense": {"rank": 1, "score": 0.71}, "lexical": {"rank": 3, "score": 8.4}},
}
EXAMPLE_CITATION: dict[str, Any] = {
    "marker": 1,
    "document": "manuals/pump.pdf",
    "document_id": "9f86d081884c7d65",
    "start": 8404,
    "end": 8433,
    "page": 12,
    "label": "",
    "quote": "The warranty lasts 24 months.",
    "state": "verified",
    "boxes": [{"page": 12, "x0": 72.0, "y0": 144.5, "x1": 311.2, "y1": 156.5}],
}


def _example(value: Mapping[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [dict(value)]})


# -- what is asked -----------------------------------------------------------------------------------------------


class Part(BaseModel):
    """A piece of a message. Only text is read."""

    type: str
    text: str | None = None


class Message(BaseModel):
    """A turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    @field_validator("content")
    @classmethod
    def _only_text(cls, content: str | list[Part] | None) -> str | list[Part] | None:
        for part in content if isinstance(content, list) else ():
            if part.type != "text" or part.text is None:
                raise ValueError(f"only parts of the type 'text' can be read, not {part.type!r}")
        return content

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of the role {self.role!r} needs a content")
        return self

    @property
    def text(self) -> str:
        """The text, whole; half a character pair, as a broken client may send it, becomes a question mark."""
        parts = self.content if isinstance(self.content, list) else ()
        text = self.content if isinstance(self.content, str) else "".join(part.text or "" for part in parts)
        return text.encode("utf-8", "replace").decode("utf-8")


class StreamOptions(BaseModel):
    include_usage: bool | None = None


Finite = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)]


class ResponseFormat(BaseModel):
    type: str = "text"


class ChatRequest(BaseModel):
    """OpenAI's request, with our ``collection``.

    Read over: fields that are not listed here (``user``, ``metadata``, ``store``, penalties and the like), and
    ``tools`` and ``functions``, of which a model is free to call none. Refused: what an answer of ours could not keep
    (several answers, ``logprobs``, JSON, a tool that must be called, sound).
    """

    model_config = _example(
        {"model": "ragapp", "messages": [{"role": "user", "content": "How long is the warranty?"}], "stream": True}
    )

    model: str = Field("ragapp", description="name of a flow; 'ragapp' is the one in the settings")
    messages: Annotated[list[Message], Field(min_length=1)]
    collection: Annotated[str, Field(max_length=200)] | None = Field(None, description="which library; ours")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[Finite, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Finite, Field(gt=0, le=1)] | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    seed: Seed | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    modalities: list[str] | None = None
    tool_choice: str | dict[str, Any] | None = None
    function_call: str | dict[str, Any] | None = None

    @field_validator("n")
    @classmethod
    def _one_answer(cls, n: int | None) -> int | None:
        if n not in (None, 1):
            raise ValueError("only one answer is written for a request")
        return n

    @field_validator("logprobs", "top_logprobs")
    @classmethod
    def _no_logprobs(cls, wanted: int | None) -> int | None:
        if wanted:
            raise ValueError("the probabilities of tokens are not told")
        return wanted

    @field_validator("response_format")
    @classmethod
    def _plain_text(cls, wanted: ResponseFormat | None) -> ResponseFormat | None:
        if wanted is not None and wanted.type != "text":
            raise ValueError("answers are text with citations; no other format is written")
        return wanted

    @field_validator("modalities")
    @classmethod
    def _only_text(cls, wanted: list[str] | None) -> list[str] | None:
        if wanted is not None and wanted != ["text"]:
            raise ValueError("answers are text")
        return wanted

    @field_validator("tool_choice", "function_call")
    @classmethod
    def _no_tools(cls, choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        if choice not in (None, "auto", "none"):
            raise ValueError("no tools are called: leave it out, or send 'auto' or 'none'")
        return choice

    @model_validator(mode="after")
    def _usage_of_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options may only be given together with stream")
        return self


class SearchRequest(BaseModel):
    """A search. ``query`` is another name for ``question``."""

    model_config = _example({"question": "How long is the warranty?", "k": 5, "where": ["manuals/*"]})

    question: str = Field(validation_alias=AliasChoices("question", "query"))
    k: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="passages at the most")
    where: Annotated[list[str], Field(max_length=100)] = Field(
        default_factory=list, description="only documents whose name matches one of these (fnmatch)"
    )
    collection: Annotated[str | None, Field(max_length=200)] = Field(None, description="empty: the default one")

    @field_validator("where", mode="before")
    @classmethod
    def _one_or_many(cls, where: object) -> object:
        return [where] if isinstance(where, str) else where or []


# -- what is answered --------------------------------------------------------------------------------------------


class RankOut(BaseModel):
    rank: int
    score: float


class BoxOut(BaseModel):
    """A rectangle in points from the top left corner of its page."""

    page: int
    x0: float
    y0: float
    x1: float
    y1: float


class PassageOut(BaseModel):
    model_config = _example(EXAMPLE_PASSAGE)

    document: str
    document_id: str
    start: int
    end: int
    page: int
    label: str
    score: float
    text: str
    found_by: dict[str, RankOut]

    @classmethod
    def of(cls, passage: Passage) -> PassageOut:
        return cls.model_validate(passage_dict(passage))


class PassageWithBoxes(PassageOut):
    boxes: list[BoxOut]

    @classmethod
    def at(cls, passage: Passage, boxes: Sequence[Box]) -> PassageWithBoxes:
        return cls.model_validate(passage_dict(passage, boxes))


class CitationOut(BaseModel):
    model_config = _example(EXAMPLE_CITATION)

    marker: int
    document: str
    document_id: str
    start: int
    end: int
    page: int
    label: str
    quote: str
    state: str
    boxes: list[BoxOut]

    @classmethod
    def of(cls, citation: Citation) -> CitationOut:
        return cls.model_validate(citation_dict(citation))


class UnreadOut(BaseModel):
    """Pages of a document that could not be read: what was asked for may stand there."""

    document: str
    pages: list[int]


class FigureOut(BaseModel):
    """A number in the answer, ``content[start:end]``, that no cited passage bears out."""

    text: str
    start: int
    end: int


class Outcome(BaseModel):
    """The end of an answer, in our words. ``confidence`` is the probability that the library holds the answer."""

    finish_reason: Literal["stop", "length", "no_evidence", "cancelled"]
    citations: list[CitationOut]
    timings: dict[str, float]
    unread: list[UnreadOut]
    confidence: float | None
    figures: list[FigureOut]
    warnings: list[str]

    @classmethod
    def of(cls, answer: Answer) -> Outcome:
        return cls.model_validate(answer_dict(answer))


class OutcomeWithPassages(Outcome):
    passages: list[PassageOut]


class UsageOut(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, answer: Answer) -> UsageOut:
        return cls.model_validate(answer_dict(answer)["usage"])


class MessageOut(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int = 0
    message: MessageOut
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """OpenAI's answer, with a ``ragapp`` member that its clients read over."""

    model_config = _example(
        {
            "id": "chatcmpl-2f6c",
            "object": "chat.completion",
            "created": 1764000000,
            "model": "ragapp",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "“The warranty lasts 24 months.” [1]"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
            "ragapp": {
                "finish_reason": "stop",
                "citations": [EXAMPLE_CITATION],
                "timings": {"search": 0.01, "first_token": 0.02, "total": 0.03},
                "unread": [{"document": "Pump manual.pdf", "pages": [3, 4]}],
                "confidence": 0.97,
                "figures": [],
                "warnings": [],
                "passages": [EXAMPLE_PASSAGE],
            },
        }
    )

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: UsageOut
    ragapp: OutcomeWithPassages


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["ragapp"] = "ragapp"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class SearchResponse(BaseModel):
    model_config = _example({"passages": [{**EXAMPLE_PASSAGE, "boxes": EXAMPLE_CITATION["boxes"]}], "warnings": []})

    passages: list[PassageWithBoxes]
    warnings: list[str]


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None
    hint: str


class ErrorResponse(BaseModel):
    model_config = _example(
        {
            "error": {
                "message": "There is no model 'gpt-4o'.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
                "hint": "GET /v1/models lists them.",
            }
        }
    )

    error: ErrorBody


class Health(BaseModel):
    status: Literal["ok", "ready", "warming"]
