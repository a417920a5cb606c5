"""Where the settings' names become objects: every part of a library, built once and handed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragapp import config as settings
from ragapp import registry
from ragapp.budget import Budget
from ragapp.catalog import Catalog
from ragapp.config import Config, PartTable
from ragapp.lexicon import Lexicon
from ragapp.ports import (
    Answerer,
    Chunker,
    Gatherer,
    Judge,
    Reranker,
    Retriever,
    Words,
    Writer,
)
from ragapp.retrievers import Dense, Hybrid, Lexical, Ranker, fusion
from ragapp.stored import StoredText
from ragapp.types import Expansion
from ragapp.vectors import VectorIndex


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


def toolbox(
    config: Config, catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon, *, embedder: Any, chat: Any
) -> Toolbox:
    """The tools of a library's flows."""
    search = config.search
    missing: Any = None
    return Toolbox(
        k=config.answer.passages,
        depth=config.reranker.candidates,
        retriever=retriever_of(config, catalog, vectors, lexicon, embedder),
        reranker=reranker_of(config, embedder),
        judge=missing,
        gatherer=missing,
        answerer=answerer_of(config, catalog, lexicon, embedder, chat),
        writer=None,
        words=lexicon,
        expansion=Expansion(search.hyde, search.variants, search.step_back),
    )


def retriever_of(config: Config, catalog: Catalog, vectors: VectorIndex, lexicon: Lexicon, embedder: Any) -> Retriever:
    search = config.search
    rankers: dict[str, Ranker] = {"dense": Dense(vectors, embedder), "lexical": Lexical(lexicon)}
    fuse = fusion(search.fusion, search.dense_weight, search.dense_weight_cjk, search.rrf_constant, search.depth)
    return Hybrid(catalog, rankers, fuse, search.depth)


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
    table = config.reranker
    if table.name == "late":
        late: Reranker = registry.build("reranker", "late", {"embedder": embedder, **_given("reranker", table, config)})
        return late
    own: Reranker = _bridged(_own_part("reranker", table, config))
    return own


def chat_of(config: Config) -> Any:
    """The chat model that the settings name, checked but not loaded; None where they name none."""
    chat = config.chat
    if not chat.model:
        return None
    if ":" in chat.model and not chat.model.startswith(("http:", "https:")) and not Path(chat.model).exists():
        made = registry.resolve("chat", chat.model)
        return made() if callable(made) else made
    from ragapp.chat import resolve

    return resolve(
        chat.model,
        device=chat.device,
        dtype=chat.dtype,
        max_new_tokens=chat.max_new_tokens,
        temperature=chat.temperature,
        top_p=chat.top_p,
        context_tokens=chat.context_tokens or None,
    )


def answerer_of(config: Config, catalog: Catalog, lexicon: Lexicon, embedder: Any, chat: Any) -> Answerer:
    library = StoredText(catalog)
    if chat is None:
        from ragapp.quotes import QuoteAnswerer

        return QuoteAnswerer(embedder, lexicon, library, config.answer.quotes)
    from ragapp.answerers import ChatAnswerer

    window, count = getattr(chat, "window", None), getattr(chat, "count_tokens", None)
    if window is None or count is None:
        from ragapp.bridge import estimated_tokens

        window, count = (lambda: config.chat.context_tokens or 4096), estimated_tokens
    return ChatAnswerer(chat, library, window, count, config.chat.max_new_tokens)


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
