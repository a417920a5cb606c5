"""Where the settings' names become objects: every part of a library, built once and handed down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ragapp import config as settings
from ragapp import registry
from ragapp.budget import Budget
from ragapp.catalog import Catalog
from ragapp.config import Config, PartTable, RerankerTable
from ragapp.contexts import Joined, roughly
from ragapp.errors import ConfigError
from ragapp.evidence import Evidence
from ragapp.ingest.chunkers import WithoutHeader
from ragapp.lexicon import Lexicon
from ragapp.ports import Answerer, Chunker, Gatherer, Judge, Reranker, Retriever, TokenEmbedder, Words, Writer
from ragapp.rerankers import CrossEncoderReranker, KeepOrder, Limited
from ragapp.retrievers import SAME_PAGE, Dense, Hybrid, Lexical, Ranker, fusion
from ragapp.routing import Router
from ragapp.steps import check_expansion
from ragapp.stored import StoredText
from ragapp.types import Asked, Expansion
from ragapp.vectors import VectorIndex
from ragapp.voices import Loan, Voice, Voices
from ragapp.writers import ChatWriter

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from ragapp.prompts import Prompts


QUOTED_TOKENS = 300  # longer passages give no better quotes, and cost time


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What flows work with; see ports.Tools. Shared by all questions but for the budget.

    ``model`` names the chat model that writes; a ``loan`` keeps one that is not the library's own for one answer.
    """

    k: int
    depth: int
    retriever: Retriever
    reranker: Reranker
    judge: Judge
    gatherer: Gatherer
    answerer: Answerer
    writer: Writer | None
    words: Words
    expansion: Expansion
    budget: Budget = field(default_factory=Budget)
    model: str = ""
    loan: Loan | None = None


@dataclass(frozen=True, slots=True)
class _Speech:
    """A chat model with what is known of its tokens, and the prompts it is asked with."""

    model: Any
    window: Callable[[], int]
    count: Callable[[Sequence[BaseMessage]], int]
    prompts: Prompts


def toolbox(
    config: Config, catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon, *, embedder: Any, chat: Any
) -> Toolbox:
    """The tools of a library's flows. Raises ConfigError for settings that do not go together."""
    search, answer = config.search, config.answer
    voice = voice_of(config, catalog, lexicon, embedder=embedder, chat=chat)
    tools = Toolbox(
        k=answer.passages,
        depth=max(config.reranker.candidates, answer.passages),
        retriever=retriever_of(config, catalog, vectors, lexicon, embedder),
        reranker=reranker_of(config, embedder),
        judge=Evidence(embedder, lexicon, answer.threshold, answer.calibration),
        gatherer=voice.gatherer,
        answerer=voice.answerer,
        writer=voice.writer,
        words=lexicon,
        expansion=Expansion(search.hyde, search.variants, search.step_back),
        model=config.chat.model,
    )
    check_expansion(tools)
    return tools


