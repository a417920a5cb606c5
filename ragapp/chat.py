"""The language models: a local Llama as a LangChain chat model, and a scripted double for tests.

``LlamaChat`` runs any Hugging Face causal language model with a chat template, from a folder or a hub id, with
transformers' ``generate`` in a worker thread and a ``TextIteratorStreamer`` between that thread and the reader.
Importing this module loads neither torch nor transformers; the weights are loaded by the first request, once.

Not covered: several answers in one batch, tool calls, pictures, and servers reached over HTTP.
"""

from __future__ import annotations

import functools
import math
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal


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
from langchain_core.language_models.chat_models import BaseChatModel, generate_from_stream  # noqa: E402
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, HumanMessage, SystemMessage  # noqa: E402
from langchain_core.messages.ai import UsageMetadata  # noqa: E402
from langchain_core.outputs import ChatGenerationChunk, ChatResult  # noqa: E402
from pydantic import ConfigDict, Field, PrivateAttr, ValidationError  # noqa: E402

from ragapp import modelfiles  # noqa: E402
from ragapp.errors import ConfigError, ContextTooLong, ModelError  # noqa: E402

__all__ = ["LlamaChat", "ScriptedChat", "resolve"]

_BEAT_S = 0.5  # how long a reader waits before it looks whether the model still lives
_ROLES = {SystemMessage: "system", HumanMessage: "user", AIMessage: "assistant"}
_WINDOW_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


