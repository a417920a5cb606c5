"""Short texts that a language model writes on the way to an answer, and what its replies mean.

Small models wrap what they were asked for: in numbers, quotation marks, "Question:", a thought before it. The readers
of replies take that off, and give nothing for a reply that is not what was asked for; the steps then do without.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ragapp.errors import ContextTooLong, ModelError, RagappError
from ragapp.types import Event, Query, Usage, Waiting, Written

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

MAX_LINE = 500  # characters; a longer line is no question
MIN_VALUE = 200  # characters that a value keeps when the prompt is made to fit
SIGN_OF_LIFE = 0.2  # seconds between events while the model writes, so that who asked may leave
ENDS_FIRST = frozenset({"history"})  # values whose end matters; of the others it is the beginning


class Tasks(Protocol):
    """Where the prompts come from (prompts.Prompts)."""

    def task(self, task: str, query: Query, values: Mapping[str, str]) -> list[BaseMessage]: ...


@dataclass(frozen=True, slots=True)
class ChatWriter:
    """Asks a LangChain chat model, at temperature 0; see ports.Writer.

    ``count`` gives the tokens of messages by the model's own tokenizer, ``window`` how many it reads and writes
    together.
    """

    model: Any
    prompts: Tasks
    count: Callable[[Sequence[BaseMessage]], int]
    window: Callable[[], int]

    def write(
        self, task: str, query: Query, values: Mapping[str, str], max_tokens: int
    ) -> Generator[Event, None, Written]:
        """What the model says, at most ``max_tokens`` tokens of it; Waiting events while it is at it.

        Closing the generator closes the model's stream. Raises ModelError when the model fails or is not done at the
        query's deadline, ContextTooLong when the prompt does not fit though its values were shortened.
        """
        room = self.window()
        allowed = max(1, min(max_tokens, room // 2))
        messages, asked = self._fitting(task, query, values, room - allowed)
        pieces: list[str] = []
        usage: Usage | None = None
        said = 0.0
        with closing(self._stream(messages, allowed)) as stream:
            for chunk in stream:
                if query.deadline is not None and time.monotonic() >= query.deadline:
                    raise ModelError(f"The model was not done with the task {task!r} when its time was over.")
                pieces += [str(chunk.text)] if chunk.text else []
                if chunk.usage_metadata:
                    usage = Usage(chunk.usage_metadata["input_tokens"], chunk.usage_metadata["output_tokens"])
                position = int(chunk.response_metadata.get("queue_position") or 0)
                if position or time.monotonic() >= said + SIGN_OF_LIFE:
                    said = time.monotonic()
                    yield Waiting(position)
                if len(pieces) > allowed:
                    break  # a model that does not heed max_tokens
        return Written("".join(pieces), usage or Usage(asked, len(pieces)))

    def _stream(self, messages: Sequence[BaseMessage], max_tokens: int) -> Generator[Any, None, None]:
        """The model's chunks; whatever it raises is a ModelError."""
        try:
            with closing(self.model.stream(messages, temperature=0.0, max_tokens=max_tokens)) as stream:
                yield from stream
        except RagappError:
            raise
        except Exception as error:  # any chat model of LangChain may stand here, each with errors of its own
            raise ModelError(f"The chat model failed: {type(error).__name__}: {error}") from error

    def _fitting(self, task: str, query: Query, values: Mapping[str, str], room: int) -> tuple[list[BaseMessage], int]:
        """The prompt and its tokens, the longest of its values halved until it fits."""
        shorter = dict(values)
        while True:
            messages = self.prompts.task(task, query, shorter)
            asked = self.count(messages)
            if asked <= room:
                return messages, asked
            longest = max(shorter, key=lambda name: len(shorter[name]))
            text = shorter[longest]
            if longest == "question" or len(text) < MIN_VALUE:
                raise ContextTooLong(f"The prompt of the task {task!r} has {asked} tokens; the model can read {room}.")
            half = len(text) // 2
            shorter[longest] = text[-half:] if longest in ENDS_FIRST else text[:half]


# -- what a reply means ------------------------------------------------------------------------------------------------

_THOUGHT = re.compile(r"<think>.*?(?:</think>|$)", re.S)
# "3.5 percent", "10:30" and "U.S. taxes" begin with what a bullet begins with, and are none.
_BULLET = re.compile(r"^\s*(?:[-*•–](?!\d)|\(?\d{1,2}[.)、:](?!\d)|[a-z][.)](?=\s)|[A-Z]\))\s*")
_LABEL = re.compile(
    r"^(?:[\w -]{0,30}(?:question|query|rewrite|search)\s*\d*|(?:[\u4e00-\u9fff]{0,6})(?:问题|问句|查询))\s*[:：]\s*",
    re.I,
)
_QUOTES = "\"'“”‘’「」『』`*"
_CITED = re.compile(r"[\[［【〔]\d{1,3}[\]］】〕]")
_YES = re.compile(r"\W*(?:yes\b|是(?!否)|对|需要)", re.I)
_NO = re.compile(r"\W*(?:no\b|not\b|否|不(?:需要|是|用|必|够)?|没有)", re.I)


def lines(reply: str, most: int) -> list[str]:
    """At most so many lines of a reply, without numbers, labels and quotation marks, each once.

    None of a reply that cites a passage: there a model answers, as weak ones do, instead of asking.
    """
    found: dict[str, None] = {}
    said = _THOUGHT.sub("", reply)
    for line in () if _CITED.search(said) else said.splitlines():
        text = _LABEL.sub("", _BULLET.sub("", line.strip()).strip(_QUOTES)).strip().strip(_QUOTES).strip()
        if text.endswith((":", "：")) or not any(c.isalnum() for c in text) or len(text) > MAX_LINE:
            continue
        found[text] = None
    return list(found)[:most]


def paragraphs(reply: str, most: int) -> list[str]:
    """At most so many paragraphs of a reply."""
    parts = re.split(r"\n\s*\n", _THOUGHT.sub("", reply))
    told = [" ".join(_BULLET.sub("", part.strip()).split()) for part in parts]
    return [text for text in told if any(c.isalnum() for c in text) and not text.endswith((":", "："))][:most]


def verdict(reply: str) -> tuple[bool | None, str]:
    """Yes, no, or None where a reply begins with neither; and the first line that follows it."""
    text = _THOUGHT.sub("", reply).strip()
    match = _YES.match(text) or _NO.match(text)
    if match is None:
        return None, ""
    rest = lines(text[match.end() :].lstrip(" ,.:;，。：；!！"), 1)
    return _YES.match(text) is not None, rest[0] if rest else ""
