"""A GGUF file as a chat model, by llama-cpp-python where that is installed: the weights stay quantised.

Not covered: several answers in one batch, adapters, grammars, pictures.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import PrivateAttr

import ragapp.chat  # noqa: F401 - switches the upload of prompts off
from ragapp import ggufs, loading, modelfiles
from ragapp.beats import BEAT_S, Beats
from ragapp.chunks import StreamedChat, last_piece, let_through, refusals, turns_of
from ragapp.errors import ContextTooLong, ModelError, RagappError
from ragapp.sampling import Options
from ragapp.streaming import Stops

_WINDOW = 8192  # llama.cpp takes the memory of its whole window at once
_HEADROOM = 1.1
_CONTROL = 3  # the type of control tokens in tokenizer.ggml.token_type
_LISTS = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")


def is_installed() -> bool:
    return find_spec("llama_cpp") is not None


class LlamaCppChat(StreamedChat):
    """A GGUF file run by llama.cpp; ``model`` is the file, or a folder that holds one.

    The window is ``context_tokens``, else the model's own and at most 8,192: its memory is taken at once. One
    generation runs at a time; a stream that waits, for its turn or a first token, yields an empty chunk about twice a
    second. Closing stops the model within one token, but not while it reads the prompt, and waits five seconds at most.
    ``device`` "cpu" keeps all layers off an accelerator.
    """

    model: str
    device: str = "auto"

    _loading: threading.RLock = PrivateAttr(default_factory=threading.RLock)
    _busy: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _words: Any = PrivateAttr(default=None)  # the vocabulary alone
    _llama: Any = PrivateAttr(default=None)
    _template: Any = PrivateAttr(default=None)

    @property
    def _llm_type(self) -> str:
        return "ragapp-llamacpp"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in ("model", "temperature", "top_p", "max_new_tokens")}

    def check(self) -> None:
        """Read the header only. Raises ModelError for a file that cannot answer or does not fit into memory."""
        header, free = ggufs.check(self._file), modelfiles.free_memory()
        need = int(_HEADROOM * (header.weights + 2 * header.cache_numbers() * self.window()))
        if loading.on_cpu(self.device) and free is not None and need > free:
            raise ModelError(
                f"The model {self._file} needs about {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free.",
                "Close other programs, use a file with fewer bits (Q4_K_M), or lower context_tokens.",
            )

    def warm(self) -> None:
        """Load vocabulary and weights now instead of with the first request. Raises ModelError."""
        self._load()

    def window(self) -> int:
        """The most tokens that prompt and answer may have together; reads the header only."""
        return self.context_tokens or min(self._header.window or _WINDOW, _WINDOW)

    def count_tokens(self, messages: Sequence[BaseMessage]) -> int:
        """How many tokens the prompt made of these messages has, template included; loads the vocabulary only."""
        return len(self._encode(messages))

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text, without special ones."""
        return [int(i) for i in self._vocabulary().tokenize(text.encode(), add_bos=False, special=False)]

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the answer as it is written. Raises ConfigError, ContextTooLong or ModelError."""
        options = Options.of(self, stop, kwargs)
        prompt, window = self._encode(messages), self.window()
        if len(prompt) >= window:
            raise ContextTooLong(
                f"The prompt has {len(prompt):,} tokens, and the window of {self.model} is {window:,}.",
                "Ask with fewer or shorter passages, shorten the conversation, or set a larger context_tokens.",
            )
        llama, most = self._load(), min(options.max_tokens, window - len(prompt))
        job = _Job(llama, prompt, options, most, self._busy)
        beats: Beats[str] = Beats(job.work, name="ragapp-llamacpp")
        stops = Stops(options.stop)
        with closing(beats):
            yield from let_through(self._texts(beats), stops, run_manager)
        reason = "stop" if stops.hit or job.reason != "length" else "length"
        first = round(job.first, 3)
        yield last_piece(self.model, len(prompt), job.written, reason, job.seconds, first_token_seconds=first)

    def _texts(self, beats: Iterable[str | None]) -> Iterator[str | None]:
        """What is written. Only llama.cpp's errors are translated here, not those of the reader's callbacks."""
        try:
            yield from beats
        except RagappError:
            raise
        except Exception as error:
            raise loading.translated(error, f"{self.model} failed while it was writing") from error

    # -- what lies in the file ---------------------------------------------------------------------------------------

    @functools.cached_property
    def _file(self) -> Path:
        found = ggufs.find(self.model)
        if found is None:
            raise ModelError(f"There is no GGUF file in {self.model}.", "See how the path is spelled.")
        return found

    @functools.cached_property
    def _header(self) -> ggufs.Header:
        return ggufs.read(self._file, _LISTS)

    @functools.cached_property
    def _control(self) -> tuple[str, ...]:
        """The control tokens."""
        tokens, kinds = (self._header.metadata.get(name, ()) for name in _LISTS)
        if not isinstance(tokens, tuple) or not isinstance(kinds, tuple):
            return ()
        return tuple(str(token) for token, kind in zip(tokens, kinds, strict=False) if kind == _CONTROL)

    def _special(self, name: str) -> str:
        tokens, place = self._header.metadata.get(_LISTS[0], ()), self._header.metadata.get(f"tokenizer.ggml.{name}")
        known = isinstance(tokens, tuple) and isinstance(place, int) and 0 <= place < len(tokens)
        return str(tokens[place]) if known else ""  # type: ignore[index]

    def _encode(self, messages: Sequence[BaseMessage]) -> list[int]:
        """The prompt as tokens. Raises ModelError for messages that the model's template cannot take."""
        begin, turns = self._special("bos_token_id"), turns_of(messages, self._control)
        with refusals(self.model, turns):
            text = self._rendered(turns, begin)
        wants_begin = self._header.metadata.get("tokenizer.ggml.add_bos_token", True) and not text.startswith(begin)
        tokens = self._vocabulary().tokenize(text.encode(), add_bos=bool(begin and wants_begin), special=True)
        return [int(token) for token in tokens]

    def _rendered(self, turns: Sequence[Mapping[str, str]], begin: str) -> str:
        """The template comes with the model: it is rendered in jinja2's sandbox, as transformers does it."""
        if self._template is None:
            from jinja2.sandbox import ImmutableSandboxedEnvironment

            rules = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
            rules.globals.update(raise_exception=_refuse, strftime_now=time.strftime)
            self._template = rules.from_string(self._header.chat_template)
        end = self._special("eos_token_id")
        return str(
            self._template.render(messages=list(turns), add_generation_prompt=True, bos_token=begin, eos_token=end)
        )

    def _vocabulary(self) -> Any:
        with self._loading:
            if self._llama is None and self._words is None:
                self._words = self._open(vocab_only=True)
            return self._llama or self._words

    def _load(self) -> Any:
        with self._loading:
            if self._llama is None:
                self.check()
                layers = 0 if self.device == "cpu" else -1
                self._llama, self._words = self._open(n_ctx=self.window(), n_gpu_layers=layers), None
            return self._llama

    def _open(self, **how: Any) -> Any:
        if not is_installed():
            raise ModelError("llama-cpp-python is not installed.", "pip install llama-cpp-python")
        try:
            llama_cpp = import_module("llama_cpp")  # not a dependency: nothing of it may be imported by name
            return llama_cpp.Llama(model_path=str(self._file), verbose=False, **how)
        except Exception as error:
            raise loading.translated(error, f"The model {self._file} cannot be loaded by llama.cpp") from error