class LlamaChat(BaseChatModel):
    """A causal language model on this machine; ``model`` is a folder or a hub id ("org/name").

    ``temperature`` 0 is greedy. ``context_tokens`` None means what the model's config says. ``idle_timeout`` is in
    seconds: a model that gives no sign of life for so long fails with ModelError, so no reader ever waits for ever.
    ``dtype`` "auto" is bfloat16 where the processor computes it, else float16 on an accelerator and float32 on a CPU.

    One generation runs at a time; others wait. A stream that waits, for its turn or for a first token, yields an empty
    chunk about twice a second, so that whoever reads it may close it. Closing stops the model within one token.
    Requests may override ``max_tokens`` (or ``max_new_tokens``), ``temperature``, ``top_p``, ``seed`` and ``stop``.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_new_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = None
    context_tokens: int | None = Field(default=None, ge=1)
    idle_timeout: float = Field(default=600.0, gt=0)

    _loading: threading.RLock = PrivateAttr(default_factory=threading.RLock)
    _busy: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _alive: float = PrivateAttr(default=0.0)  # monotonic time of the model's last sign of life
    _tokenizer: Any = PrivateAttr(default=None)
    _network: Any = PrivateAttr(default=None)

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
        folder = modelfiles.local_folder(self.model) or modelfiles.cached(self.model, weights=True)
        if folder is None:
            modelfiles.check_files(
                modelfiles.fetch(self.model, weights=False, may_go_online=_MAY_GO_ONLINE), weights=False
            )
        else:
            modelfiles.check_files(folder, weights=True)
            self._check_memory(folder)

    def warm(self) -> None:
        """Load tokenizer and weights now instead of with the first request. Raises ModelError."""
        self._load_tokenizer()
        self._load_network()

    def window(self) -> int:
        """The most tokens that prompt and answer may have together; reads the config only."""
        if self.context_tokens is not None:
            return self.context_tokens
        folder = self._folder(weights=False)
        config = modelfiles.read_json(folder / "config.json")
        config = config.get("text_config") or config
        found = next((config[key] for key in _WINDOW_KEYS if isinstance(config.get(key), int)), None)
        if found is None:
            raise ModelError(
                f"{folder}/config.json does not say how long the model's window is.", "Set context_tokens."
            )
        return int(found)

    def count_tokens(self, messages: Sequence[BaseMessage]) -> int:
        """How many tokens the prompt made of these messages has, template included; loads the tokenizer only."""
        return len(self._encode(messages))

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text, without special ones (LangChain's default would ask the hub for GPT-2)."""
        return [int(i) for i in self._load_tokenizer()(text, add_special_tokens=False, verbose=False)["input_ids"]]

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """``count_tokens``, under LangChain's name; ``tools`` are not covered."""
        return self.count_tokens(messages)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop=stop, run_manager=run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the answer as it is written; the last chunk carries usage, finish reason and tokens per second.

        Raises ConfigError for an unknown or impossible option, ContextTooLong when the prompt leaves no room for one
        token (it is never cut), and ModelError for whatever goes wrong in the model, before or between the tokens.
        """
        options = _Options.of(self, stop, kwargs)
        prompt = self._encode(messages)
        window = self.window()
        if len(prompt) >= window:
            raise ContextTooLong(
                f"The prompt has {len(prompt):,} tokens, and the window of {self.model} is {window:,}.",
                "Ask with fewer or shorter passages, shorten the conversation, or use a model with a longer window.",
            )
        self._load_network()
        job = _Job(self, prompt, options, min(options.max_tokens, window - len(prompt)))
        while not self._busy.acquire(timeout=_BEAT_S):
            self._check_alive()
            yield _piece("")
        self._touch()
        worker = threading.Thread(target=self._work, args=(job,), name="ragapp-llama", daemon=True)
        try:
            worker.start()
        except RuntimeError as error:  # no more threads: the worker, who would have released the model, never was
            self._busy.release()
            raise ModelError(f"{self.model} could not start a thread: {error}", "Close other programs.") from error
        patience = self.idle_timeout
        try:
            while True:
                try:
                    text = next(job.streamer, None)
                except queue.Empty:
                    patience = 0.0  # if it hangs, it cannot be waited for either
                    self._check_alive()
                    patience = self.idle_timeout
                    yield _piece("")
                    continue
                if text is None:
                    break
                if text:
                    yield _tell(_piece(text), run_manager)
            if job.error is not None:
                raise _translated(job.error, f"{self.model} failed while it was writing") from job.error
            yield _last_piece(self.model, len(prompt), len(job.written), job.finish_reason(self._ends()), job.seconds)
        finally:
            job.halt.set()
            worker.join(patience)

    def _work(self, job: _Job) -> None:
        """The worker thread: write until the end, a stop or an error. It, not the reader, frees the model at the end.

        So the next request can never run beside this one, and a reader that is forgotten half way blocks nobody.
        """
        started = time.monotonic()
        try:
            import torch

            def halted(_ids: Any, _scores: Any) -> Any:
                return torch.full((1,), job.halt.is_set(), device=self._network.device, dtype=torch.bool)

            with torch.inference_mode():
                prompt = torch.tensor([job.prompt], device=self._network.device)
                ends = self._ends()
                self._network.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    streamer=job.streamer,
                    stopping_criteria=[halted],
                    logits_processor=_sampler(job.options, self._network.device),
                    max_new_tokens=job.max_new_tokens,
                    do_sample=False,  # the sampler has drawn already
                    eos_token_id=ends or None,
                    pad_token_id=ends[0] if ends else 0,
                )
        except Exception as error:  # noqa: BLE001 - it crosses to the reader's thread, which translates and raises it
            # Its traceback would keep the tensors alive that did not fit.
            job.error = error.with_traceback(None) if _is_out_of_memory(error) else error
        finally:
            job.seconds = time.monotonic() - started
            self._busy.release()
            job.streamer.text_queue.put(job.streamer.stop_signal)

    def _touch(self) -> None:
        self._alive = time.monotonic()

    def _check_alive(self) -> None:
        """Raise ModelError when the model has given no sign of life for ``idle_timeout`` seconds."""
        if time.monotonic() - self._alive > self.idle_timeout:
            raise ModelError(
                f"{self.model} has not written a token for {self.idle_timeout:g} seconds.",
                "Use a smaller model or a shorter prompt, or raise idle_timeout if the machine is that slow.",
            )

    def _encode(self, messages: Sequence[BaseMessage]) -> list[int]:
        """The prompt as tokens. Raises ModelError for messages that the model's template cannot take."""
        import jinja2

        tokenizer = self._load_tokenizer()
        turns = [{"role": _role(message), "content": _plain(str(message.text), tokenizer)} for message in messages]
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise ModelError(
                f"The chat template of {self.model} does not take these messages ({roles}): {error}",
                "Many templates want user and assistant by turns, and some take no system message.",
            ) from error
        return self.get_token_ids(text)

    def _ends(self) -> list[int]:
        """The tokens that end an answer, as the model's generation config and its tokenizer know them."""
        known = self._network.generation_config.eos_token_id
        ends = [*known] if isinstance(known, list) else [known]
        return sorted({int(end) for end in [*ends, self._tokenizer.eos_token_id] if end is not None})

    def _folder(self, *, weights: bool) -> Path:
        """Where the model's files are; fetches a hub model's first, the weights only when they are asked for."""
        found = modelfiles.local_folder(self.model) or modelfiles.cached(self.model, weights=weights)
        return found or modelfiles.fetch(self.model, weights=weights, may_go_online=_MAY_GO_ONLINE)

    def _load_tokenizer(self) -> Any:
        with self._loading:
            if self._tokenizer is None:
                folder = self._folder(weights=False)
                modelfiles.check_files(folder, weights=False)
                with _quietly(f"The tokenizer in {folder} cannot be loaded"):
                    from transformers import AutoTokenizer

                    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
                    # The first call settles padding and truncation; two at once fail with "Already borrowed".
                    tokenizer("", verbose=False)
                self._tokenizer = tokenizer
            return self._tokenizer

    def _load_network(self) -> None:
        with self._loading:
            if self._network is not None:
                return
            folder = self._folder(weights=True)
            modelfiles.check_files(folder, weights=True)
            self._check_memory(folder)
            with _quietly(f"The model in {folder} cannot be loaded"):
                import torch
                from transformers import AutoModelForCausalLM

                device = torch.device(self._device())
                network, report = AutoModelForCausalLM.from_pretrained(
                    folder,
                    dtype=getattr(torch, self._dtype(device.type)),
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
                # transformers fills missing tensors with noise and only logs it.
                if missing := sorted(report["missing_keys"]):
                    raise ModelError(
                        f"The weights in {folder} lack {len(missing)} tensors, {missing[0]} among them.",
                        "Fetch the model again, and see that config.json belongs to these weights.",
                    )
                network = network.to(device).eval()
                # Advice for sampling that the folder brings; ours comes with each request, and greedy wants none.
                config = network.generation_config
                config.do_sample, config.temperature, config.top_p, config.top_k = False, None, None, None
            self._network = network

    def _device(self) -> str:
        if self.device != "auto":
            return self.device
        import torch

        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    def _dtype(self, device_type: str) -> str:
        if self.dtype != "auto":
            return self.dtype
        if device_type == "cpu":
            return "bfloat16" if modelfiles.cpu_has_bf16() else "float32"
        if device_type != "cuda":
            return "float16"
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"

    def _check_memory(self, folder: Path) -> None:
        """Raise ModelError when the weights and a fifth more exceed the memory that is free. Knows only the CPU's."""
        accelerator = Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or sys.platform == "darwin"
        free = modelfiles.free_memory()
        if free is None or self.device not in {"auto", "cpu"} or (self.device == "auto" and accelerator):
            return
        quantized = "quantization_config" in modelfiles.read_json(folder / "config.json")
        bits = None if quantized else 32 if self._dtype("cpu") == "float32" else 16
        need = int(1.2 * sum(modelfiles.weight_bytes(file, bits) for file in modelfiles.shards(folder)))
        if need > free:
            raise ModelError(
                f"The model in {folder} needs about {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free.",
                "Close other programs, use a smaller model, or set dtype to bfloat16 if it is float32.",
            )


class ScriptedChat(BaseChatModel):
    """A double for tests: answers with ``replies`` one after the other, word by word, and keeps the ``prompts`` it saw.

    ``delay_s`` is slept before every word. ``fail_at`` n raises ``error`` in place of the n-th word (from 1) of every
    reply. ``closed`` counts the streams that were closed before their end. A token is a word, for ``window``,
    ``count_tokens`` and usage alike. Raises ModelError when it is asked more often than it has replies.
    """

    model_config = ConfigDict(extra="forbid")

    replies: list[str]
    delay_s: float = 0.0
    fail_at: int | None = None
    error: Exception = Field(default_factory=lambda: ModelError("The scripted model failed, as it was told to."))
    context_tokens: int = 8192
    max_new_tokens: int = 512
    prompts: list[list[BaseMessage]] = Field(default_factory=list)
    closed: int = 0

    @property
    def _llm_type(self) -> str:
        return "ragapp-scripted"

    def check(self) -> None:
        """Nothing is needed, so nothing can be missing."""

    def window(self) -> int:
        return self.context_tokens

    def count_tokens(self, messages: Sequence[BaseMessage]) -> int:
        return sum(len(str(message.text).split()) for message in messages)

    def get_token_ids(self, text: str) -> list[int]:
        return list(range(len(text.split())))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop=stop, run_manager=run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        options = _Options.of(self, stop, kwargs)
        self.prompts.append(list(messages))
        asked = self.count_tokens(messages)
        if asked >= self.context_tokens:
            raise ContextTooLong(f"The prompt has {asked} words, and the scripted window is {self.context_tokens}.")
        if not self.replies:
            raise ModelError(
                f"The scripted model has no reply left for prompt number {len(self.prompts)}.",
                "Give ScriptedChat one reply for every time it is asked.",
            )
        words = re.findall(r"\s*\S+|\s+\Z", self.replies.pop(0))
        most = min(options.max_tokens, self.context_tokens - asked)
        stops, started, written = _Stops(options.stop), time.monotonic(), 0
        try:
            for written, word in enumerate(words[:most], 1):
                time.sleep(self.delay_s)
                if written == self.fail_at:
                    raise self.error
                if text := stops.feed(word):
                    yield _tell(_piece(text), run_manager)
                if stops.hit:
                    break
            if text := stops.feed("", end=True):
                yield _tell(_piece(text), run_manager)
            reason = "stop" if stops.hit or len(words) <= most else "length"
            yield _last_piece("scripted", asked, written, reason, time.monotonic() - started)
        except GeneratorExit:
            self.closed += 1
            raise


def resolve(model: str, **settings: Any) -> LlamaChat:
    """The chat model a user named, checked but not loaded: a folder with a model, or a hub id.

    Raises ModelError when the model cannot be used, and ConfigError for a setting that LlamaChat does not have, for a
    value out of range, and for the address of a server, which this version cannot ask.
    """
    if model.lower().startswith(("http://", "https://")):
        raise ConfigError(
            f"{model} is the address of a server, and this version runs local models only.",
            "Name a folder with a model (config.json, tokenizer, *.safetensors) or a hub id.",
        )
    try:
        chat = LlamaChat(model=model, **settings)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())
        known = ", ".join(name for name in LlamaChat.model_fields if name not in BaseChatModel.model_fields)
        raise ConfigError(f"The settings of the model {model} are wrong: {wrong}.", f"It takes {known}.") from error
    chat.check()
    return chat


