"""An answer in the making, as named events: what ``/v1/ask`` streams.

``step`` (a stage has ended), ``waiting``, ``found``, ``token``, ``block`` (a finished piece of Markdown as sanitised
HTML), ``cited``, ``done``. All data are plain JSON. What a step says of itself may be anything, as users may have flows
of their own: it is cut down to size here, and cleared of the paths of this machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ragapp.server.errors import ErrorTable
from ragapp.server.markdown import Blocks, render
from ragapp.shapes import answer_dict, citation_dict, passage_dict
from ragapp.types import Answer, Citation, Cited, Event, Found, Passage, Step, Token, Waiting

TEXT_CHARS = 4000  # of one text in a step's detail
DETAIL_CHARS = 40_000  # of all texts in it together
ITEMS = 100  # of one list or table in it
DEPTH = 5  # of lists and tables inside each other
# Members whose texts come from the question or from documents, where a path is nobody's secret.
_QUOTING = frozenset({"messages", "question", "questions", "queries", "passages", "words", "next", "cut"})


@dataclass(frozen=True, slots=True)
class Told:
    """One event: its name, and its data as plain JSON. Without a name there is nothing to tell, only a sign of life."""

    name: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


SILENCE = Told()


class Teller:
    """Turns the events of one flow into what is told of them, and remembers what an answer that is cut off has had."""

    def __init__(self, table: ErrorTable) -> None:
        self.steps: list[dict[str, Any]] = []
        self._table = table
        self._started = time.perf_counter()
        self._blocks = Blocks()
        self._texts: list[str] = []
        self._passages: tuple[Passage, ...] = ()
        self._citations: list[Citation] = []
        self._position = 0

    def tell(self, event: Event) -> list[Told]:
        """What is told of an event; never nothing, so that whoever has left is noticed."""
        match event:
            case Step():
                return [self._step(event)]
            case Waiting(position) if position != self._position:
                self._position = position
                return [Told("waiting", {"position": position})]
            case Found(passages):
                self._passages = passages
                return [Told("found", {"passages": [passage_dict(passage) for passage in passages]})]
            case Token(text) if text:
                return self._token(text)
            case Cited(citation):
                self._citations.append(citation)
                return [Told("cited", {"citation": citation_dict(citation)})]
        return [SILENCE]

    def done(self, answer: Answer, message: str | None) -> list[Told]:
        """The last events: the marks that nobody has told of yet, and all of it. ``message`` is where it was kept."""
        known = {(cited.marker, cited.start, cited.end) for cited in self._citations}
        late = [cited for cited in answer.citations if (cited.marker, cited.start, cited.end) not in known]
        told = {**self.told(answer), "html": render(answer.text)}
        last = Told("done", {"answer": told, "steps": self.steps, "message": message})
        return [*(Told("cited", {"citation": citation_dict(cited)}) for cited in late), last]

    def told(self, answer: Answer) -> dict[str, Any]:
        """The answer's own dictionary, without paths of this machine."""
        warnings = tuple(map(self._table.without_paths, answer.warnings))
        return answer_dict(replace(answer, warnings=warnings))

    def cut_off(self, reason: str = "") -> Answer:
        """What there is of an answer whose reader has left, or that failed for a reason."""
        seconds = round(time.perf_counter() - self._started, 4)
        return Answer(
            "".join(self._texts),
            tuple(self._citations),
            self._passages,
            "cancelled",
            timings={"total": seconds},
            warnings=(reason,) if reason else (),
        )

    def _step(self, step: Step) -> Told:
        at = time.perf_counter() - self._started
        detail = plain(step.detail, self._table)
        told = {"name": step.name, "seconds": round(step.seconds, 6), "at": round(at, 6), "detail": detail}
        self.steps.append(told)
        return Told("step", told)

    def _token(self, text: str) -> list[Told]:
        self._texts.append(text)
        told = [Told("token", {"text": text})]
        if blocks := self._blocks.feed(text):
            told.append(Told("block", {"html": "".join(blocks), "tail": self._blocks.tail}))
        return told


def plain(detail: Mapping[str, object], table: ErrorTable) -> dict[str, Any]:
    """A step's detail as JSON of a bounded size, without paths of this machine."""
    return _Plain(table).members(detail, DEPTH)


class _Plain:
    def __init__(self, table: ErrorTable) -> None:
        self._table = table
        self._left = DETAIL_CHARS

    def members(self, values: Mapping[Any, object], depth: int, *, quoting: bool = False) -> dict[str, Any]:
        return {
            self._text(str(name), quoting): self._value(value, depth - 1, quoting or name in _QUOTING)
            for name, value in list(values.items())[:ITEMS]
        }

    def _value(self, value: object, depth: int, quoting: bool) -> Any:
        if value is None or isinstance(value, bool | int):
            # Some readers of JSON know no larger integers.
            return value if not isinstance(value, int) or abs(value) < 1 << 53 else str(value)
        if isinstance(value, float):
            return round(value, 6) if math.isfinite(value) else None
        if isinstance(value, Mapping) and depth:
            return self.members(value, depth, quoting=quoting)
        if isinstance(value, list | tuple | set | frozenset) and depth:
            return [self._value(item, depth - 1, quoting) for item in list(value)[:ITEMS]]
        return self._text(value if isinstance(value, str) else type(value).__name__, quoting)

    def _text(self, text: str, quoting: bool) -> str:
        shown = text if quoting else self._table.without_paths(text)
        room = min(TEXT_CHARS, self._left)
        self._left -= min(room, len(shown))
        return shown if len(shown) <= room else f"{shown[:room]}…"
