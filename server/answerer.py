"""Which model answers: shown, chosen, looked up on the hub and downloaded, each only when somebody asks for it.

A choice is kept in the desk of its library, and holds until the settings name another model than they did when it was
made. Clients may name a folder or a GGUF file of this machine, or a hub id that was downloaded before; parts of code
and servers far away are for the settings only. Requests in flight end with the model that they began with. Whatever was
chosen once, a question may name from then on; see offers.py.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from ragapp import hub, registry
from ragapp.errors import ConfigError, ModelError, RagappError
from ragapp.rag import Rag
from ragapp.server.house import Collection, House
from ragapp.server.job_shapes import JobAnswer
from ragapp.server.offers import Kind, ModelOffer, Offers, is_local, is_place, kind_of

log = logging.getLogger("ragapp.server")

ONLY_QUOTES = "Answers are quotes: name a folder with a Llama on this machine, or a hub id, to have them written."
TOLD_EVERY_S = 0.25
LOADING = "The model is not loaded yet; the first answer waits for it."


class AnswererState(BaseModel):
    """Who answers. ``flows``, ``rerankers`` and ``models`` are what a question may ask for; the others are what holds
    without.

    ``local`` is whether no word of a question or document leaves this machine.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "quotes",
                    "name": "quotes",
                    "local": True,
                    "flows": ["linear", "conditional", "branching", "looping"],
                    "rerankers": ["keep", "late"],
                    "models": [
                        {"model": "", "name": "quotes", "kind": "quotes", "local": True, "fixed": True},
                        {
                            "model": "llama-3.2-1b",
                            "name": "llama-3.2-1b",
                            "kind": "llama",
                            "local": True,
                            "fixed": False,
                        },
                    ],
                    "flow": "linear",
                    "reranker": "keep",
                    "k": 8,
                    "hyde": "auto",
                    "strict": False,
                    "ready": True,
                    "hint": ONLY_QUOTES,
                }
            ]
        }
    )

    kind: Kind
    name: str
    local: bool
    flows: list[str]
    rerankers: list[str]
    models: list[ModelOffer]
    flow: str
    reranker: str
    k: int
    hyde: Literal["auto", "on", "off"]
    strict: bool
    ready: bool
    hint: str


class Choice(BaseModel):
    """The model that is to answer: a folder or GGUF file of this machine, a hub id, or a name that is listed; empty for
    quotes only."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "models/llama-3.2-1b-instruct"}, {"model": ""}]}
    )

    model: Annotated[str, Field(max_length=1000)]


class Wanted(BaseModel):
    """A model on the hub."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "meta-llama/Llama-3.2-1B-Instruct"}]})

    model: Annotated[str, Field(max_length=200)]