class _Options:
    """What one request wants, its own wishes before the model's defaults."""

    def __init__(
        self, max_tokens: int, temperature: float, top_p: float, seed: int | None, stop: Sequence[str]
    ) -> None:
        if max_tokens < 1 or not 0 <= temperature < math.inf or not 0 < top_p <= 1:
            raise ConfigError(
                f"No answer can be written with max_tokens {max_tokens}, temperature {temperature} and top_p {top_p}.",
                "max_tokens is at least 1, temperature at least 0, and top_p above 0 and at most 1.",
            )
        self.max_tokens, self.temperature, self.top_p, self.seed, self.stop = max_tokens, temperature, top_p, seed, stop

    @classmethod
    def of(cls, chat: BaseChatModel, stop: Sequence[str] | str | None, wishes: Mapping[str, Any]) -> _Options:
        known = {"max_tokens", "max_new_tokens", "temperature", "top_p", "seed"}
        if unknown := sorted(wishes.keys() - known):
            raise ConfigError(
                f"The model has no option {', '.join(unknown)}.", f"It takes stop, {', '.join(sorted(known))}."
            )
        given = {name: value for name, value in wishes.items() if value is not None}

        def pick(name: str, otherwise: Any) -> Any:
            return given.get(name, getattr(chat, name, otherwise))

        return cls(
            max_tokens=int(given.get("max_tokens", pick("max_new_tokens", 512))),
            temperature=float(pick("temperature", 0.0)),
            top_p=float(pick("top_p", 1.0)),
            seed=pick("seed", None),
            stop=[stop] if isinstance(stop, str) else stop or (),
        )


