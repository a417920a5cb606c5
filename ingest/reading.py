"""Reading in a process of its own: what a broken file does to it happens to that file alone."""

from __future__ import annotations

import base64
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.limits import Limits
from ragapp.types import Document, Heading, Page, Table

START_SECONDS = 30.0  # for the process to come up, on top of a page's time
BYTES_PER_PAGE = 50_000  # what a page may weigh in files that are read in one go, to tell how long that may take


@dataclass(frozen=True, slots=True)
class Settings:
    """How files are read. A page may take ``seconds_per_page``, with OCR ``ocr_seconds_per_page``; the process may take
    ``memory_mb``. ``ocr`` names an engine ("auto", "tesseract", "rapidocr", "off"), ``pdf`` the reader of PDFs."""

    seconds_per_page: float = 10.0
    memory_mb: int = 2048
    limits: Limits = field(default_factory=Limits)
    pdf: str = "pdfium"
    ocr: str = "auto"
    ocr_languages: str = "auto"
    ocr_seconds_per_page: float = 60.0
    ocr_workers: int = 2


class ReadingProcess:
    """A worker that reads one file at a time, started on first use and again after it died or hung.

    Not shared between threads, but ``close`` may be called from another.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
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
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ragapp.ingest.worker", json.dumps(asdict(self._settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            # Ctrl-C is for the parent alone, which ends its workers in good order.
            start_new_session=True,
        )
        self._process, self._is_up, self._frames = process, False, queue.SimpleQueue()
        threading.Thread(target=_pump, args=(process, self._frames), daemon=True).start()

    def read(
        self,
        path: Path,
        passwords: Sequence[str],
        on_page: Callable[[str, int, int], None],
        have: Mapping[int, bytes] | None = None,
        on_draft: Callable[[int, bytes], None] = lambda number, body: None,
    ) -> Document:
        """The document in a file. Raises ReadError, also when the process died or was too slow.

        ``on_page(stage, done, total)`` follows it. ``on_draft(number, body)`` is given every page that OCR has read;
        handed back as ``have`` after an interruption, such pages are not read again.
        """
        if not self._closed:
            self.start()
        process = self._process
        if self._closed or process is None:  # perhaps meanwhile
            self.stop()
            raise ReadError(f"{path.name} was not read: the ingest was stopped.")
        assert process.stdin is not None
        kept = {number: base64.b64encode(body).decode("ascii") for number, body in (have or {}).items()}
        order = json.dumps({"path": str(path), "passwords": list(passwords), "have": kept})
        with suppress(BrokenPipeError, ValueError):  # its death, or ``close``, is met where its last frame would be
            process.stdin.write(order.encode() + b"\n")
            process.stdin.flush()
        patience = self._first_patience(path)
        while True:
            frame = self._next_frame(process, path, patience)
            if "document" in frame:
                return _document(frame["document"])
            if "error" in frame:
                raise ReadError(frame["error"], frame["hint"], needs_password=frame.get("needs_password", False))
            is_ocr = frame["stage"] == "ocr"
            # The engine keeps the limit of OCR by itself, at the cost of one page; this one would cost the file.
            patience = 2 * self._settings.ocr_seconds_per_page if is_ocr else self._settings.seconds_per_page
            if "draft" in frame:
                number, body = frame["draft"]
                on_draft(number, base64.b64decode(body))
            on_page(frame["stage"], frame["page"], frame["of"])

    def _first_patience(self, path: Path) -> float:
        """Seconds until the first word about a file: other kinds than PDF are parsed as a whole before it."""
        pages = 1.0
        if path.suffix.lower() != ".pdf":
            with suppress(OSError):
                pages += path.stat().st_size / BYTES_PER_PAGE
        return self._settings.seconds_per_page * pages + (0 if self._is_up else START_SECONDS)

    def _next_frame(self, process: subprocess.Popen[bytes], path: Path, patience: float) -> dict[str, Any]:
        try:
            frame = self._frames.get(timeout=patience)
        except queue.Empty:
            self.stop()
            raise ReadError(
                f"{path.name} was given up: one page took longer than {patience:g} seconds.",
                "Raise [ingest] seconds_per_page, or ocr_seconds_per_page for scans.",
            ) from None
        if frame is None:
            code = process.wait()
            self.stop()
            raise ReadError(
                f"{path.name} made the reading process end (code {code}); it may be damaged, or need more than "
                f"{self._settings.memory_mb} MB.",
                "Raise [ingest] memory_mb, or open the file in a viewer and save it anew.",
            )
        self._is_up = True
        return frame

    def close(self) -> None:
        """Stop for good: whoever reads, or is about to, gets a ReadError."""
        self._closed = True
        self.stop()

    def stop(self) -> None:
        """End the process, in the middle of a file if need be."""
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    # Closing a pipe whose other end has died may raise; nothing is lost by that.
                    with suppress(OSError):
                        pipe.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process with what it has started: an OCR program that is at a page would go on to its end."""
    # Its group is its own (a new session). Once it has been waited for, the number may be somebody else's.
    if hasattr(os, "killpg") and process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


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
