"""Where the settings' names become objects: every part of a library, built once and handed down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ragapp import config as settings
from ragapp import registry
from ragapp.budget import Budget
from ragapp.catalog import Catalog
from ragapp.config import Config, PartTable
from ragapp.contexts import Joined, roughly
from ragapp.evidence import Evidence
from ragapp.lexicon import Lexicon
from ragapp.ports import Answerer, Chunker, Gatherer, Judge, Reranker, Retriever, Words, Writer
from ragapp.rerankers import CrossEncoderReranker, KeepOrder, Limited
from ragapp.retrievers import Dense, Hybrid, Lexical, Ranker, fusion
from ragapp.routing import Router
from ragapp.steps import check_expansion
from ragapp.stored import StoredText
from ragapp.types import Expansion
from ragapp.vectors import VectorIndex
from ragapp.writers import ChatWriter

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from ragapp.prompts import Prompts


QUOTED_TOKENS = 300  # longer passages give no better quotes, and cost time


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What flows work with; see ports.Tools. Shared by all questions but for the budget."""

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
    search, answer, library = config.search, config.answer, StoredText(catalog)
    speech = _speech_of(config, chat) if chat is not None else None
    tools = Toolbox(
        k=answer.passages,
        depth=max(config.reranker.candidates, answer.passages),
        retriever=retriever_of(config, catalog, vectors, lexicon, embedder),
        reranker=reranker_of(config, embedder),
        judge=Evidence(embedder, lexicon, answer.threshold, answer.calibration),
        gatherer=Joined(
            library, min(answer.context_tokens, QUOTED_TOKENS) if chat is None else answer.context_tokens, roughly
        ),
        answerer=answerer_of(config, library, lexicon, embedder, speech),
        writer=ChatWriter(speech.model, speech.prompts, speech.count, speech.window) if speech else None,
        words=lexicon,
        expansion=Expansion(search.hyde, search.variants, search.step_back),
    )
    check_expansion(tools)
    return tools


def _speech_of(config: Config, chat: Any) -> _Speech:
    from ragapp.prompts import Prompts

    window, count = getattr(chat, "window", None), getattr(chat, "count_tokens", None)
    if window is None or count is None:
        from ragapp.bridge import estimated_tokens

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
    table = config.chunker
    if not registry.is_built_in("chunker", table.name):
        own: Chunker = _own_part("chunker", table, config)
        return own
    settings.check_part_keys(table, "chunker")
    # What somebody set must fit the chunker that was named; of the defaults it is given those that it takes.
    values = {"tokenizer": embedder, "embedder": embedder, **table.model_dump(exclude={"name"})}
    wanted = (registry.takes("chunker", table.name) & values.keys()) | (table.model_fields_set - {"name"})
    chunker: Chunker = registry.build("chunker", table.name, {key: values[key] for key in sorted(wanted)})
    return chunker


def reranker_of(config: Config, embedder: Any) -> Reranker:
    """The reranker that the settings name, with its time limit; a folder or hub id is a CrossEncoder."""
    table = config.reranker
    if table.name == "keep":
        settings.check_part_keys(table, "reranker")
        return KeepOrder()
    if table.name == "late":
        made: Reranker = registry.build("reranker", "late", {"embedder": embedder, **_reranker_keys(config)})
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