class _Stops:
    """Lets text through up to the stop string that is complete first; holds back what may yet become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = [stop for stop in stops if stop]
        self.held = ""
        self.hit = False

    def feed(self, text: str, *, end: bool = False) -> str:
        if self.hit:
            return ""
        text = self.held + text
        found = [(at + len(stop), at) for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            self.hit, self.held = True, ""
            return text[: min(found)[1]]
        heads = (n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
        cut = len(text) - (0 if end else max(heads, default=0))
        self.held = text[cut:]
        return text[:cut]


class _Job:
    """One generation: what the reader and the worker thread share."""

    def __init__(self, chat: LlamaChat, prompt: list[int], options: _Options, max_new_tokens: int) -> None:
        self.prompt, self.options, self.max_new_tokens = prompt, options, max_new_tokens
        self.touch = chat._touch
        self.halt = threading.Event()
        self.stops = _Stops(options.stop)
        self.written: list[int] = []
        self.seconds = 0.0
        self.error: Exception | None = None
        self.streamer = _streamer_class()(chat._tokenizer, self)

    def finish_reason(self, ends: list[int]) -> str:
        ended = self.stops.hit or (bool(self.written) and self.written[-1] in ends)
        return "stop" if ended or len(self.written) < self.max_new_tokens else "length"


@functools.cache
def _streamer_class() -> Any:
    from transformers import TextIteratorStreamer

    class Streamer(TextIteratorStreamer):  # type: ignore[misc]
        """A TextIteratorStreamer whose texts joined are the decoded answer, up to a stop string.

        The original waits for whole words, and after a line break decodes from nothing, which with SentencePiece
        models loses a space. Here a token leaves as soon as its characters are whole, decoded behind the token before.
        """

        def __init__(self, tokenizer: Any, job: _Job) -> None:
            super().__init__(tokenizer, skip_prompt=True, timeout=_BEAT_S)
            self.job = job
            self.next_tokens_are_prompt = True
            self.start = self.sent = 0  # job.written[start:sent] went out last, and what follows has not gone out

        def put(self, value: Any) -> None:
            self.job.touch()
            if self.next_tokens_are_prompt:
                self.next_tokens_are_prompt = False
            elif not self.job.halt.is_set():
                self.job.written.extend(value.flatten().tolist())
                self.emit()

        def end(self) -> None:
            self.emit(end=True)

        def emit(self, *, end: bool = False) -> None:
            ids = self.job.written
            before, after = self.text(ids[self.start : self.sent]), self.text(ids[self.start :])
            text = ""
            # A replacement character at the end is a character of which some bytes are still to come, as a rule.
            if end or (len(after) > len(before) and not after.endswith("\ufffd")):
                text, self.start, self.sent = after[len(before) :], self.sent, len(ids)
            if passed := self.job.stops.feed(text, end=end):
                self.text_queue.put(passed)
            if self.job.stops.hit:
                self.job.halt.set()

        def text(self, ids: list[int]) -> str:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return Streamer


def _sampler(options: _Options, device: Any) -> list[Callable[[Any, Any], Any]]:
    """Draws the next token with a generator of its own, so that seeds neither disturb others nor are disturbed."""
    if options.temperature == 0:
        return []
    import torch

    dice = torch.Generator(device=device)
    if options.seed is None:
        dice.seed()
    else:
        dice.manual_seed(options.seed % 2**63)

    def draw(_ids: Any, scores: Any) -> Any:
        # Nucleus sampling (Holtzman et al. 2020). The maximum goes off first, so a tiny temperature gives no infinity.
        chances = torch.softmax((scores - scores.max()).float() / options.temperature, dim=-1)
        ranked, order = chances.sort(descending=True, stable=True)
        ranked[ranked.cumsum(-1) - ranked >= options.top_p] = 0.0
        chosen = order.gather(-1, torch.multinomial(ranked, 1, generator=dice))
        return torch.full_like(scores, -math.inf).scatter_(-1, chosen, 0.0)

    return [draw]


def _piece(text: str) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=text))


def _tell(chunk: ChatGenerationChunk, run_manager: CallbackManagerForLLMRun | None) -> ChatGenerationChunk:
    if run_manager is not None:
        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
    return chunk


def _last_piece(model: str, asked: int, written: int, reason: str, seconds: float) -> ChatGenerationChunk:
    """``seconds`` are those of the model, prompt included, and not those that the reader took."""
    speed = round(written / seconds, 2) if seconds > 0 else 0.0
    return ChatGenerationChunk(
        message=AIMessageChunk(
            content="",
            usage_metadata=UsageMetadata(input_tokens=asked, output_tokens=written, total_tokens=asked + written),
            response_metadata={"finish_reason": reason, "tokens_per_second": speed, "model_name": model},
            chunk_position="last",
        )
    )


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    for kind, role in _ROLES.items():
        if isinstance(message, kind):
            return role
    raise ModelError(f"The local model takes no messages of type {message.type}.", "Tool calls are not covered.")


def _plain(text: str, tokenizer: Any) -> str:
    """The text with a space inside whatever the tokenizer would read as one of its control tokens.

    Without it a document that contains "<|eot_id|>" could end the user's turn and write one for the system.
    """
    control = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    for token in control | set(tokenizer.all_special_tokens):
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _is_out_of_memory(error: Exception) -> bool:
    told = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(sign in told for sign in signs)


def _translated(error: Exception, what: str) -> ModelError:
    if _is_out_of_memory(error):
        return ModelError(f"{what}: out of memory.", "Use a smaller model, a shorter prompt or fewer max_new_tokens.")
    return ModelError(
        f"{what}: {type(error).__name__}: {error}",
        "See that config.json, tokenizer and weights belong together, and that transformers knows this kind of model.",
    )


@contextmanager
def _quietly(what: str) -> Iterator[None]:
    """Load without progress bars and advice; whatever is raised becomes a ModelError that begins with ``what``."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise _translated(error, what) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
