"""The ingesting process: `python -m ragapp.server.clerk`. Orders a line in, what comes of them a line out, all JSON.

In: ``{"library", "config", "embedder"}``, then orders with a ``number``: ``{"do": "add", "paths", "passwords",
"below"}`` and ``{"do": "publish"}``; ``{"do": "stop"}`` stops the order of its number in good order. Out, for each:
``{"file"}``, ``{"progress"}`` (report.py) and ``{"log"}`` as they come, then ``{"report"}``, ``{"done"}`` or
``{"error", "hint", "kind"}``; for the first line ``{"ready"}`` or an error. It ends when its input ends, in the middle
of a file if need be, so it never outlives who started it, and when there has been no order for a while.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from ragapp.config import Config
from ragapp.errors import ConfigError, RagappError
from ragapp.ingest.report import Progress
from ragapp.parts import chunker_of
from ragapp.rag import Rag
from ragapp.server import allocator

NICE = 10  # whoever searches or reads an answer goes before
PAUSE_S = 0.1  # between two words about a file that is at the same stage
OOM_SCORE = 300  # where memory runs out, the kernel ends this process and not the server


def main() -> None:
    """Serve until standard input ends. The argument is the seconds without an order after which to end."""
    clerk = Clerk(os.fdopen(os.dup(1), "w", encoding="ascii"), float(sys.argv[1]))
    # Whatever a library prints must not fall into the lines.
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    allocator.few_heaps()
    _be_modest()
    logging.basicConfig(level=logging.WARNING, handlers=[_Told(clerk)])
    threading.Thread(target=clerk.listen, args=(sys.stdin,), daemon=True).start()
    try:
        clerk.work()
    finally:
        os._exit(0)  # whatever threads a library has left: an order that comes now is not for this process any more


class Clerk:
    """Does what it is told, one order after the other."""

    def __init__(self, out: TextIO, idle: float) -> None:
        self._out, self._idle = out, idle
        self._turn = threading.Lock()  # of the output: several threads tell of files
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._stopped = 0  # the number of the order that is not to go on

    def listen(self, lines: TextIO) -> None:
        """Take in orders; at the end of the input the process ends as it is."""
        for line in lines:
            order = json.loads(line)
            if order.get("do") == "stop":
                self._stopped = order["number"]
            else:
                self._orders.put(order)
        os._exit(0)

    def work(self) -> None:
        """Open the library that the first line names, and carry out orders until there are none for long."""
        try:
            rag = _opened(self._orders.get(timeout=self._idle))
        except queue.Empty:
            return
        except RagappError as error:
            self._say_error(error)
            return
        except Exception as error:  # noqa: BLE001 - a part of the user's own may raise anything
            self._say_error(ConfigError(f"{type(error).__name__}: {error}"))
            return
        with rag:
            self.say({"ready": True})
            while True:
                try:
                    order = self._orders.get(timeout=self._idle)
                except queue.Empty:
                    return
                self._carry_out(rag, order)

    def say(self, said: Mapping[str, object]) -> None:
        """Send a line; nobody may be there any more to read it."""
        with self._turn, suppress(OSError, ValueError):
            self._out.write(json.dumps(said) + "\n")
            self._out.flush()

    def _carry_out(self, rag: Rag, order: Mapping[str, Any]) -> None:
        try:
            if order["do"] == "publish":
                rag.publish_caches()
                self.say({"done": True})
                return
            report = rag.add(
                order["paths"],
                passwords=order["passwords"],
                progress=_NowAndThen(lambda progress: self.say({"progress": asdict(progress)})),
                below=order["below"],
                on_file=lambda outcome: self.say({"file": asdict(outcome)}),
                cancelled=lambda: self._stopped == order["number"],
                publish=False,
            )
            self.say({"report": asdict(report)})
        except RagappError as error:
            self._say_error(error)
        except Exception:  # a bug; what is in the library is whole, as after a kill
            logging.getLogger("ragapp.server").exception("An ingest failed.")
            self._say_error(RagappError("Internal error.", "The server's log has the details."))

    def _say_error(self, error: RagappError) -> None:
        self.say({"error": error.message, "hint": error.hint, "kind": type(error).__name__})


class _Told(logging.Handler):
    """Hands records on to the server, whose log has a form of its own."""

    def __init__(self, clerk: Clerk) -> None:
        super().__init__()
        self._clerk = clerk

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._clerk.say({"log": {"name": record.name, "level": record.levelno, "message": self.format(record)}})
        except Exception:  # noqa: BLE001 - whoever logs does not suffer from it, as with every handler
            self.handleError(record)


class _NowAndThen:
    """Passes progress on, but of one stage of one file no more than the server can want to hear."""

    def __init__(self, pass_on: Callable[[Progress], None]) -> None:
        self._pass_on = pass_on
        self._last: tuple[object, float] = None, 0.0

    def __call__(self, progress: Progress) -> None:
        about, now = (progress.file, progress.stage, progress.files_done), time.monotonic()
        if about != self._last[0] or progress.pages == progress.of_pages or now - self._last[1] >= PAUSE_S:
            self._last = about, now
            self._pass_on(progress)


def _opened(first: Mapping[str, Any]) -> Rag:
    """The library, with the embedder that the server has. Raises RagappError, and what the user's own parts raise."""
    rag = Rag.open(first["library"], config=Config.model_validate(first["config"]), create=False)
    if rag.embedder.fingerprint != first["embedder"]:
        rag.close()
        raise ConfigError("Another process makes another embedder of the settings.")
    chunker_of(rag.config, rag.embedder)  # where it knows none of that name, it is better to hear it now
    return rag


def _be_modest() -> None:
    # It ends with its input, when the server has done what it wants to do before its end. With handlers, as reading
    # processes would inherit it if signals were ignored.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: None)
    if sys.platform != "win32":
        with suppress(OSError):
            os.nice(NICE)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


if __name__ == "__main__":
    main()