class _Job:
    """One generation. It, not its reader, waits for the model and frees it, so that two never run side by side."""

    def __init__(self, llama: Any, prompt: list[int], options: Options, most: int, busy: threading.Lock) -> None:
        self.llama, self.prompt, self.options, self.most, self.busy = llama, prompt, options, most, busy
        self.written, self.seconds, self.first, self.reason = 0, 0.0, 0.0, ""

    def work(self, put: Callable[[str], None], halt: threading.Event) -> None:
        while not self.busy.acquire(timeout=BEAT_S):
            if halt.is_set():
                return
        try:
            if not halt.is_set():
                self._write(put, halt)
        finally:
            self.busy.release()

    def _write(self, put: Callable[[str], None], halt: threading.Event) -> None:
        started = time.monotonic()

        def counted(ids: Any, _scores: Any) -> bool:
            """Called with each token, and once more at the end: the one place where it can be stopped within one."""
            self.written = max(self.written, len(ids) - len(self.prompt))
            return halt.is_set()

        try:
            options = self.options
            # llama.cpp's own defaults would cut the candidates and punish repetition, which quotes need.
            for part in self.llama.create_completion(
                self.prompt,
                max_tokens=self.most,
                temperature=options.temperature,
                top_p=options.top_p,
                top_k=0,
                min_p=0.0,
                repeat_penalty=1.0,
                seed=None if options.seed is None else options.seed % 2**31,
                stopping_criteria=counted,  # it is called: a list would have to be llama.cpp's own kind
                stream=True,
            ):
                choice = part["choices"][0]
                self.reason = choice.get("finish_reason") or self.reason
                self.first = self.first or time.monotonic() - started
                put(choice["text"])
                if halt.is_set():
                    break
        finally:
            self.seconds = time.monotonic() - started


def _refuse(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)