class Wardrobe:
    """Makes the tools of one question out of the shared ones; what a wish needs is made once and kept.

    Of chat models beside the library's own a few are kept; see voices.py. ``voice`` makes what one of them writes with.
    """

    def __init__(self, config: Config, embedder: Any, voice: Callable[[str], Voice] | None = None) -> None:
        self._config, self._embedder, self._voice = config, embedder, voice or _no_voice
        self._making = threading.Lock()
        self._rerankers: dict[str, Reranker] = {}
        self._models = dict.fromkeys((config.chat.model, ""))  # in the order in which they were offered
        self._voices = Voices(self._voice)
        self._quotes: Voice | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The chat models that a question may name, that of the settings first; "" is quotes."""
        return tuple(self._models)

    def offer(self, model: str) -> None:
        """Let questions name a chat model."""
        self._models.setdefault(model)

    def withdraw(self, model: str) -> None:
        """Let no question name a chat model any more, nor keep it."""
        self._models.pop(model, None)
        self._voices.drop(model)

    def chat_of(self, model: str) -> Any:
        """The chat model that is kept under a name; None where none is."""
        return self._voices.chat_of(model)

    def drop(self, model: str) -> None:
        """Keep a chat model no longer: it is the library's own now."""
        self._voices.drop(model)

    def suit(self, tools: Toolbox, asked: Asked) -> Toolbox:
        """The tools as they are wished for.

        Raises ConfigError for a name that is unknown and for what cannot be, ModelError for a chat model that cannot be
        used, and Overloaded where too many others write.
        """
        k = tools.k if asked.k is None else asked.k
        if k < 1:
            raise ConfigError(f"{k} passages cannot be cited.", "k is at least 1.")
        reranker = tools.reranker if asked.reranker is None else self._reranker(tools, asked.reranker)
        # Last: an error keeps what it has seen, and a model must not seem to write for as long as somebody keeps one.
        if asked.model is not None and asked.model != tools.model:
            tools = self._voiced(tools, asked.model)
        answerer = tools.answerer
        if asked.strict is not None and hasattr(answerer, "strict"):  # quotes are never anything else
            answerer = replace(answerer, strict=asked.strict)  # type: ignore[type-var]  # ChatAnswerer is a dataclass
        suited = replace(
            tools,
            k=k,
            depth=max(tools.depth, k),
            reranker=reranker,
            answerer=answerer,
            expansion=replace(tools.expansion, hyde=asked.hyde or tools.expansion.hyde),
        )
        check_expansion(suited)
        return suited

    def _voiced(self, tools: Toolbox, model: str) -> Toolbox:
        """The tools with another chat model."""
        # Never a name that nobody offered: who asks a question may be far away, and it would load what they name.
        if model not in self._models:
            raise ConfigError(f"The library offers no model {model!r}.", "Rag.offer_model lets questions name it.")
        search = wished(self._config, Asked(model=model)).search
        expansion = Expansion(search.hyde, search.variants, search.step_back)
        if model:
            loan = self._voices.lend(model)
            voice = loan.voice
            if model not in self._models:  # withdrawn just now: nobody else would let it go
                self._voices.drop(model)
        else:
            loan, voice = None, self._quoting()
        return replace(
            tools,
            gatherer=voice.gatherer,
            answerer=voice.answerer,
            writer=voice.writer,
            expansion=expansion,
            model=model,
            loan=loan,
        )

    def _quoting(self) -> Voice:
        with self._making:
            self._quotes = self._quotes or self._voice("")
            return self._quotes

    def _reranker(self, tools: Toolbox, name: str) -> Reranker:
        if name == self._config.reranker.name:
            return tools.reranker
        known = registry.names("reranker")
        # Never a dotted path: who asks a question may be far away, and it would import what they name.
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"There is no reranker named {name!r}.", f"{hint}Known: {', '.join(known)}.")
        if name == "late" and not isinstance(self._embedder, TokenEmbedder):
            raise ConfigError("The reranker 'late' needs an embedder with token vectors.", "Ask with 'keep'.")
        with self._making:
            if name not in self._rerankers:
                self._rerankers[name] = reranker_of(wished(self._config, Asked(reranker=name)), self._embedder)
            return self._rerankers[name]


def _no_voice(model: str) -> Voice:
    raise ConfigError(f"{model!r} cannot be asked for here.", "Rag.stream and Rag.ask take another model.")


def wished(config: Config, asked: Asked) -> Config:
    """The settings under which an answer without wishes comes out as this one does with them."""
    search, answer, reranker, chat = config.search, config.answer, config.reranker, config.chat
    if asked.model is not None:
        chat = chat.model_copy(update={"model": asked.model})
    if asked.model == "":
        # What is written to search with belongs to the models that the settings had in mind.
        search = search.model_copy(update={"hyde": "auto", "variants": 0, "step_back": False})
    if asked.hyde is not None:
        search = search.model_copy(update={"hyde": asked.hyde})
    if asked.k is not None:
        answer = answer.model_copy(update={"passages": asked.k})
    if asked.strict is not None:
        answer = answer.model_copy(update={"strict": asked.strict})
    sources = config.sources
    if asked.reranker not in (None, reranker.name):
        # Keys of a part's own mean nothing to another one.
        ours = {key: getattr(reranker, key) for key in ("candidates", "seconds", "batch")}
        reranker = RerankerTable(name=asked.reranker, **ours)
        sources = {key: source for key, source in sources.items() if not key.startswith("reranker.")}
    return config.model_copy(
        update={"search": search, "answer": answer, "reranker": reranker, "chat": chat, "sources": sources}
    )


def voice_of(config: Config, catalog: Catalog, lexicon: Lexicon, *, embedder: Any, chat: Any) -> Voice:
    """What a chat model writes with, or, where it is None, what quotes are made with."""
    library, most = StoredText(catalog), config.answer.context_tokens
    speech = _speech_of(config, chat) if chat is not None else None
    return Voice(
        chat,
        Joined(library, min(most, QUOTED_TOKENS) if chat is None else most, roughly),
        answerer_of(config, library, lexicon, embedder, speech),
        ChatWriter(speech.model, speech.prompts, speech.count, speech.window) if speech else None,
    )


def _speech_of(config: Config, chat: Any) -> _Speech:
    from ragapp.prompts import Prompts

    window, count = getattr(chat, "window", None), getattr(chat, "count_tokens", None)
    if window is None or count is None:
        from ragapp.chunks import estimated_tokens

        window, count = (lambda: config.chat.context_tokens or 4096), estimated_tokens
    return _Speech(chat, window, count, Prompts(config.answer.prompts))