class ModelSize(BaseModel):
    """What a download would fetch: ``files`` files with ``bytes`` bytes in all."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "meta-llama/Llama-3.2-1B-Instruct", "bytes": 2_480_000_000, "files": 7}]
        }
    )

    model: str
    bytes: int
    files: int


In = Annotated[str | None, Query(description="name of a collection; the default one where it is left out")]


def routes(house: House) -> APIRouter:
    """``GET|POST|DELETE /v1/answerer``, ``GET /v1/answerer/size`` and ``POST /v1/answerer/download``."""
    router = APIRouter(prefix="/v1/answerer", tags=["answerer"])
    shelf = Answerers(house)

    @router.get("", summary="Show who answers")
    async def state(collection: In = None) -> AnswererState:
        """The model that answers, whether it is ready, and what a question may ask for, other models among it."""
        return await asyncio.to_thread(shelf.state, house.at(collection))

    @router.post("", summary="Choose who answers")
    async def choose(body: Choice, collection: In = None) -> AnswererState:
        """Let another model answer from the next question on; the choice is kept over restarts. Questions may name the
        model from then on, also when another one is chosen."""
        return await asyncio.to_thread(shelf.choose, house.at(collection), body.model)

    @router.delete("", summary="Offer a model no longer")
    async def withdraw(model: Annotated[str, Query(max_length=1000)], collection: In = None) -> AnswererState:
        """Take a model that was chosen before off the list of those that a question may name. Its files stay, and it is
        offered again when it is chosen again; conversations that name it are told that it is gone."""
        return await asyncio.to_thread(shelf.withdraw, house.at(collection), model)

    @router.get("/size", summary="Ask the hub how large a model is")
    async def size(model: Annotated[str, Query(max_length=200)], collection: In = None) -> ModelSize:
        """How much a download would fetch. This, and a download, are all that is ever asked of the hub."""
        house.at(collection)
        found = await asyncio.to_thread(hub.size_of, model)
        return ModelSize(model=found.model, bytes=found.bytes, files=len(found.files))

    @router.post("/download", summary="Download a model from the hub", status_code=202, response_model=JobAnswer)
    async def download(body: Wanted, collection: In = None) -> JSONResponse:
        """Begin to download a model; the job tells how far it is, and can be cancelled. Choose it when it is done."""
        job = await asyncio.to_thread(shelf.download, house.at(collection), body.model)
        return JSONResponse({"job": job}, 202, {"Location": f"/v1/jobs/{job['id']}"})

    return router


class Answerers:
    """Who answers in each collection, and the way to another one."""

    def __init__(self, house: House) -> None:
        """Take up the choices that were made before; one that cannot be used any more is said in the hint."""
        self._house = house
        self._changing = threading.Lock()
        self._wrong: dict[str, RagappError] = {}  # by collection: why the model that should answer does not
        self._warming: dict[str, object] = {}  # by collection: the model that was last begun to be loaded
        self._offers = {name: Offers(each) for name, each in house.collections.items()}
        for collection in house.collections.values():
            self._restore(collection)

    def state(self, collection: Collection) -> AnswererState:
        """Who answers. A model that is not loaded begins to be: whoever wants to know is about to ask."""
        rag, offers = collection.rag, self._offers[collection.name]
        self._begin_to_warm(collection)
        config = rag.config
        kind = kind_of(rag, config.chat.model)
        return AnswererState(
            kind=kind,
            name=offers.name_of(config.chat.model),
            local=is_local(kind, config.chat.model),
            flows=list(dict.fromkeys([config.answer.flow, *rag.flows()])),
            rerankers=list(dict.fromkeys([_reranker_name(rag), *registry.names("reranker")])),
            models=offers.listed(),
            flow=config.answer.flow,
            reranker=_reranker_name(rag),
            k=config.answer.passages,
            hyde=config.search.hyde,
            strict=config.answer.strict,
            ready=rag.is_warm,
            hint=self._hint(collection, kind),
        )

    def choose(self, collection: Collection, model: str) -> AnswererState:
        """Let another model answer. Raises ConfigError for one that cannot be used."""
        offers = self._offers[collection.name]
        with self._changing:
            model = offers.written(model.strip())
            try:
                collection.rag.use_model(offers.actual(model))
            except ModelError as error:
                raise ConfigError(error.message, error.hint) from error
            offers.choose(model)
            self._wrong.pop(collection.name, None)
        return self.state(collection)

    def withdraw(self, collection: Collection, name: str) -> AnswererState:
        """Offer a model no longer. Raises NotFound, and ConfigError for one that stays."""
        with self._changing:
            self._offers[collection.name].withdraw(name)
        return self.state(collection)

    def download(self, collection: Collection, model: str) -> dict[str, Any]:
        """Begin a download, and return its job. Raises ConfigError for what is no hub id."""
        hub.check(model)

        def run(report: Callable[[Mapping[str, Any]], None], cancelled: Callable[[], bool]) -> object:
            with suppress(hub.Stopped):
                hub.download(model, Meter(report).tell, cancelled)
            return {"model": model}

        return collection.jobs.start("download", run)

    def _restore(self, collection: Collection) -> None:
        offers = self._offers[collection.name]
        model = offers.chosen()
        if model is None or model == offers.configured:
            return
        try:
            collection.rag.use_model(offers.actual(model))
        except RagappError as error:
            log.warning("The model that was chosen for %s cannot be used: %s", collection.name, error.message)
            self._wrong[collection.name] = error

    def _begin_to_warm(self, collection: Collection) -> None:
        """Load the model in the background, once; one that could not be loaded is tried again by a question only."""
        chat = collection.rag.chat
        with self._changing:
            if collection.rag.is_warm or self._warming.get(collection.name, self) is chat:
                return
            self._warming[collection.name] = chat
        threading.Thread(target=self._warm, args=(collection, chat), name="ragapp-warm", daemon=True).start()

    def _warm(self, collection: Collection, chat: object) -> None:
        try:
            collection.rag.warm()
        except Exception as error:  # a model's libraries raise anything; the hint says so, and the log
            log.warning("The model of %s could not be loaded.", collection.name, exc_info=True)
            known = error if isinstance(error, RagappError) else ModelError("The model could not be loaded.")
            if collection.rag.chat is chat:
                self._wrong[collection.name] = known

    def _hint(self, collection: Collection, kind: Kind) -> str:
        wrong = self._wrong.get(collection.name)
        if wrong is not None:
            return self._house.table.without_paths(f"{wrong.message} {wrong.hint}".strip())
        if not collection.rag.is_warm and kind != "quotes":
            return LOADING
        return ONLY_QUOTES if kind == "quotes" else ""


class Meter:
    """How far a download is, told a few times a second."""

    def __init__(self, report: Callable[[Mapping[str, Any]], None]) -> None:
        self._report = report
        self._started = time.monotonic()
        self._begun: int | None = None  # bytes that were there before
        self._next = 0.0

    def tell(self, file: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._begun is None:
            self._begun = done
        if now < self._next and done < total:
            return
        self._next = now + TOLD_EVERY_S
        speed = (done - self._begun) / max(now - self._started, 1e-6)
        self._report(
            {
                "stage": "download",
                "file": file,
                "pages": None,
                "of_pages": None,
                "pages_per_second": None,
                "seconds_left": round((total - done) / speed, 1) if speed else None,
                "fraction": round(done / total, 4) if total else 1.0,
                "bytes": done,
                "of_bytes": total,
            }
        )


def named_reranker(rag: Rag, name: str | None) -> str | None:
    """The name by which a library knows a reranker that a client has asked for; None stands for the usual one."""
    return None if name is None or name == _reranker_name(rag) else name


def _reranker_name(rag: Rag) -> str:
    name = rag.config.reranker.name
    return Path(name).name if is_place(name) else name
