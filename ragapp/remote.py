"""Chat models elsewhere: any server that speaks OpenAI's protocol. Only when named; LangChain's: ``providers.py``.

httpx carries the requests, not a provider's client: such clients read variables of the environment that a user of
ragapp never set for it, and some fetch files to count tokens. Nothing but the address that was named is contacted.

Not covered: tool calls, pictures, several choices, and what a model thinks aloud before it answers.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk
from pydantic import Field, PrivateAttr, SecretStr

import ragapp.chat  # noqa: F401 - switches the upload of prompts off
from ragapp import wire
from ragapp.chunks import StreamedChat, estimated_tokens, let_through, text_tokens, turns_of
from ragapp.errors import ConfigError, ContextTooLong, ModelError
from ragapp.sampling import Options
from ragapp.streaming import Stops

__all__ = ["Address", "RemoteChat", "Written"]

_WINDOW = 4096  # where neither settings nor server say: what Ollama gives a model unless it is told otherwise
_ASK_S = 10.0  # for questions about the server itself
_AFTER_END_S = 5.0  # how long usage is waited for after the last word
_STOPS_SENT = 4  # OpenAI refuses more; what a server does not stop at, we do
_TOO_LONG = re.compile(r"context.{0,20}(length|size|window)|maximum context|too many tokens|prompt is too long", re.I)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. ``base`` ends with the version (``/v1``), ``root`` does not."""

    base: str
    model: str = ""

    @property
    def root(self) -> str:
        return self.base.removesuffix("/v1")

    @property
    def shown(self) -> str:
        """Without a password that stands in it."""
        parts = urlsplit(self.base)
        return self.base.replace(f"{parts.netloc}", parts.netloc.rpartition("@")[2], 1)

    @classmethod
    def of(cls, url: str) -> Address:
        """``http://host:port[/v1][#model]``. Raises ConfigError."""
        try:
            parts = urlsplit(url)
            valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query
            _ = parts.port
        except ValueError:
            valid = False
        if not valid:
            shown = re.sub(r"(?<=//)[^/?#]*@", "", url)  # a password that stands in it is shown to nobody
            raise ConfigError(f"{shown!r} is not the address of a server.", "It looks like http://localhost:11434/v1.")
        path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
        return cls(f"{parts.scheme.lower()}://{parts.netloc}{path}", unquote(parts.fragment))


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself: the names of its models, who made it, and the window of the model in use."""

    names: tuple[str, ...] = ()
    maker: str = ""
    model: str = ""
    window: int | None = None


@dataclass(slots=True)
class Written:
    """What has come of an answer so far."""

    text: list[str]
    asked: int
    started: float
    first: float | None = None
    reason: str = ""
    usage: Mapping[str, Any] | None = None

    @classmethod
    def begin(cls, asked: int) -> Written:
        return cls([], asked, time.monotonic())

    def add(self, text: str) -> None:
        if text:
            self.first = self.first or time.monotonic()
            self.text.append(text)

    def last_piece(self, model: str, reason: str) -> ChatGenerationChunk:
        """The closing chunk: usage as the server counted it, else estimated and marked as such."""
        seconds = time.monotonic() - self.started
        known = self.usage is not None
        usage = self.usage or {}
        read = _whole(usage.get("prompt_tokens")) or self.asked
        wrote = _whole(usage.get("completion_tokens")) if known else text_tokens("".join(self.text))
        facts: dict[str, Any] = {
            "finish_reason": reason,
            "model_name": model,
            "tokens_per_second": round(wrote / seconds, 2) if seconds > 0 else 0.0,
            **({"first_token_seconds": round(self.first - self.started, 3)} if self.first else {}),
            **({} if known else {"usage_estimated": True}),
        }
        return ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=UsageMetadata(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote),
                response_metadata=facts,
                chunk_position="last",
            )
        )


def _whole(value: object) -> int:
    """A number of tokens as a server tells it; 0 for anything else."""
    return value if isinstance(value, int) and value > 0 else 0


class RemoteChat(StreamedChat):
    """A model behind an OpenAI-compatible server (vLLM, llama.cpp, Ollama, LM Studio, ragapp itself).

    ``model`` empty means what the address names behind its ``#``, else the first that the server lists. ``api_key``
    empty means $OPENAI_API_KEY, which is sent over https or to this machine, and never in the clear to another.
    ``timeout`` is the longest silence in seconds. ``retries`` are made only while no word has come.

    The window is ``context_tokens``, else what the server says (vLLM, llama.cpp), else 4,096. Tokens are counted by the
    server where it can (vLLM, llama.cpp), else estimated on the high side. A stream that waits yields an empty chunk
    about twice a second, so that whoever reads it may close it; closing it closes the connection.
    """

    url: str
    model: str = ""
    api_key: SecretStr = Field(default=SecretStr(""), repr=False)
    timeout: float = Field(default=120.0, gt=0)
    retries: int = Field(default=2, ge=0)

    _asking: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _server: Server | None = PrivateAttr(default=None)
    _counts: bool = PrivateAttr(default=True)  # the server counts tokens, as far as is known
    _counted: dict[str, int] = PrivateAttr(default_factory=dict)
    _unknown: set[str] = PrivateAttr(default_factory=set)  # parameters that the server has refused

    @property
    def _llm_type(self) -> str:
        return "ragapp-remote"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"url": self._address.shown, "model": self.model, "temperature": self.temperature, "top_p": self.top_p}

    @property
    def _address(self) -> Address:
        return Address.of(self.url)

    def check(self) -> None:
        """Whether the address can be one. The server is not asked: it may come and go while a library is open."""
        _ = self._address

    def warm(self) -> None:
        """Ask the server what it has. Raises ModelError when it cannot be reached or lacks the model."""
        server = self._about()
        if server.names and server.model not in server.names:
            raise self._no_such_model(server)

    def window(self) -> int:
        """The most tokens that prompt and answer may have together. Asks the server once."""
        return self.context_tokens or self._about().window or _WINDOW

    def count_tokens(self, messages: Sequence[BaseMessage]) -> int:
        """Tokens of the prompt made of these messages: the server's own count, or an estimate on the high side."""
        turns = turns_of(messages)
        if not self._counts or self._about().maker not in {"vllm", "llamacpp"}:
            return estimated_tokens(messages)
        key = json.dumps(turns)
        count = self._counted.get(key)
        if count is None:
            try:
                count = self._count(turns)
            except (wire.WireError, KeyError, TypeError, ValueError):
                self._counts = False
                return estimated_tokens(messages)
            while len(self._counted) >= 64:
                self._counted.pop(next(iter(self._counted)), None)
            self._counted[key] = count
        return count

    def get_token_ids(self, text: str) -> list[int]:
        """Stands in for the tokens, which only the server knows: as many numbers as they are estimated to be."""
        return list(range(text_tokens(text)))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the answer as it comes; the last chunk carries usage, finish reason and tokens per second.

        Raises ConfigError for an impossible option, ContextTooLong when the prompt leaves no room for a token, and
        ModelError for whatever goes wrong on the way or at the server, also half way through an answer.
        """
        options = Options.of(self, stop, kwargs)
        turns, asked, window = turns_of(messages), self.count_tokens(messages), self.window()
        if asked >= window:
            raise _too_long(f"The prompt has about {asked:,} tokens, and the window of {self._name()} is {window:,}.")
        most = min(options.max_tokens, window - asked)
        written, stops = Written.begin(asked), Stops(options.stop)
        with closing(self._pieces(turns, options, most, written)) as pieces:
            for chunk in let_through(pieces, stops, run_manager):
                written.add(chunk.text)
                yield chunk
        reason = "stop" if stops.hit or written.reason != "length" else "length"
        yield written.last_piece(self._name(), reason)

    def _pieces(self, turns: Any, options: Options, most: int, written: Written) -> Generator[str, None, None]:
        """The texts of an answer, "" while nothing comes; a server that refuses a parameter is asked without it."""
        while True:
            body = self._body(turns, options, most)
            call = wire.Call(
                f"{self._address.base}/chat/completions",
                self._headers(),
                body,
                timeout=self.timeout,
                retries=self.retries,
            )
            try:
                yield from self._read(call, written)
                return
            except wire.WireError as error:
                if written.text or not self._can_do_without(error, body):  # what was said cannot be said again
                    raise self._told(error, begun=bool(written.text)) from error
            finally:
                call.close()

    def _read(self, call: wire.Call, written: Written) -> Generator[str, None, None]:
        ended, came = 0.0, False
        for data in call:
            if ended and time.monotonic() - ended > _AFTER_END_S:
                return
            if data is None:
                yield ""
                continue
            came = True
            if data.strip() == "[DONE]":
                written.reason = written.reason or "stop"
                return
            yield self._text(data, written)
            if written.reason and not ended:
                ended = time.monotonic()
        if not came:
            raise wire.WireError("foreign", "an empty answer")
        if not written.reason:
            raise wire.WireError("broken", "the connection ended in the middle of the answer")

    def _text(self, data: str, written: Written) -> str:
        """The text in one chunk; what else it says goes into ``written``."""
        try:
            chunk = json.loads(data)
            if error := chunk.get("error"):
                raise wire.WireError("status", "", status=int(chunk.get("status") or 500), body=json.dumps(error))
            usage = chunk.get("usage")
            written.usage = usage if usage and isinstance(usage, dict) else written.usage
            choice: dict[str, Any] = next(iter(chunk.get("choices") or []), {})
            written.reason = str(choice.get("finish_reason") or written.reason)
            text = (choice.get("delta") or choice.get("message") or {}).get("content") or ""
            if chunk.get("object") == "chat.completion":
                written.reason = written.reason or "stop"
        except (ValueError, TypeError, AttributeError) as error:
            raise wire.WireError("foreign", f"{data[:80]!r}") from error
        return text if isinstance(text, str) else ""

    def _body(self, turns: Any, options: Options, most: int) -> dict[str, Any]:
        length = "max_completion_tokens" if "max_tokens" in self._unknown else "max_tokens"
        wishes = {
            "stop": list(options.stop)[:_STOPS_SENT] or None,
            "seed": options.seed,
            "top_p": options.top_p if options.top_p < 1 else None,
            "stream_options": None if "stream_options" in self._unknown else {"include_usage": True},
        }
        return {
            "model": self._name(),
            "messages": turns,
            "stream": True,
            "temperature": options.temperature,
            length: most,
            **{name: value for name, value in wishes.items() if value is not None},
        }

    def _can_do_without(self, error: wire.WireError, body: Mapping[str, Any]) -> bool:
        """Whether the server refused a parameter that can be left out or spelled otherwise; that is remembered."""
        if error.status not in {400, 422}:
            return False
        for name in ("stream_options", "max_tokens"):
            if name in body and name in error.body and name not in self._unknown:
                self._unknown.add(name)
                return True
        return False

    def _headers(self) -> dict[str, str]:
        key = self.api_key.get_secret_value()
        address = self._address.base
        if not key and (address.startswith("https:") or wire.is_loopback(address)):
            key = os.environ.get("OPENAI_API_KEY", "")
        key = key.strip()  # files and shells like to leave a line end behind it
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(
                "The API key holds characters that no request can carry.",
                "See that [chat] api_key or $OPENAI_API_KEY holds the key and nothing else.",
            )
        agent = {"User-Agent": "ragapp", "Accept": "text/event-stream, application/json"}
        return {**agent, **({"Authorization": f"Bearer {key}"} if key else {})}

    def _name(self) -> str:
        """The model that is asked for."""
        return self.model or self._address.model or self._about().model

    def _about(self) -> Server:
        """What the server says of itself, asked once."""
        with self._asking:
            if self._server is None:
                try:
                    self._server = self._look()
                except wire.WireError as error:
                    raise self._told(error, begun=False) from error
            return self._server

    def _look(self) -> Server:
        wanted = self.model or self._address.model
        try:
            listed = wire.ask("GET", f"{self._address.base}/models", self._headers(), min(self.timeout, _ASK_S))
        except wire.WireError as error:
            if error.status in {404, 405, 501} and wanted:
                return Server(model=wanted)
            raise
        entries = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(entries, list):
            raise wire.WireError("foreign", f"no list of models: {json.dumps(listed)[:80]}")
        models = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        names = tuple(entry["id"] for entry in models)
        if not wanted and not names:
            raise wire.WireError("status", "", status=404, body="it has no model")
        entry = next((each for each in models if each["id"] == wanted or not wanted), {})
        maker = str(entry.get("owned_by", ""))
        return Server(names, maker, wanted or names[0], self._window_in(entry, maker))

    def _window_in(self, entry: Mapping[str, Any], maker: str) -> int | None:
        """The window that a server's list of models tells; llama.cpp's list tells only what the model could have."""
        if maker == "llamacpp":
            try:
                about = wire.ask("GET", f"{self._address.root}/props", self._headers(), min(self.timeout, _ASK_S))
                return int(about["default_generation_settings"]["n_ctx"])
            except (wire.WireError, KeyError, TypeError, ValueError):
                return None
        known = (entry.get(name) for name in ("max_model_len", "context_length", "context_window"))
        return next((value for value in known if isinstance(value, int) and value > 0), None)

    def _count(self, turns: Any) -> int:
        """The server's own count. Raises WireError, KeyError, TypeError or ValueError where it cannot count."""

        def ask(path: str, body: Mapping[str, Any]) -> Any:
            return wire.ask("POST", f"{self._address.root}/{path}", self._headers(), min(self.timeout, _ASK_S), body)

        if self._about().maker == "vllm":
            return int(ask("tokenize", {"model": self._name(), "messages": turns})["count"])
        prompt = ask("apply-template", {"messages": turns})["prompt"]
        return len(ask("tokenize", {"content": prompt, "add_special": True, "parse_special": True})["tokens"])

    # -- what went wrong, in our words -------------------------------------------------------------------------------

    def _told(self, error: wire.WireError, *, begun: bool) -> ModelError:
        where = self._address.shown
        match error.kind:
            case "connect":
                return ModelError(
                    f"The server at {where} cannot be reached: {error.detail}.", "Start it, or see how it is spelled."
                )
            case "silent":
                return ModelError(
                    f"The server at {where} has been silent for {self.timeout:g} seconds.",
                    "Raise [chat] timeout if the model is that slow, or see what the server is doing.",
                )
            case "broken":
                when = "in the middle of an answer" if begun else "before it had answered"
                return ModelError(f"The server at {where} hung up {when}: {error.detail}.", "Ask again; see its log.")
            case "foreign":
                return ModelError(
                    f"What answers at {where} does not speak OpenAI's protocol: {error.detail}.",
                    "Name the address of an OpenAI-compatible server; it often ends with /v1.",
                )
        return self._refused(error)

    def _refused(self, error: wire.WireError) -> ModelError:
        """An answer with another status than 200."""
        where, said, status = self._address.shown, _colon(self._said(error.body)), error.status
        if status in {400, 413, 422} and _TOO_LONG.search(said):
            return _too_long(f"The server at {where} finds the prompt too long{said}.")
        if status == 404 and "model" in said.lower():
            server, self._server = self._server, None  # it may have another one by now
            return self._no_such_model(server or Server(model=self.model), said)
        later = f"Ask again in {error.retry_after:g} seconds" if error.retry_after else "Ask again later"
        key = "Set [chat] api_key; $OPENAI_API_KEY is sent over https and to this machine, nowhere else."
        moved = f"; it points to {error.detail}" if error.detail else ""
        spelling = "See how the address is spelled; it often ends with /v1."
        table = (
            ({401, 403}, f"The server at {where} refuses the key{said}.", key),
            ({404, *range(300, 400)}, f"There is no OpenAI server at {where}: status {status}{moved}.", spelling),
            ({429}, f"The server at {where} is too busy{said}.", f"{later}, or raise [chat] retries."),
            (range(500), f"The server at {where} refuses the request, {status}{said}.", ""),
            ({status}, f"The server at {where} failed, {status}{said}.", "Ask again; see its log."),
        )
        return next(ModelError(message, hint) for statuses, message, hint in table if status in statuses)

    def _no_such_model(self, server: Server, said: str = "") -> ModelError:
        known = f"It has {', '.join(server.names[:8])}" if server.names else "See which models it has"
        return ModelError(
            f"The server at {self._address.shown} has no model {server.model!r}{said}.",
            f"{known}; name one as {self._address.shown}#name.",
        )

    def _said(self, body: str) -> str:
        """A server's own words, one short line, without the key."""
        try:
            content = json.loads(body)
        except ValueError:
            content = "" if body.lstrip().startswith("<") else body
        for name in ("error", "message", "detail"):
            if isinstance(content, dict) and name in content:
                content = content[name]
        text = content if isinstance(content, str) else json.dumps(content) if content else ""
        key = (self.api_key.get_secret_value() or os.environ.get("OPENAI_API_KEY", "")).strip()
        text = text.replace(key, "…") if key else text
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300].rstrip(".")


def _too_long(message: str) -> ContextTooLong:
    return ContextTooLong(
        message,
        "Ask with fewer or shorter passages or shorten the conversation; set context_tokens if the server's window is "
        "another one than ragapp takes it for.",
    )


def _colon(said: str) -> str:
    return f": {said}" if said else ""
