"""The reading process: `python -m ragapp.ingest.worker`. One file a line in, frames out, all JSON.

In: ``{"path", "passwords", "have"}``, the last with pages that an interrupted run had recognised. Out, each as a length
line and a body: ``{"stage", "page", "of"}`` after every page, with ``"draft"`` when OCR made something worth keeping,
then ``{"document"}`` or ``{"error", "hint", "needs_password"}``. It ends when its input ends, in the middle of a file
if need be, so it never outlives who started it.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ragapp.errors import RagappError
from ragapp.ingest import ocr
from ragapp.ingest.engines import Engine, find_engine
from ragapp.ingest.limits import Limits
from ragapp.ingest.rapid import Rapid
from ragapp.ingest.readers import reader_for
from ragapp.types import Document

RAPID_MB = 3072  # what rapidocr's models need of address space


def main() -> None:
    """Serve until standard input ends. The first argument is the settings as JSON (reading.Settings)."""
    out = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not fall into the frames.
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    if sys.platform != "win32":
        os.nice(5)  # nobody waits for a page as for an answer, and the embedder is to be kept busy first
    settings = json.loads(sys.argv[1])
    _limit_memory(settings["memory_mb"])
    job = _Job(out, settings)
    for order in _orders():
        try:
            _send(out, {"document": asdict(job.read(order))})
        except RagappError as error:
            locked = getattr(error, "needs_password", False)
            _send(out, {"error": error.message, "hint": error.hint, "needs_password": locked})
        except MemoryError:
            _send(out, {"error": f"{Path(order['path']).name} needs more memory than it may take.",
                        "hint": "Raise [ingest] memory_mb."})  # fmt: skip
        except RecursionError:
            _send(out, {"error": f"{Path(order['path']).name} is nested without end.", "hint": ""})


class _Job:
    """Reads files with the settings of this process."""

    def __init__(self, out: BinaryIO, settings: dict[str, Any]) -> None:
        self._out = out
        self._settings = settings

    def read(self, order: dict[str, Any]) -> Document:
        path, passwords = Path(order["path"]), order["passwords"]
        limits = Limits(**self._settings["limits"])
        reader = reader_for(path, self._on_page, limits, pdf=self._settings["pdf"])
        document = reader.read_any(path, passwords)
        engine = self._engine() if document.pages_unread else None
        if engine is None:
            return document
        have = ocr.from_drafts({int(page): base64.b64decode(body) for page, body in order["have"].items()}, engine.name)
        # Said before the first page is done, so that whoever waits knows how long a page may take now.
        _send(self._out, {"stage": "ocr", "page": 0, "of": len(document.pages_unread)})
        return ocr.complete(
            document, path, passwords, engine,
            have=have, on_page=partial(self._on_ocr_page, engine.name), workers=self._settings["ocr_workers"],
        )  # fmt: skip

    def _engine(self) -> Engine | None:
        """An engine for one file: one that was stopped stays so."""
        given = self._settings
        engine = find_engine(given["ocr"], given["ocr_languages"], given["ocr_seconds_per_page"])
        if isinstance(engine, Rapid):
            _limit_memory(max(given["memory_mb"], RAPID_MB))
        return engine

    def _on_page(self, done: int, of: int) -> None:
        _send(self._out, {"stage": "read", "page": done, "of": of})

    def _on_ocr_page(self, engine: str, number: int, page: ocr.OcrPage, done: int, of: int) -> None:
        frame: dict[str, Any] = {"stage": "ocr", "page": done, "of": of}
        if page.is_sure:  # another try may do better
            frame["draft"] = [number, base64.b64encode(ocr.to_draft(page, engine)).decode("ascii")]
        _send(self._out, frame)


def _orders() -> Iterator[dict[str, Any]]:
    """The lines of standard input as they come; their end ends this process at once, whatever it is doing."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield json.loads(waiting.get())


def _send(out: BinaryIO, frame: dict[str, Any]) -> None:
    body = json.dumps(frame, ensure_ascii=True).encode()
    out.write(b"%d\n" % len(body) + body)
    out.flush()


def _limit_memory(megabytes: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    with suppress(ValueError, OSError):
        # A system that refuses the limit (macOS does for address space) still has the time limit.
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, max(megabytes, RAPID_MB) << 20))


if __name__ == "__main__":
    main()
