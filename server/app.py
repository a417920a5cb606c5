"""The app, and the process that serves it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
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
from ragapp.errors import ConfigError
from ragapp.rag import Rag
from ragapp.server import chat, library
from ragapp.server.auth import Guard, check_address
from ragapp.server.errors import ErrorTable
from ragapp.server.gate import BodyLimit, Gate
from ragapp.server.schemas import ErrorResponse, Health

log = logging.getLogger("ragapp.server")

RETRY_S = 5.0  # between two tries to load what an answer needs
GRACE_S = 3  # for answers that are stopped by a shutdown: a model ends within a token

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse} for status in (400, 401, 403, 404, 413, 429, 500, 502, 503)
}


class Warmth:
    """Loads what an answer needs in the background, and knows when it is there."""

    def __init__(self, rag: Rag) -> None:
        self._rag = rag
        self._closed = threading.Event()
        self.ready = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="ragapp-warm", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._rag.warm()
            except Exception:  # a server that is not ready says so, and tries again
                log.exception("What an answer needs could not be loaded.")
                self._closed.wait(RETRY_S)
            else:
                self.ready = True
                return


def create_app(rag: Rag) -> FastAPI:
    """The HTTP door of a library, with the settings in ``rag.config.server``.

    The models begin to load when the app is started (its lifespan); ``/readyz`` answers 200 when they are there. The
    library stays the caller's to close. ``app.state.gate`` holds the seats.
    """
    settings = rag.config.server
    gate, warmth, table = Gate(settings.seats), Warmth(rag), ErrorTable(_private(rag))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warmth.start()
        yield
        warmth.close()
        gate.close()
        # In a thread: the answers that end need this event loop.
        await asyncio.to_thread(gate.wait_empty, GRACE_S)

    # FastAPI's pages of documentation load scripts from the network; the description itself stays.
    app = FastAPI(
        title="ragapp", version=ragapp.__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        responses=REFUSALS,
    )  # fmt: skip
    app.state.gate = gate
    table.install(app)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(Guard, settings=settings, table=table)
    app.include_router(chat.routes(rag, gate, table))
    app.include_router(library.routes(rag))

    @app.get("/healthz", tags=["health"])
    async def healthz() -> Health:
        """The process is alive."""
        return Health(status="ok")

    @app.get("/readyz", tags=["health"], response_model=Health, responses={503: {"model": Health}})
    async def readyz() -> JSONResponse:
        """An answer can be given without waiting for a model to load."""
        status = Health(status="ready" if warmth.ready else "warming")
        return JSONResponse(status.model_dump(), 200 if warmth.ready else 503)

    return app


class Server(uvicorn.Server):
    """A server that tells when it listens, and that ends open streams before it waits for connections."""

    def __init__(self, app: FastAPI, listening: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app, log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=int(GRACE_S)
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
        self._app.state.gate.close()
        await super().shutdown(sockets)


def serve(rag: Rag, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve a library until the process is told to stop (SIGINT or SIGTERM).

    ``on_ready`` is called with the address, its real port included, as soon as requests are taken. Raises ConfigError
    before anything is bound for an address that others can reach without a key, and for one that cannot be had.
    """
    server, listener = open_server(rag, on_ready)
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def open_server(rag: Rag, on_ready: Callable[[str], None] | None = None) -> tuple[Server, socket.socket]:
    """The server and the socket it is to run on, for those who want to stop it by ``server.should_exit``."""
    check_address(rag.config.server)
    listener = listen(rag.config.server)
    address = url_of(listener)
    return Server(create_app(rag), lambda: on_ready(address) if on_ready else None), listener


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


def url_of(listener: socket.socket) -> str:
    """An address at which this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _unavailable(host: str, port: int, error: OSError) -> ConfigError:
    if isinstance(error, socket.gaierror):
        return ConfigError(f"There is no address {host!r}: {error.strerror}.", "Set [server] host, or give --host.")
    if error.errno == EADDRINUSE:
        return ConfigError(
            f"Port {port} of {host} is in use by another program.",
            "Give another --port (0 takes a free one), or stop the other program.",
        )
    return ConfigError(f"The server cannot listen on {host}, port {port}: {error.strerror}.", "Give another --port.")


def _private(rag: Rag) -> list[str]:
    """Paths of this machine that a message may hold, also where a space would end what looks like a path."""
    named = [rag.config.chat.model, rag.config.embedder.name]
    folders = [rag.folder, rag.folder.absolute(), Path.cwd(), Path.home()]
    return [str(folder) for folder in folders] + [name for name in named if os.sep in name and Path(name).exists()]
