"""A model hub on loopback, with one model, for tests: it counts what it is asked, and is as slow as it is told."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SHA = "0123456789abcdef0123456789abcdef01234567"
CHUNK = 1000


class Hub:
    """Serves the files of a folder as the model ``org/tiny``. ``delay_s`` passes before every CHUNK bytes."""

    def __init__(self, folder: Path) -> None:
        self.files = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}
        self.delay_s = 0.0
        self.asked: list[str] = []
        self.sent = 0
        self.commit = SHA
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def _handler(hub: Any) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".rstrip())
                path = self.path.partition("?")[0]
                if path == "/api/models/org/tiny":
                    self._json(hub.info())
                elif path.startswith("/org/tiny/resolve/main/") and path.rpartition("/")[2] in hub.files:
                    self._file(hub.files[path.rpartition("/")[2]])
                else:
                    self._missing()

            do_HEAD = do_GET

            def _json(self, value: object) -> None:
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _missing(self) -> None:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _file(self, body: bytes) -> None:
                wanted = self.headers.get("Range", "")
                start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
                self.send_response(206 if wanted else 200)
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
                self.send_header("X-Repo-Commit", hub.commit)
                self.send_header("Content-Length", str(len(body) - start))
                if wanted:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                self.end_headers()
                if self.command == "HEAD":
                    return
                for at in range(start, len(body), CHUNK):
                    time.sleep(hub.delay_s)
                    try:
                        self.wfile.write(body[at : at + CHUNK])
                    except OSError:  # whoever fetches it has stopped
                        return
                    hub.sent += len(body[at : at + CHUNK])

        return Handler

    def info(self) -> dict[str, object]:
        files = [{"rfilename": name, "size": len(body)} for name, body in self.files.items()]
        return {"id": "org/tiny", "sha": SHA, "siblings": files, "tags": [], "private": False}


@contextmanager
def serving(folder: Path, cache: Path) -> Iterator[Hub]:
    """A hub that the hub's library takes for the real one, with a cache of its own."""
    from huggingface_hub import constants

    hub = Hub(folder)
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
        try:
            yield hub
        finally:
            hub.server.shutdown()
            hub.server.server_close()
            thread.join(5)
