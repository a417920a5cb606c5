"""The app, and the process that serves it."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from errno import EADDRINUSE
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.responses import JSONResponse

import ragapp
from ragapp.config import ServerTable
from ragapp.embedders import BuiltinEmbedder
from ragapp.errors import ConfigError
from ragapp.rag import Rag
from ragapp.server import (
    allocator,
    answerer,
    ask,
    chat,
    collections,
    conversations,
    documents,
    embeddings,
    events,
    library,
    pages,
    suggest,
    tools,
    tracing,
    window,
)
from ragapp.server.auth import Guard, check_address
from ragapp.server.description import describe
from ragapp.server.errors import ErrorTable
from ragapp.server.gate import BodyLimit
from ragapp.server.headers import SecurityHeaders
from ragapp.server.house import House
from ragapp.server.limits import RateLimit
from ragapp.server.logs import AccessLog, written
from ragapp.server.metrics import Metrics
from ragapp.server.observing import Observer
from ragapp.server.readiness import Readiness, Warmth
from ragapp.server.schemas import ErrorResponse, Health
from ragapp.server.tls import tls_options

BATCH_TOKENS = 512  # that the embedder takes at a time
KEEP_ALIVE_S = 65  # longer than clients and proxies keep a connection, so that they end it, and not in mid-request
WORKERS = 16  # threads for blocking work that has none of its own
GRACE_S = 3  # for answers that are stopped by a shutdown: a model ends within a token

# Each has ``routes(house)``.
ROOMS = (
    chat,
    library,
    window,
    ask,
    answerer,
    embeddings,
    tools,
    collections,
    conversations,
    suggest,
    events,
    pages,
    documents,  # last: its paths end in a document's name, which may have slashes
)

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse} for status in (400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504)
}


def create_app(rag: Rag, *others: Rag, aside: bool = False) -> FastAPI:
    """The HTTP door of a library, and of others beside it, with the settings in ``rag.config.server``.

    The models begin to load when the app is started (its lifespan); ``/readyz`` answers 200 when they are there. The
    libraries stay the caller's to close. ``app.state.gate`` holds the seats, ``app.state.house`` everything. With
    ``aside`` documents are read by processes of their own, as ``serve`` has it; see adder.py.
    """
    settings, table = rag.config.server, ErrorTable(_private(rag, *others))
    for each in (rag, *others):
        _share_embedder(each)
    house = House((rag, *others), table, aside=aside)
    gate, warmth, metrics = house.gate, Warmth(house), Metrics(house)
    endpoint = tracing.endpoint_of(settings)
    spans = tracing.Tracing.to(endpoint) if endpoint else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # asyncio's own few threads would soon be taken by uploads, feeds and lookups that wait for a lock.
        workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="ragapp-work")
        asyncio.get_running_loop().set_default_executor(workers)
        warmth.start()
        house.start()
        tidying = asyncio.create_task(allocator.tidy())
        yield
        tidying.cancel()
        warmth.close()
        gate.close()
        # In a thread: the answers that end need this event loop.
        await asyncio.to_thread(gate.wait_empty, GRACE_S)
        await asyncio.to_thread(house.close)
        gate.searches.close()
        if spans:
            await asyncio.to_thread(spans.close)

    # FastAPI's pages of documentation load scripts from the network; the description itself stays.
    app = FastAPI(
        title="ragapp", version=ragapp.__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        responses=REFUSALS,
    )  # fmt: skip
    app.state.gate, app.state.house, app.state.warmth = gate, house, warmth
    table.install(app)
    describe(app)
    # From the inside to the outside: who asks is known before it is counted how often.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(RateLimit, per_minute=settings.requests_per_minute, table=table)
    app.add_middleware(Guard, house=house)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observer, sinks=[AccessLog(), metrics, *([spans] if spans else [])])
    for room in ROOMS:
        app.include_router(room.routes(house))
    app.include_router(metrics.routes())

    @app.get("/healthz", tags=["health"])
    async def healthz() -> Health:
        """The process is alive."""
        return Health(status="ok")

    @app.get("/readyz", tags=["health"], response_model=Readiness, responses={503: {"model": Readiness}})
    async def readyz() -> JSONResponse:
        """An answer can be given without waiting for a model to load; where it cannot, why not."""
        found = await asyncio.to_thread(warmth.look)
        return JSONResponse(found.model_dump(), 200 if found.status == "ready" else 503)

    return app


class Server(uvicorn.Server):
    """A server that tells when it listens, and that ends open streams before it waits for connections."""

    def __init__(self, app: FastAPI, listening: Callable[[], None]) -> None:
        settings: ServerTable = app.state.house.settings
        self._grace = settings.grace_seconds
        options = tls_options(settings)
        if settings.log != "off":
            options["log_config"] = None  # its lines are written with ours; see logs.py
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                ws="none",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(self._grace) + GRACE_S,
                **options,
            )
        )
        self._app = app
        self._listening = listening

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; at the second signal, at once. Unlike uvicorn's, it lets ``serve`` return to its caller."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in good order: who waits or only listens is let go now, answers have the time of grace to end in."""
        house: House = self._app.state.house
        self._app.state.warmth.close()
        house.gate.shut()
        house.hush()
        late = asyncio.get_running_loop().call_later(self._grace, house.gate.close)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()