def retriever_of(config: Config, catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon, embedder: Any) -> Retriever:
    search = config.search
    rankers: dict[str, Ranker] = {
        "dense": Dense(vectors, embedder, catalog),
        "lexical": Lexical(lexicon),
    }
    fuse = fusion(search.fusion, search.dense_weight, search.dense_weight_cjk, search.rrf_constant, search.depth)
    return Hybrid(catalog, rankers, fuse, search.depth, Router(catalog, lexicon), search.route_weight)


def embedder_of(config: Config) -> Any:
    table = config.embedder
    if table.name == "builtin":
        settings.check_part_keys(table, "embedder")
        return registry.build("embedder", "builtin", {"runtime": table.runtime, "batch_tokens": table.batch_tokens})
    if registry.is_built_in("embedder", table.name) or ":" in table.name:
        return _bridged(_own_part("embedder", table, config))
    from ragapp.embedders import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(table.name)


def chunker_of(config: Config, embedder: Any) -> Chunker:
    made = _chunker_of(config, embedder)
    return made if config.chunker.header else WithoutHeader(made)


def _chunker_of(config: Config, embedder: Any) -> Chunker:
    table = config.chunker
    if not registry.is_built_in("chunker", table.name):
        given = {key: value for key, value in _given("chunker", table, config).items() if key != "header"}
        own: Chunker = registry.build("chunker", table.name, given)
        return own
    settings.check_part_keys(table, "chunker")
    # What somebody set must fit the chunker that was named; of the defaults it is given those that it takes.
    values = {"tokenizer": embedder, "embedder": embedder, **table.model_dump(exclude={"name", "header"})}
    wanted = (registry.takes("chunker", table.name) & values.keys()) | (table.model_fields_set - {"name", "header"})
    chunker: Chunker = registry.build("chunker", table.name, {key: values[key] for key in sorted(wanted)})
    return chunker


def reranker_of(config: Config, embedder: Any) -> Reranker:
    """The reranker that the settings name, with its time limit; a folder or hub id is a CrossEncoder.

    An embedder without token vectors keeps the order of the fusion, unless somebody asks for late interaction by name:
    that is a ConfigError.
    """
    table = config.reranker
    has_tokens = isinstance(embedder, TokenEmbedder)
    if table.name == "late" and not has_tokens and "reranker.name" in config.sources:
        raise ConfigError(
            f"The embedder {config.embedder.name!r} gives no token vectors, which late interaction compares.",
            'Leave [reranker] name out, or write name = "keep".',
        )
    if table.name == "keep" or (table.name == "late" and not has_tokens):
        settings.check_part_keys(table, "reranker")
        return KeepOrder()
    if table.name == "late":
        ours = {"embedder": embedder, "candidates": table.candidates, "same_page": SAME_PAGE}
        made: Reranker = registry.build("reranker", "late", {**ours, **_reranker_keys(config)})
    elif ":" in table.name or table.name in registry.names("reranker"):
        made = _bridged(registry.build("reranker", table.name, _reranker_keys(config)))
    else:
        settings.check_part_keys(table, "reranker")
        made = CrossEncoderReranker(table.name, batch=table.batch, device=config.chat.device)
    return Limited(made, table.seconds)


def _reranker_keys(config: Config) -> dict[str, object]:
    """What somebody set for the reranker itself; how many passages it gets and for how long is our business."""
    keys = _given("reranker", config.reranker, config)
    return {key: value for key, value in keys.items() if key not in ("candidates", "seconds")}


def chat_of(config: Config) -> Any:
    """The chat model that the settings name, checked but not loaded; None where they name none."""
    chat = config.chat
    if not chat.model:
        return None
    from ragapp.models import kind_of, resolve

    if kind_of(chat.model) == "part":
        made = registry.resolve("chat", chat.model)
        return made() if callable(made) else made
    wishes = chat.model_dump(exclude={"model"})
    return resolve(chat.model, **{**wishes, "context_tokens": chat.context_tokens or None})


def answerer_of(
    config: Config, library: StoredText, lexicon: Lexicon, embedder: Any, speech: _Speech | None
) -> Answerer:
    if speech is None:
        from ragapp.quotes import QuoteAnswerer

        return QuoteAnswerer(embedder, lexicon, library, config.answer.quotes)
    from ragapp.answerers import ChatAnswerer

    return ChatAnswerer(
        speech.model,
        library,
        speech.window,
        speech.count,
        config.chat.max_new_tokens,
        speech.prompts,
        config.answer.strict,
    )


def _own_part(kind: str, table: PartTable, config: Config) -> Any:
    return registry.build(kind, table.name, _given(kind, table, config))


def _given(kind: str, table: PartTable, config: Config) -> dict[str, object]:
    return settings.given(table, config, kind)


def _bridged(part: Any) -> Any:
    """The part, or our wrapper around a LangChain object (known by its module: LangChain stays unloaded)."""
    if any(kind.__module__.startswith("langchain") for kind in type(part).__mro__):
        from ragapp.bridge import from_langchain

        return from_langchain(part)
    return part
