"""A small HTTP server on loopback that answers each POST with the next of its scripts, well or badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """``say`` writes a head, ``send`` bytes of the body. The body ends with the connection, as in HTTP/1.0."""

    server: BadServer  # type: ignore[assignment]

    def say(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> Handler:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        return self

    def send(self, text: str | bytes) -> Handler:
        self.wfile.write(text if isinstance(text, bytes) else text.encode())
        self.wfile.flush()
        return self

    def do_GET(self) -> None:
        self.server.seen.append(("GET", self.path, dict(self.headers), None))
        answer = self.server.gets.get(self.path)
        if callable(answer):
            answer(self)
        elif answer is None:
            self.say(404, "text/html").send("<html>no such page</html>")
        else:
            self.say(200, "application/json").send(json.dumps(answer))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(("POST", self.path, dict(self.headers), body))
        fixed = self.server.posts.get(self.path)
        if fixed is not None:
            self.say(200, "application/json").send(json.dumps(fixed(body)))
            return
        script = self.server.scripts.pop(0) if len(self.server.scripts) > 1 else self.server.scripts[0]
        try:
            script(self)
        except (BrokenPipeError, ConnectionResetError):
            self.server.hung_up.set()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


class BadServer(ThreadingHTTPServer):
    """``seen`` are the requests, ``gets`` and ``posts`` fixed answers by path, ``scripts`` the answers to the rest."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, dict[str, str], Any]] = []
        self.gets: dict[str, Any] = {"/v1/models": {"data": [{"id": "tiny", "owned_by": "somebody"}]}}
        self.posts: dict[str, Callable[[Any], Any]] = {}
        self.scripts: list[Script] = [good("hello")]
        self.hung_up = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def asked(self) -> list[Any]:
        """The bodies of the questions, in order."""
        return [body for method, path, _, body in self.seen if method == "POST" and path.endswith("/chat/completions")]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error here."""


@contextmanager
def running() -> Iterator[BadServer]:
    server = BadServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def chunk(text: str | None = None, reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": reason}
    return f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [choice], **more})}\n\n"


USAGE = 'data: {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}}\n\n'
DONE = "data: [DONE]\n\n"


def good(*texts: str, usage: bool = True) -> Script:
    def script(handler: Handler) -> None:
        handler.say()
        for text in texts:
            handler.send(chunk(text))
        handler.send(chunk(reason="stop") + (USAGE if usage else "") + DONE)

    return script


def status(code: int, body: str = "", kind: str = "application/json", **headers: str) -> Script:
    return lambda handler: (handler.say(code, kind, **headers).send(body), None)[1]


def raw(*pieces: str | bytes, kind: str = "text/event-stream", pause: float = 0.0) -> Script:
    def script(handler: Handler) -> None:
        handler.say(200, kind)
        for piece in pieces:
            handler.send(piece)
            time.sleep(pause)

    return script


def silent(seconds: float, *before: str, head: bool = True) -> Script:
    """Says nothing for so long, then goes on until whoever listens has gone."""

    def script(handler: Handler) -> None:
        if head:
            handler.say()
        for piece in before:
            handler.send(piece)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not handler.server.hung_up.wait(0.02):
            if _gone(handler):
                handler.server.hung_up.set()

    return script


def _gone(handler: Handler) -> bool:
    """Whether the client has closed its side."""
    handler.connection.setblocking(False)
    try:
        return handler.connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        handler.connection.setblocking(True)
