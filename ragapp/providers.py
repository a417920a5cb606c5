"""LangChain's providers ("openai:gpt-4o-mini", "ollama:llama3", "anthropic:…") as chat models of ours. Only when named.

``init_chat_model`` makes the model; the provider's package is the user's to install. Ours around it translates errors,
yields empty chunks while it waits, counts tokens without fetching anything, and keeps LangSmith's gateway out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import Field, PrivateAttr, SecretStr

import ragapp.chat  # noqa: F401 - switches the upload of prompts off
from ragapp.beats import Beats
from ragapp.chunks import StreamedChat, estimated_tokens, let_through, text_tokens
from ragapp.errors import ConfigError, ContextTooLong, ModelError, RagappError
from ragapp.remote import Written
from ragapp.sampling import Options
from ragapp.streaming import Stops

_WINDOW = 4096
# Names that init_chat_model knows, each with the module it imports. Without those that run a model in this process.
PROVIDERS: Mapping[str, str] = {
    "anthropic": "langchain_anthropic",
    "azure_ai": "langchain_azure_ai",
    "azure_openai": "langchain_openai",
    "baseten": "langchain_baseten",
    "bedrock": "langchain_aws",
    "bedrock_converse": "langchain_aws",
    "cohere": "langchain_cohere",
    "deepseek": "langchain_deepseek",
    "fireworks": "langchain_fireworks",
    "google_genai": "langchain_google_genai",
    "google_vertexai": "langchain_google_vertexai",
    "groq": "langchain_groq",
    "ibm": "langchain_ibm",
    "litellm": "langchain_litellm",
    "mistralai": "langchain_mistralai",
    "nvidia": "langchain_nvidia_ai_endpoints",
    "ollama": "langchain_ollama",
    "openai": "langchain_openai",
    "openrouter": "langchain_openrouter",
    "perplexity": "langchain_perplexity",
    "together": "langchain_together",
    "upstage": "langchain_upstage",
    "xai": "langchain_xai",
}


class ProviderChat(StreamedChat):
    """A model of a LangChain provider; ``model`` is "provider:name".

    ``api_key`` empty means that the provider's package looks for its own variable ($OPENAI_API_KEY, …). The window is
    ``context_tokens``, else 4,096: providers do not say. Tokens are estimated on the high side, and so is usage where
    the provider tells none. A ``seed`` goes to providers that have such a setting. Closing a stream stops reading at
    the next piece; a provider that is silent then is left behind until its ``timeout`` (seconds).
    """

    model: str
    api_key: SecretStr = Field(default=SecretStr(""), repr=False)
    timeout: float = Field(default=120.0, gt=0)
    retries: int = Field(default=2, ge=0)

    _making: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _made: dict[tuple[Any, ...], BaseChatModel] = PrivateAttr(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "ragapp-provider"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model": self.model, "temperature": self.temperature, "top_p": self.top_p}

    def check(self) -> None:
        """Whether the provider is known and its package is there; nothing is imported or asked."""
        provider, _, name = self.model.partition(":")
        if provider not in PROVIDERS or not name:
            raise ConfigError(f"{self.model!r} names no model of a provider.", f"Known: {', '.join(PROVIDERS)}.")
        module = PROVIDERS[provider]
        if find_spec(module) is None:
            raise ModelError(
                f"{self.model} needs the package {module.replace('_', '-')}.", f"pip install {module.replace('_', '-')}"
            )

    def warm(self) -> None:
        """Import the provider's package and make its model. Raises ModelError, for a missing key too."""
        self._of(Options.of(self, None, {}))

    def window(self) -> int:
        return self.context_tokens or _WINDOW

    def count_tokens(self, messages: Sequence[BaseMessage]) -> int:
        """An estimate on the high side: providers' own counting asks their servers, or fetches vocabularies."""
        return estimated_tokens(messages)

    def get_token_ids(self, text: str) -> list[int]:
        """Stands in for the tokens: as many numbers as they are estimated to be."""
        return list(range(text_tokens(text)))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the answer as it comes. Raises ConfigError, ContextTooLong or ModelError."""
        options = Options.of(self, stop, kwargs)
        asked = self.count_tokens(messages)
        if asked >= self.window():
            raise ContextTooLong(
                f"The prompt has about {asked:,} tokens, and the window of {self.model} is {self.window():,}.",
                "Set context_tokens to the model's window, or ask with fewer or shorter passages.",
            )
        options = replace(options, max_tokens=min(options.max_tokens, self.window() - asked))
        inner, written, stops = self._of(options), Written.begin(asked), Stops(options.stop)
        beats: Beats[Any] = Beats(
            _reading(inner, messages, list(options.stop) or None), name="ragapp-provider", patience=0.0
        )
        with closing(beats):
            for chunk in let_through(self._texts(beats, written), stops, run_manager):
                written.add(chunk.text)
                yield chunk
        cut = not stops.hit and written.reason.lower() in {"length", "max_tokens"}
        yield written.last_piece(self.model, "length" if cut else "stop")

    def _texts(self, beats: Iterable[Any], written: Written) -> Iterator[str]:
        """What comes, as text. Only the provider's errors are translated here, not those of the reader's callbacks."""
        try:
            for came in beats:
                yield _taken(came, written)
        except RagappError:
            raise
        except Exception as error:
            raise self._translated(error) from error

    def _of(self, options: Options) -> BaseChatModel:
        """The provider's model with these wishes: providers take them when it is made, and agree on names there."""
        wishes = (options.max_tokens, options.temperature, options.top_p, options.seed)
        with self._making:
            if wishes not in self._made:
                self.check()
                while len(self._made) >= 8:
                    self._made.pop(next(iter(self._made)))
                try:
                    self._made[wishes] = self._make(*wishes)
                except Exception as error:
                    raise self._translated(error) from error
            return self._made[wishes]

    def _make(self, max_tokens: int, temperature: float, top_p: float, seed: int | None) -> BaseChatModel:
        if os.environ.get("RAGAPP_TRACING") != "1":
            os.environ["LANGSMITH_GATEWAY"] = "false"  # it would send prompts by way of LangSmith
        from langchain.chat_models import init_chat_model

        provider, _, name = self.model.partition(":")
        key = self.api_key.get_secret_value()
        more: dict[str, Any] = {"temperature": temperature}
        if provider == "ollama":
            more |= {"num_predict": max_tokens, "client_kwargs": {"timeout": self.timeout}, "num_ctx": self.window()}
        else:
            more |= {"max_tokens": max_tokens, "timeout": self.timeout, "max_retries": self.retries}
        more |= {"top_p": top_p} if top_p < 1 else {}
        more |= {"api_key": key} if key else {}
        made: BaseChatModel = init_chat_model(name, model_provider=provider, **more)
        if seed is not None and "seed" in type(made).model_fields:
            made = init_chat_model(name, model_provider=provider, **more, seed=seed)
        return made

    def _translated(self, error: Exception) -> ModelError:
        """Packages of providers raise what they like; their words are kept, the key is not."""
        said = " ".join(str(error).split())[:300] or "no reason given"
        key = self.api_key.get_secret_value()
        said = said.replace(key, "…") if key else said
        return ModelError(
            f"{self.model} failed: {type(error).__name__}: {said.rstrip('.')}.",
            "See the key ([chat] api_key or the provider's own variable), the model's name, and the network.",
        )


def _reading(
    inner: BaseChatModel, messages: Sequence[BaseMessage], stop: list[str] | None
) -> Callable[[Callable[[Any], None], threading.Event], None]:
    def work(put: Callable[[Any], None], halt: threading.Event) -> None:
        stream: Any = inner.stream(list(messages), stop=stop)
        with closing(stream):
            for piece in stream:
                if halt.is_set():
                    return
                put(piece)

    return work


def _taken(piece: Any, written: Written) -> str:
    """The text of a provider's chunk; usage and reason go into ``written``."""
    if piece is None:
        return ""
    if piece.usage_metadata:
        total = add_usage(_usage(written), piece.usage_metadata)
        written.usage = {"prompt_tokens": total["input_tokens"], "completion_tokens": total["output_tokens"]}
    about = piece.response_metadata
    written.reason = str(
        about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason") or written.reason
    )
    return str(piece.text)


def _usage(written: Written) -> UsageMetadata | None:
    if written.usage is None:
        return None
    read, wrote = written.usage["prompt_tokens"], written.usage["completion_tokens"]
    return UsageMetadata(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote)
