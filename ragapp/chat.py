"""The local language model as a LangChain chat model.

``LlamaChat`` runs any Hugging Face causal language model with a chat template, from a folder or a hub id. A thread
writes (``decoding.py``), streams read, and between them is a queue (``queueing.py``). Importing this module loads
neither torch nor transformers; the weights are loaded by the first request, once.

Not covered: tool calls and pictures. Other models: ``models.py``.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal


def _set_environment() -> bool:
    """Switch uploads, telemetry and the hub off; True when it was us, not the user, who took the hub offline.

    With LANGSMITH_TRACING and a key in the shell langchain-core uploads every run, prompts and passages included, so
    these are overwritten unless RAGAPP_TRACING=1 asks for them. The marker tells child processes whose choice the
    offline hub was, because they inherit both variables.
    """
    if os.environ.get("RAGAPP_TRACING") != "1":
        for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
            os.environ[name] = "false"
    for name in ("HF_HUB_DISABLE_TELEMETRY", "TRANSFORMERS_NO_ADVISORY_WARNINGS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "HF_HUB_OFFLINE" not in os.environ:
        os.environ["HF_HUB_OFFLINE"] = os.environ["_RAGAPP_TOOK_HUB_OFFLINE"] = "1"
    return "_RAGAPP_TOOK_HUB_OFFLINE" in os.environ


_MAY_GO_ONLINE = _set_environment()  # before langchain_core is imported, which reads some of it at import

from langchain_core.callbacks import CallbackManagerForLLMRun  # noqa: E402
from langchain_core.messages import BaseMessage, HumanMessage  # noqa: E402
from langchain_core.outputs import ChatGenerationChunk  # noqa: E402
from pydantic import ConfigDict, Field, PrivateAttr  # noqa: E402

from ragapp import loading, modelfiles  # noqa: E402
from ragapp.chunks import StreamedChat, last_piece, piece, refusals, tell, turns_of, waiting_piece  # noqa: E402
from ragapp.errors import ContextTooLong, ModelError  # noqa: E402
from ragapp.llama import FAMILIES  # noqa: E402
from ragapp.queueing import Line, Request  # noqa: E402
from ragapp.sampling import Options  # noqa: E402
from ragapp.scripted import ScriptedChat  # noqa: E402
from ragapp.streaming import Text  # noqa: E402

if TYPE_CHECKING:
    from ragapp.decoding import Batch, OneByOne

__all__ = ["LlamaChat", "ScriptedChat"]

_BEAT_S = 0.5  # how long a reader waits before it looks whether the model still lives


class LlamaChat(StreamedChat):
    """A causal language model on this machine; ``model`` is a folder or a hub id ("org/name").

    ``idle_timeout`` is in seconds: a model that gives no sign of life for so long fails with ModelError, so no reader
    ever waits for ever. ``dtype`` "auto" is bfloat16 where the processor computes it, else float16 on an accelerator
    and float32 on a CPU.

    On a CPU, Llama, Mistral and Qwen 2 and 3 are computed by our own forward pass: up to ``together`` answers (given as
    ``batch``, which is a method here) are written at once, ``lookup_tokens`` are guessed at a time from the prompt (0:
    none), and beginnings that prompts share are read once. Elsewhere transformers' ``generate`` writes one answer after
    the other. ``quantize`` "int8" or "int4" makes smaller weights while loading; for these families on a CPU no further
    library is needed.

    Requests queue; first come, first served. A stream that waits, for its turn or for a token, yields an empty chunk
    about twice a second, with ``queue_position`` in its response_metadata while it has no turn, so that its reader may
    close it. Closing stops the model within one token, or one step of the prompt that it reads; transformers'
    ``generate`` reads a prompt to its end first.
    """

    model_config = ConfigDict(populate_by_name=True)

    model: str
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    idle_timeout: float = Field(default=600.0, gt=0)
    lookup_tokens: int = Field(default=8, ge=0)
    together: int = Field(default=4, ge=1, alias="batch")
    quantize: Literal["none", "int8", "int4"] = "none"

    _loading: threading.RLock = PrivateAttr(default_factory=threading.RLock)
    _tokenizer: Any = PrivateAttr(default=None)
    _open: frozenset[int] = PrivateAttr(default=frozenset())  # tokens after which a run of bytes may go on
    _network: Any = PrivateAttr(default=None)
    _writer: Any = PrivateAttr(default=None)
    _line: Line | None = PrivateAttr(default=None)

    @property
    def _llm_type(self) -> str:
        return "ragapp-llama"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in ("model", "dtype", "temperature", "top_p", "max_new_tokens")}

    def check(self) -> None:
        """Find out cheaply whether the model can be used: no torch, and of the weights only the headers are read.

        Raises ModelError with what is missing and what to do. A hub id that is not in the cache costs one look at the
        hub (its small files); the weights are fetched by the first request.
        """
        loading.check(
            self.model, self.device, self.dtype, self._foreign_bits(), self.context_tokens, may_go_online=_MAY_GO_ONLINE
        )

    def warm(self) -> None:
        """Load tokenizer and weights now, and write two tokens: a first time is slow. Raises ModelError."""
        self._load_network()
        self.invoke([HumanMessage("Hello")], max_tokens=2)

    def window(self) -> int:
        """The most tokens that prompt and answer may have together; reads the config only."""
        if self.context_tokens is not None:
            return self.context_tokens
        return loading.window_of(self.model, may_go_online=_MAY_GO_ONLINE)

    def count_tokens(self, messages: Sequence[BaseMessage]) -> int:
        """How many tokens the prompt made of these messages has, template included; loads the tokenizer only."""
        return len(self._encode(messages))

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text, without special ones (LangChain's default would ask the hub for GPT-2)."""
        return [int(i) for i in self._load_tokenizer()(text, add_special_tokens=False, verbose=False)["input_ids"]]

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the answer as it is written; the last chunk carries usage, finish reason, speed and what was saved.

        Raises ConfigError for an unknown or impossible option, ContextTooLong when the prompt leaves no room for one
        token (it is never cut), and ModelError for whatever goes wrong in the model, before or between the tokens.
        """
        options = Options.of(self, stop, kwargs)
        prompt = self._encode(messages)
        window = self.window()
        if len(prompt) >= window:
            raise ContextTooLong(
                f"The prompt has {len(prompt):,} tokens, and the window of {self.model} is {window:,}.",
                "Ask with fewer or shorter passages, shorten the conversation, or use a model with a longer window.",
            )
        line = self._load_network()
        text = Text(self._decode, self._open.__contains__)
        request = Request(prompt, options, min(options.max_tokens, window - len(prompt)), self._ends(), text)
        try:
            line.submit(request)
        except RuntimeError as error:  # no more threads
            raise ModelError(f"{self.model} could not start a thread: {error}", "Close other programs.") from error
        patience = self.idle_timeout
        try:
            while True:
                try:
                    written = request.pieces.get(timeout=_BEAT_S)
                except queue.Empty:
                    patience = 0.0  # if it hangs, it cannot be waited for either
                    self._check_alive(line)
                    patience = self.idle_timeout
                    yield waiting_piece(line.place(request))
                    continue
                if written is None:
                    break
                yield tell(piece(written), run_manager)
            if request.error is not None:
                raise loading.translated(request.error, f"{self.model} failed while it was writing") from request.error
            yield _last(self.model, request)
        finally:
            _leave(request, patience)

    def _check_alive(self, line: Line) -> None:
        """Raise ModelError when the model has given no sign of life for ``idle_timeout`` seconds."""
        if line.silence() > self.idle_timeout:
            raise ModelError(
                f"{self.model} has not written a token for {self.idle_timeout:g} seconds.",
                "Use a smaller model or a shorter prompt, or raise idle_timeout if the machine is that slow.",
            )

    def _encode(self, messages: Sequence[BaseMessage]) -> list[int]:
        """The prompt as tokens. Raises ModelError for messages that the model's template cannot take."""
        tokenizer = self._load_tokenizer()
        turns = turns_of(messages, _control(tokenizer))
        with refusals(self.model, turns):
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return self.get_token_ids(text)

    def _ends(self) -> list[int]:
        """The tokens that end an answer, as the model's generation config and its tokenizer know them."""
        known = self._network.generation_config.eos_token_id
        ends = [*known] if isinstance(known, list) else [known]
        return sorted({int(end) for end in [*ends, self._tokenizer.eos_token_id] if end is not None})

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _load_tokenizer(self) -> Any:
        with self._loading:
            if self._tokenizer is None:
                self._keep_tokenizer(loading.load_tokenizer(self.model, may_go_online=_MAY_GO_ONLINE))
            return self._tokenizer

    def _keep_tokenizer(self, tokenizer: Any) -> None:
        known = tokenizer.get_vocab()
        bytes_ = {known[name] for n in range(256) if (name := f"<0x{n:02X}>") in known}
        self._open = frozenset(bytes_ | {*tokenizer.all_special_ids} if bytes_ else ())
        self._tokenizer = tokenizer

    def _load_network(self) -> Line:
        """The model's queue; loads the weights first if they are not there. Raises ModelError."""
        with self._loading:
            if self._line is None:
                bits = self._foreign_bits()
                loaded = loading.load(
                    self.model, self.device, self.dtype, bits, self.context_tokens, may_go_online=_MAY_GO_ONLINE
                )
                if self._tokenizer is None:
                    self._keep_tokenizer(loaded.tokenizer)
                self._network = loaded.network
                with loading.quietly(f"The model in {loaded.folder} cannot be prepared"):
                    self._writer = self._writer_of(loaded)
                self._line = Line(self._writer.work, "ragapp-llama")
            return self._line

    def _writer_of(self, loaded: loading.Loaded) -> Batch | OneByOne:
        from ragapp.decoding import Batch, OneByOne
        from ragapp.llama import Llama, is_known

        if not loaded.quantized and is_known(loaded.network):
            return Batch(Llama(loaded.network, self.quantize), self.together, self.lookup_tokens)
        if not loaded.quantized and self.quantize != "none":
            kind = loaded.network.config.model_type
            raise ModelError(
                f"The model in {loaded.folder} cannot be made {self.quantize} here: it is no common {kind}.",
                'Set quantize = "none", or use a version of the model that is quantised already.',
            )
        return OneByOne(loaded.network)

    def _foreign_bits(self) -> str:
        """What ``quantize`` asks of other libraries: nothing where our own forward pass will do it, on a CPU."""
        if self.quantize == "none" or not loading.on_cpu(self.device):
            return self.quantize
        files = loading.find(self.model, weights=False, may_go_online=_MAY_GO_ONLINE)
        if files.gguf or loading.quantization(files.folder):
            return self.quantize
        kind = modelfiles.read_json(files.folder / "config.json").get("model_type")
        return "none" if kind in FAMILIES else self.quantize


def _leave(request: Request, patience: float) -> None:
    """Stop a request and wait until it is stopped, but not at Python's end, where the thread that writes is no more."""
    request.halt.set()
    until = time.monotonic() + patience
    while not sys.is_finalizing() and (left := until - time.monotonic()) > 0:
        if request.done.wait(min(left, _BEAT_S)):
            break


def _last(model: str, request: Request) -> ChatGenerationChunk:
    """First token and queue are counted from the moment of asking, tokens per second from the model's beginning."""
    return last_piece(
        model,
        len(request.prompt),
        len(request.written),
        request.reason,
        request.seconds,
        first_token_seconds=round(request.first - request.arrived, 3),
        queue_seconds=round(request.started - request.arrived, 3),
        cached_tokens=request.cached,
        guessed_tokens=request.guessed,
        accepted_tokens=request.accepted,
    )


def _control(tokenizer: Any) -> set[str]:
    """The texts that a tokenizer reads as control tokens."""
    return {token.content for token in tokenizer.added_tokens_decoder.values() if token.special} | set(
        tokenizer.all_special_tokens
    )
