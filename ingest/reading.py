"""Reading in a process of its own: what a broken file does to it happens to that file alone."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ragapp.errors import ReadError
from ragapp.types import Document, Heading, Page, Table

START_SECONDS = 30.0  # for the process to come up, on top of a page's time


class ReadingProcess:
    """A worker that reads one file at a time, started on first use and again after it died or hung.

    A page may take ``seconds_per_page``; the process may take ``memory_mb``. Not shared between threads.
    """

    def __init__(self, seconds_per_page: float, memory_mb: int) -> None:
        self._seconds = seconds_per_page
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._is_up = False  # whether the process has said anything yet
        self._frames: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the process now, so that it comes up while other things are done."""
        if self._process is not None:
            return
        # -P and the parent's own path: the worker must import this very package, and nothing that lies in the
        # folder it happens to run in.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ragapp.ingest.worker", str(self._memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._is_up = False
        self._frames = queue.SimpleQueue()
        threading.Thread(target=_pump, args=(self._process, self._frames), daemon=True).start()

    def read(self, path: Path, passwords: Sequence[str], on_page: Callable[[int, int], None]) -> Document:
        """The document in a file. Raises ReadError, also when the process died or was too slow."""
        if self._closed:
            raise ReadError(f"{path.name} was not read: the ingest was stopped.")
        self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        order = json.dumps({"path": str(path), "passwords": list(passwords)})
        with suppress(BrokenPipeError):  # its death is met below, where its last frame would be
            process.stdin.write(order.encode() + b"\n")
            process.stdin.flush()
        patience = self._seconds + (0 if self._is_up else START_SECONDS)
        while True:
            try:
                frame = self._frames.get(timeout=patience)
            except queue.Empty:
                self.stop()
                raise ReadError(
                    f"{path.name} was given up: one page took longer than {self._seconds:g} seconds.",
                    "Raise [ingest] seconds_per_page.",
                ) from None
            if frame is None:
                code = process.wait()
                self.stop()
                raise ReadError(
                    f"{path.name} made the reading process end (code {code}); it may be damaged, or need more than "
                    f"{self._memory_mb} MB.",
                    "Raise [ingest] memory_mb, or open the file in a viewer and save it anew.",
                )
            self._is_up = True
            if "document" in frame:
                return _document(frame["document"])
            if "error" in frame:
                raise ReadError(frame["error"], frame["hint"])
            patience = self._seconds
            on_page(frame["page"], frame["of"])

    def close(self) -> None:
        """Stop for good: whoever reads, or is about to, gets a ReadError."""
        self._closed = True
        self.stop()

    def stop(self) -> None:
        """End the process, in the middle of a file if need be."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    # Closing a pipe whose other end has died may raise; nothing is lost by that.
                    with suppress(OSError):
                        pipe.close()


def _pump(process: subprocess.Popen[bytes], frames: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    """Move frames from the pipe to the queue; None at its end."""
    out = process.stdout
    assert out is not None
    try:
        while line := out.readline():
            frames.put(json.loads(out.read(int(line))))
    except ValueError:
        pass  # the pipe was closed, or the process died in the middle of a frame
    finally:
        frames.put(None)


def _document(data: dict[str, Any]) -> Document:
    return Document(
        **{
            **data,
            "pages": tuple(_page(page) for page in data["pages"]),
            "headings": tuple(Heading(**heading) for heading in data["headings"]),
            "tables": tuple(_table(table) for table in data["tables"]),
        }
    )


def _page(data: dict[str, Any]) -> Page:
    runs = data["runs"]
    return Page(
        **{
            **data,
            "runs": None if runs is None else tuple((at, source, length) for at, source, length in runs),
            "words": tuple((start, end, x0, y0, x1, y1) for start, end, x0, y0, x1, y1 in data["words"]),
        }
    )


def _table(data: dict[str, Any]) -> Table:
    rows = tuple((start, end) for start, end in data["rows"])
    return Table(**{**data, "columns": tuple(data["columns"]), "rows": rows})