def serve(rag: Rag, on_ready: Callable[[str], None] | None = None, others: Sequence[Rag] = ()) -> None:
    """Serve a library, and ``others`` beside it, until the process is told to stop (SIGINT or SIGTERM).

    ``on_ready`` is called with the address, its real port included, as soon as requests are taken. Raises ConfigError
    before anything is bound for an address that others can reach without a key, and for one that cannot be had.
    """
    allocator.few_heaps()
    server, listener = open_server(rag, on_ready, others, aside=True)
    with listener, written(rag.config.server.log), suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def open_server(
    rag: Rag, on_ready: Callable[[str], None] | None = None, others: Sequence[Rag] = (), *, aside: bool = False
) -> tuple[Server, socket.socket]:
    """The server and the socket it is to run on, for those who want to stop it by ``server.should_exit``."""
    check_address(rag.config.server, rag.folder)
    listener = listen(rag.config.server)
    address = url_of(listener, "https" if rag.config.server.tls_certificate else "http")
    return Server(create_app(rag, *others, aside=aside), lambda: on_ready(address) if on_ready else None), listener


def listen(settings: ServerTable) -> socket.socket:
    """A socket that listens on the address in the settings. Raises ConfigError when it cannot be had."""
    host, port = settings.host, settings.port
    listener: socket.socket | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # A name like localhost has several addresses; the older kind is the one that every client tries.
        family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        # With its protocol named: asyncio sets TCP_NODELAY on no other, and without it each answer waits 40 ms.
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":
            # A server that is started again need not wait for its old connections. On Windows it would share the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        if listener:
            listener.close()
        raise _unavailable(host, port, error) from error
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """An address at which this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _unavailable(host: str, port: int, error: OSError) -> ConfigError:
    if isinstance(error, socket.gaierror):
        return ConfigError(f"There is no address {host!r}: {error.strerror}.", "Set [server] host, or give --host.")
    if error.errno == EADDRINUSE:
        return ConfigError(
            f"Port {port} of {host} is in use by another program.",
            "Give another --port (0 takes a free one), or stop the other program.",
        )
    return ConfigError(f"The server cannot listen on {host}, port {port}: {error.strerror}.", "Give another --port.")


def _share_embedder(rag: Rag) -> None:
    """Let the built-in embedder take less at a time than an ingest alone would, unless the settings say how much.

    A search waits for what the embedder is at: with batches of 2,048 tokens ten times as long at its worst, while an
    ingest is no faster.
    """
    if isinstance(rag.embedder, BuiltinEmbedder) and "embedder.batch_tokens" not in rag.config.sources:
        rag.embedder.batch_tokens = min(rag.embedder.batch_tokens, BATCH_TOKENS)


def _private(*rags: Rag) -> list[str]:
    """Paths of this machine that a message may hold, also where a space would end what looks like a path."""
    named = [name for rag in rags for name in (rag.config.chat.model, rag.config.embedder.name)]
    folders = [Path.cwd(), Path.home(), *(folder for rag in rags for folder in (rag.folder, rag.folder.absolute()))]
    return [str(folder) for folder in folders] + [name for name in named if os.sep in name and Path(name).exists()]
