"""Drawing in processes of their own: a page that hangs, crashes or grows takes nobody along, and no search waits for
pdfium while a page is drawn."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ragapp.errors import LibraryError

MEMORY_MB = 2048
IDLE_S = 60.0  # a process that nobody has asked for so long ends by itself
START_S = 20.0  # for a process to come up, on top of an order's time
Frame = tuple[dict[str, Any], bytes]


class Drawers:
    """At most ``count`` drawing processes, started when they are needed. Safe to share between threads."""

    def __init__(self, count: int, seconds: float, *, memory_mb: int = MEMORY_MB, idle: float = IDLE_S) -> None:
        """An order may take ``seconds``; whoever asks while all are busy waits for one."""
        self._all = [Drawer(seconds, memory_mb, idle) for _ in range(count)]
        # The one that was used last comes first: it is up, and has the document open.
        self._free: queue.LifoQueue[Drawer] = queue.LifoQueue()
        for drawer in reversed(self._all):
            self._free.put(drawer)

    def ask(self, order: Mapping[str, Any]) -> Frame:
        """The answer to an order (drawer.py): what it says, and bytes. Raises LibraryError after ``close``.

        Where the process died or was too slow the answer is a refusal of the kind "damaged".
        """
        drawer = self._free.get()
        try:
            return drawer.ask(order)
        finally:
            self._free.put(drawer)

    def close(self) -> None:
        """End all processes; who waits for one gets LibraryError."""
        for drawer in self._all:
            drawer.close()


class Drawer:
    """One drawing process, started when it is asked, and again after it has ended. For one asker at a time."""

    def __init__(self, seconds: float, memory_mb: int, idle: float) -> None:
        self._seconds, self._memory_mb, self._idle = seconds, memory_mb, idle
        self._process: subprocess.Popen[bytes] | None = None
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._closed = False
        self._turn = threading.Lock()  # of starting and stopping: ``close`` comes from other threads

    def ask(self, order: Mapping[str, Any]) -> Frame:
        """See ``Drawers.ask``."""
        line = json.dumps(order).encode() + b"\n"
        for _ in range(2):
            is_new = self._start()
            self._send(line)
            try:
                frame = self._frames.get(timeout=self._seconds + (START_S if is_new else 0))
            except queue.Empty:
                self._stop()
                return {"refused": "damaged", "reason": f"it takes longer than {self._seconds:g} seconds"}, b""
            if frame is not None:
                return frame
            # It may have ended just before it was asked, because nobody had asked for long.
            if self._stop() or is_new:
                break
        if self._closed:
            raise LibraryError("The library was closed.", "Open it again.")
        return {"refused": "damaged", "reason": "it made the drawing process end"}, b""

    def _start(self) -> bool:
        """Have a process; whether it is a new one."""
        with self._turn:
            if self._closed:
                raise LibraryError("The library was closed.", "Open it again.")
            if self._process is not None:
                return False
            # -P and the parent's own path: the process must import this very package, and nothing that lies in the
            # folder it happens to run in.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ragapp.ingest.drawer", str(self._memory_mb), str(self._idle)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                start_new_session=True,  # Ctrl-C is for the parent alone
            )
            self._frames = queue.SimpleQueue()
            threading.Thread(target=_pump, args=(self._process, self._frames), daemon=True).start()
            return True

    def _send(self, line: bytes) -> None:
        process = self._process
        # Its death, or ``close``, is met where its answer would be.
        if process is not None and process.stdin is not None:
            with suppress(OSError, ValueError):
                process.stdin.write(line)
                process.stdin.flush()

    def _stop(self) -> bool:
        """End the process; whether it had failed, instead of ending because nobody asked."""
        with self._turn:
            process, self._process = self._process, None
            if process is None:
                return False
            failed = process.poll() != 0
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            return failed

    def close(self) -> None:
        """End the process for good, in the middle of an order if need be."""
        self._closed = True
        self._stop()


def _pump(process: subprocess.Popen[bytes], frames: queue.SimpleQueue[Frame | None]) -> None:
    """Move answers from the pipe to the queue; None at its end."""
    out = process.stdout
    assert out is not None
    try:
        while line := out.readline():
            said, size = map(int, line.split())
            head = json.loads(out.read(said))
            body = out.read(size)
            if len(body) != size:
                break
            frames.put((head, body))
    except ValueError:
        pass  # the pipe was closed, or the process died in the middle of an answer
    finally:
        process.wait()  # it has closed its output, so it is at its end or beyond
        frames.put(None)
