"""What happened while a question was answered, as a file: to be looked at, and to be asked again.

A trace holds the question, the settings that are not the defaults (never a secret one), which state of which library
was asked, every event in order, and the answer. Times and scores are kept and never compared: the same answer is the
same text with the same citations. A Llama gives it again on a CPU with temperature 0 or a seed.

Not covered: the weights behind a model's name, and what a model far away does from one day to the next.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from ragapp import config as settings_of_ragapp
from ragapp.catalog import Catalog, Generation
from ragapp.config import TABLES, Config, Setting
from ragapp.errors import ConfigError, NotFound, RagappError
from ragapp.text import sentences
from ragapp.types import Answer, Done, Event, Query, Turn

FORMAT = "ragapp-trace"
VERSION = 1
_SECRET_NAME = re.compile(r"key|token$|secret|passw|credential", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")
_MARKS = re.compile(r"(?:\[\d+\]\s*)+")
_HEAD_BYTES = 200  # the format stands within so many bytes of the file's begin
_NOT_OF_THE_QUESTION = ("deadline",)  # a moment of one process's clock


@dataclass(frozen=True, slots=True)
class Trace:
    """One answer and how it came about.

    ``generation`` and ``stamp`` name the library's state, ``embedder`` its vectors, ``model`` who answered (empty:
    quotes). ``events`` are dictionaries whose ``event`` names their kind; ``answer`` is None where there was none, and
    ``error`` then says why.
    """

    question: Query
    flow: str
    settings: Mapping[str, object]
    generation: int
    stamp: str
    embedder: str
    model: str
    events: tuple[Mapping[str, Any], ...] = ()
    answer: Mapping[str, Any] | None = None
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Everything, in values that JSON knows, with the ``sha256`` of all the rest."""
        question = plain(self.question)
        for name in _NOT_OF_THE_QUESTION:
            del question[name]
        held = {f.name: plain(getattr(self, f.name)) for f in fields(self)}
        content = {"format": FORMAT, "version": VERSION, **held, "question": question}
        return {**content, "sha256": _digest(content)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The trace that ``as_dict`` made this of. Raises ConfigError for anything else."""
        if data.get("format") != FORMAT:
            raise ConfigError("This is no trace of ragapp.", "`ragapp ask --save-trace FILE` writes one.")
        version = data.get("version")
        if isinstance(version, int) and version > VERSION:
            raise ConfigError(
                f"The trace was written by a newer ragapp: its version is {version}, this one reads {VERSION}.",
                "Replay it with the ragapp that wrote it, or a newer one.",
            )
        content = {key: value for key, value in data.items() if key != "sha256"}
        try:
            if version != VERSION or data["sha256"] != _digest(content):
                raise ValueError("its checksum does not fit")
            held = {f.name: content[f.name] for f in fields(cls)}
            trace = cls(**{**held, "question": _query(content["question"]), "events": tuple(held["events"])})
            if trace.answer is not None:
                _outline(trace.answer)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            reason = f"The trace is damaged, or somebody has changed it: {_first_line(error)}."
            raise ConfigError(reason, "Save it again.") from error
        return trace

    def save(self, path: Path) -> None:
        """Write the trace to a file, whole or not at all, for nobody but its owner to read.

        Raises ConfigError where something that is no trace has that name, RagappError for a disk that takes nothing.
        """
        check_target(path)
        text = json.dumps(self.as_dict(), ensure_ascii=False, indent=1, allow_nan=False)
        made = ""
        try:
            handle, made = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.absolute().parent)
            with os.fdopen(handle, "wb") as file:
                # Half of a character pair cannot be written as UTF-8; spelled out, JSON knows it.
                file.write(text.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(made)
            raise RagappError(f"The trace {path} cannot be written: {error.strerror}.", "Name another file.") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """The trace in a file. Raises NotFound, and ConfigError for what is no trace, newer, or damaged."""
        try:
            data = json.loads(path.read_bytes().decode("utf-8"))
        except FileNotFoundError:
            raise NotFound(f"There is no file {path}.", "`ragapp ask --save-trace FILE` writes one.") from None
        except OSError as error:
            raise ConfigError(f"The trace {path} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{path} is no trace, or it is damaged: {_first_line(error)}", "Save it again."
            ) from error
        try:
            return cls.from_dict(data if isinstance(data, dict) else {})
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.message}", error.hint) from error


def check_target(path: Path) -> None:
    """Raise ConfigError where a trace would overwrite something else: to be asked before the question is."""
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no file.", "Name another file for the trace.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        if path.absolute().parent.is_dir():
            return
        raise ConfigError(
            f"There is no folder {path.parent} for the trace.", "Name a file in one that is there."
        ) from None
    except OSError as error:
        raise ConfigError(f"The trace {path} cannot be written: {error.strerror}.", "Name another file.") from error
    if FORMAT.encode() not in head:
        raise ConfigError(f"{path} is there already, and is no trace.", "Name another file for the trace.")


# -- making one --------------------------------------------------------------------------------------------------------


def begin(question: Query, flow: str, config: Config, catalog: Catalog) -> Trace:
    """A trace of what is about to happen, without events."""
    now = catalog.generation()
    return Trace(
        question,
        flow,
        settings_of(config),
        now.number,
        now.stamp,
        catalog.embedder() or "",
        without_login(config.chat.model),
    )


def record(events: Iterator[Event], begun: Trace, keep: Callable[[Trace], None]) -> Iterator[Event]:
    """Pass events on as they come, and give ``keep`` the trace once: with the answer, before it is passed on, or
    without one where the events end before it, by an error or because nobody wants more.
    """
    seen: list[Mapping[str, Any]] = []
    is_kept = False
    error = "The events were not read to their end."
    try:
        for event in events:
            seen.append(event_dict(event))
            if isinstance(event, Done):
                is_kept = True
                keep(replace(begun, events=tuple(seen), answer=plain(event.answer)))
            yield event
        error = "The flow ended without an answer."
    except Exception as reason:
        error = f"{type(reason).__name__}: {reason}"
        raise
    finally:
        close = getattr(events, "close", None)
        if callable(close):
            close()
        if not is_kept:
            keep(replace(begun, events=tuple(seen), error=error))


def event_dict(event: Event) -> dict[str, Any]:
    """``{"event": "step", "name": …}``: its kind and its fields. The answer of Done stands in the trace itself."""
    kind = {"event": type(event).__name__.lower()}
    return kind if isinstance(event, Done) else {**kind, **plain(event)}


def plain(value: Any) -> Any:
    """Any value as one that JSON knows: frozen nouns become dictionaries, numbers that are none become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    return _named(value)


def _named(value: Any) -> Any:
    """What has members, as a dictionary; numbers and rows of numpy as Python's own; the rest as it is shown."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


# -- settings ----------------------------------------------------------------------------------------------------------


def settings_of(config: Config) -> dict[str, object]:
    """The settings that somebody set or that are not the defaults, by key, without secret ones and logins in URLs."""
    return {
        setting.key: without_login(setting.value)
        for setting in settings_of_ragapp.explain(config)
        if not _is_secret(setting) and (setting.source != "default" or setting.value != _default(setting.key))
    }


def config_of(trace: Trace, present: Config) -> Config:
    """The settings of a trace, with the secrets of the present ones. Raises ConfigError where they no longer fit."""
    now = {setting.key: setting for setting in settings_of_ragapp.explain(present)}
    chosen = {key: _as_now(value, now.get(key)) for key, value in trace.settings.items()}
    chosen |= {key: s.value for key, s in now.items() if _is_secret(s) and s.value != _default(key)}
    tables: dict[str, dict[str, object]] = {}
    for key, value in chosen.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    try:
        return Config.model_validate({**tables, "sources": dict.fromkeys(chosen, "trace")})
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(
            f"The setting {where} of the trace does not fit this ragapp: {error.errors()[0]['msg']}.",
            "Replay it with the ragapp that wrote it.",
        ) from error


def without_login(value: Any) -> Any:
    """The value; a URL without the name and password that it may carry."""
    return _LOGIN.sub("", value) if isinstance(value, str) else value


def _as_now(value: object, now: Setting | None) -> object:
    """The value, with the login that the present settings have in the same URL."""
    return now.value if now is not None and without_login(now.value) == value else value


def _is_secret(setting: Setting) -> bool:
    """Whether the table says so, or a part's own key sounds so."""
    table, _, name = setting.key.partition(".")
    is_known = name in TABLES[table].model_fields
    return setting.secret or (not is_known and _SECRET_NAME.search(name) is not None)


def _default(key: str) -> object:
    table, _, name = key.partition(".")
    info = TABLES[table].model_fields.get(name)
    return None if info is None else info.default


# -- asking again ------------------------------------------------------------------------------------------------------


def changes(trace: Trace, catalog: Catalog) -> list[str]:
    """What is no longer as it was when the trace was made, a sentence each."""
    found: list[str] = []
    then, now = Generation(trace.generation, trace.stamp), catalog.generation()
    if catalog.changes(then) is None:
        found.append("The library is another one, or an older copy, than the one that the trace was made with.")
    elif then != now:
        found.append(
            f"The library has changed since the trace was made: generation {then.number:,} then, {now.number:,} now."
        )
    embedder = catalog.embedder() or ""
    if embedder != trace.embedder:
        found.append(
            f"The library's vectors were made by {trace.embedder or 'nobody'} then, by {embedder or 'nobody'} now."
        )
    return found


@dataclass(frozen=True, slots=True)
class Move:
    """A passage that both answers have, at another place among them, counted from 1."""

    passage: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Recited:
    """A citation that is not as it was; ``before`` or ``after`` is empty where there is none.

    Both are like "verified on page 3 as [1]".
    """

    document: str
    quote: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """How two answers differ. Passages are told apart by document and span; they do not make another answer."""

    same: bool
    finish: tuple[str, str]
    sentences_gone: tuple[str, ...] = ()
    sentences_new: tuple[str, ...] = ()
    citations: tuple[Recited, ...] = ()
    passages_gone: tuple[str, ...] = ()
    passages_new: tuple[str, ...] = ()
    passages_moved: tuple[Move, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = plain(self)
        return found

    def sentences(self) -> Iterator[str]:
        """What there is to say, in lines for people; the first says whether the answer is the same."""
        yield "The same answer." if self.same else "Another answer."
        if self.finish[0] != self.finish[1]:
            yield f"It ended with {self.finish[1]!r} instead of {self.finish[0]!r}."
        yield from (f"- {sentence}" for sentence in self.sentences_gone)
        yield from (f"+ {sentence}" for sentence in self.sentences_new)
        for cited in self.citations:
            change = f"{cited.before or 'not cited'}, now {cited.after or 'not cited'}"
            yield f"Citation of {cited.document} “{cited.quote}”: {change}."
        if not self.same and not (self.sentences_gone or self.sentences_new or self.citations):
            yield "Only white space, or how it ended, differs."
        yield from (f"Passage no longer there: {passage}." for passage in self.passages_gone)
        yield from (f"Passage not there before: {passage}." for passage in self.passages_new)
        yield from (f"Passage moved from {m.before} to {m.after}: {m.passage}." for m in self.passages_moved)


def check_answered(trace: Trace) -> None:
    """Raise ConfigError for a trace without an answer: to be asked before a model writes another one."""
    if trace.answer is None:
        raise ConfigError(f"The trace has no answer: {trace.error}", "Nothing can be compared with it.")


def compare(before: Trace | Answer, after: Trace | Answer) -> Difference:
    """How the second answer differs from the first. Raises ConfigError for a trace without an answer."""
    one, other = _outline_of(before), _outline_of(after)
    gone, new = _exchanged(one.sentences, other.sentences)
    recited = tuple(_recited(one.citations, other.citations))
    lost, added, moved = _shuffled(one.passages, other.passages)
    return Difference(
        same=(one.text, one.finish) == (other.text, other.finish) and not recited,
        finish=(one.finish, other.finish),
        sentences_gone=tuple(gone),
        sentences_new=tuple(new),
        citations=recited,
        passages_gone=tuple(lost),
        passages_new=tuple(added),
        passages_moved=tuple(moved),
    )


# -- telling them apart ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cited:
    """A citation: what it cites, and how it stands there."""

    document: str
    quote: str
    how: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Outline:
    """What of an answer is compared. ``passages`` are what tells a passage apart, and what people call it."""

    text: str
    finish: str
    passages: tuple[tuple[tuple[str, int, int], str], ...]
    citations: tuple[_Cited, ...]

    @property
    def sentences(self) -> list[str]:
        """The sentences; marks that stand by themselves are none, their citations are compared."""
        found = (self.text[start:end].strip() for start, end in sentences(self.text))
        return [text for text in found if not _MARKS.fullmatch(text)]


def _outline_of(answered: Trace | Answer) -> _Outline:
    if isinstance(answered, Answer):
        return _outline(plain(answered))
    check_answered(answered)
    return _outline(answered.answer or {})


def _outline(answer: Mapping[str, Any]) -> _Outline:
    return _Outline(
        str(answer["text"]),
        str(answer["finish_reason"]),
        tuple((_key(passage), _called(passage)) for passage in answer["passages"]),
        tuple(
            _Cited(
                str(c["passage"]["document"]),
                str(c["quote"]),
                f"{c['state']} on page {int(c['page'])} as [{int(c['marker'])}]",
                (int(c["start"]), int(c["end"])),
            )
            for c in answer["citations"]
        ),
    )


def _key(passage: Mapping[str, Any]) -> tuple[str, int, int]:
    chunk = passage["chunk"]
    return str(chunk["document_id"]), int(chunk["start"]), int(chunk["end"])


def _called(passage: Mapping[str, Any]) -> str:
    chunk = passage["chunk"]
    return f"{passage['document']}, page {chunk['page']} ({chunk['start']}-{chunk['end']})"


def _exchanged(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands only in the first list, and only in the second, in their orders."""
    gone: list[str] = []
    new: list[str] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind != "equal":
            gone += before[a:b]
            new += after[c:d]
    return gone, new


def _recited(before: Sequence[_Cited], after: Sequence[_Cited]) -> Iterator[Recited]:
    """Citations of the same words that stand otherwise, or in one answer only; as often as they are there."""
    left = list(after)
    for cited in before:
        others = [c for c in left if (c.document, c.quote) == (cited.document, cited.quote)]
        other = next((c for c in others if c == cited), others[0] if others else None)
        if other is not None:
            left.remove(other)
        if other != cited:
            how = "" if other is None else other.how if other.how != cited.how else f"{other.how}, at another place"
            yield Recited(cited.document, cited.quote, cited.how, how)
    yield from (Recited(cited.document, cited.quote, "", cited.how) for cited in left)


_Named = Sequence[tuple[tuple[str, int, int], str]]


def _shuffled(before: _Named, after: _Named) -> tuple[list[str], list[str], list[Move]]:
    """Names of what is gone and new, and what of the rest stands in another order."""
    old, now = dict(before), dict(after)
    lost = [name for key, name in old.items() if key not in now]
    added = [name for key, name in now.items() if key not in old]
    one, other = [key for key in old if key in now], [key for key in now if key in old]
    still: set[tuple[str, int, int]] = set()
    for match in difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks():
        still.update(one[match.a : match.a + match.size])
    places = {key: place for place, key in enumerate(other, 1)}
    moved = [Move(old[key], place, places[key]) for place, key in enumerate(one, 1) if key not in still]
    return lost, added, moved


# -- reading one back --------------------------------------------------------------------------------------------------


def _query(data: Mapping[str, Any]) -> Query:
    """The question as it was asked."""
    return Query(
        text=str(data["text"]),
        history=tuple(Turn(turn["role"], str(turn["text"])) for turn in data["history"]),
        where=tuple(map(str, data["where"])),
        seed=None if data["seed"] is None else int(data["seed"]),
        options=dict(data["options"]),
        standalone=str(data["standalone"]),
        hypotheses=tuple(map(str, data["hypotheses"])),
        tokens_left=None if data["tokens_left"] is None else int(data["tokens_left"]),
        parts=tuple(map(str, data.get("parts", ()))),  # which the first traces do not have
    )


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
