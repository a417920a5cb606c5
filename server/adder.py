"""What fills a library for a server: a process of its own (clerk.py). Searches and answers do not wait for an ingest
then, and what ends one, a crash or the kernel for want of memory, does not end the server."""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ragapp.config import Config
from ragapp.errors import (
    ConfigError,
    EmbedderChanged,
    LibraryError,
    LibraryLocked,
    LibraryNewer,
    ModelError,
    NotFound,
    RagappError,
)
from ragapp.ingest.report import Failure, Notice, Outcome, Progress, Report
from ragapp.rag import Rag

log = logging.getLogger("ragapp.server")

IDLE_S = 30.0  # without an order, after which the process ends and gives its memory back
LOOK_S = 0.1  # between two looks whether an ingest is to be stopped
START_S = 120.0  # for the process to open a library, whose embedder may be a large one
END_S = 5.0  # for a process that was killed to be gone
STOP_S = 5.0  # for the process to stop in good order before it is killed, which harms nothing
ENDS = frozenset({"report", "done", "error"})  # what the last line of an order says
KINDS: Mapping[str, type[RagappError]] = {
    kind.__name__: kind
    for kind in (ConfigError, LibraryError, EmbedderChanged, LibraryLocked, LibraryNewer, NotFound, ModelError)
}
Said = dict[str, Any]


class Died(RagappError):
    """The process ended in the middle of an order."""

    def __init__(self) -> None:
        super().__init__("The process that reads documents ended.", "Try again; if it ends again, look for memory.")


class _Unfit(Exception):
    """Another process cannot do it: it does not know what this one knows."""


class Adder:
    """``add`` and ``publish_caches`` of a Rag, for one thread at a time, in a process that is started when needed.

    In this very process where ``within`` says so, and where there can be no other: a library's settings may name parts
    that only this one knows.
    """

    def __init__(self, rag: Rag, *, within: bool, idle: float = IDLE_S) -> None:
        self._rag, self._within, self._idle = rag, within, idle
        self._hand: _Hand | None = None
        self._turn = threading.Lock()  # of having a process: all but ``add`` and ``publish_caches`` come from anywhere
        self._busy = False
        self._resting = False  # whether the process is to end after its order
        self._closed = False

    def prepare(self) -> None:
        """Have the process up soon, as there will be something to add."""
        with suppress(Died, OSError):
            self._have()

    def rest(self) -> None:
        """End the process, after its order if it has one: it may hold what is to be forgotten."""
        with self._turn:
            self._resting = True
            if not self._busy:
                self._end()

    def _end(self) -> None:
        self._resting = False
        hand, self._hand = self._hand, None
        if hand:
            hand.end()

    def add(
        self,
        paths: Iterable[str | Path],
        *,
        passwords: Sequence[str] = (),
        progress: Callable[[Progress], None] = lambda _: None,
        below: str | Path | None = None,
        on_file: Callable[[Outcome], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Report:
        """As ``Rag.add`` without ``publish``; ``progress`` and ``on_file`` are called in the thread that asks.

        Raises Died where the process ends before the work is done: what was through by then is in the library.
        """
        named = [str(path) for path in paths]

        def heard(said: Said) -> None:
            if "progress" in said:
                progress(Progress(**said["progress"]))
            elif "file" in said:
                on_file(_outcome(said["file"]))

        order = {"do": "add", "paths": named, "passwords": list(passwords), "below": below and str(below)}
        ended = self._ask(order, heard, cancelled)
        if ended is not None:
            return _report(ended["report"])
        return self._rag.add(
            named, passwords=passwords, progress=progress, below=below, on_file=on_file, cancelled=cancelled,
            publish=False,
        )  # fmt: skip

    def publish_caches(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """As ``Rag.publish_caches``; ends with what ``cancelled`` raises. Raises Died."""
        if self._ask({"do": "publish"}, lambda _: None, cancelled) is None:
            self._rag.publish_caches()

    def close(self) -> None:
        """End the process for good."""
        with self._turn:
            self._closed = True
            hand, self._hand = self._hand, None
        if hand:
            hand.end()

    def _ask(self, order: Said, heard: Callable[[Said], None], cancelled: Callable[[], bool]) -> Said | None:
        """The last line about an order, all before it given to ``heard``; None where there can be no process."""
        with self._turn:
            self._busy = True
        try:
            # Once more where it has not begun: it may have ended just then, because nobody had asked for long.
            for _ in range(2):
                try:
                    hand = self._have()
                except OSError as why:  # out of processes or of memory, perhaps only just now
                    self._fall_back(str(why), for_good=False)
                    return None
                if hand is None:
                    return None
                if not hand.is_open and not hand.open(cancelled):
                    continue
                said = hand.ask(order, heard, cancelled)
                if said is not None:
                    return said
                if hand.has_begun:
                    break
            raise Died
        except _Unfit as why:
            self._fall_back(str(why), for_good=True)
            return None
        finally:
            with self._turn:
                self._busy = False
                if self._resting:
                    self._end()

    def _have(self) -> _Hand | None:
        """A process that is alive; None where there can be none. Raises OSError, and Died after ``close``."""
        with self._turn:
            if self._closed:
                raise Died
            if self._within or (self._hand and self._hand.is_alive):
                return self._hand
            if self._hand:
                self._hand.end()
                self._hand = None
            self._hand = _Hand(self._rag, self._idle)
            return self._hand

    def _fall_back(self, why: str, *, for_good: bool) -> None:
        with self._turn:
            self._within = for_good
            hand, self._hand = self._hand, None
        if hand:
            hand.end()
        log.warning("Documents are read by the server itself, as there is no process for it: %s", why)


class _Hand:
    """One process."""

    def __init__(self, rag: Rag, idle: float) -> None:
        """Start it. Raises OSError."""
        self.is_open = False  # whether it has the library open
        self.has_begun = False  # whether it has said anything of the latest order
        self._is_gone = False  # whether all that it said has been heard
        self._number = 0
        self._lines: queue.SimpleQueue[Said | None] = queue.SimpleQueue()
        self._first = {
            "library": str(rag.folder.absolute()),
            "config": _settings(rag.config),
            "embedder": rag.embedder.fingerprint,
        }
        # -P and the parent's own path: the process must import this very package, and nothing that lies in the folder
        # it happens to run in.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ragapp.server.clerk", str(idle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            # Ctrl-C is for the parent alone. Not a session of its own: Linux shares the cores among sessions first,
            # whatever their processes' priorities.
            process_group=0 if os.name == "posix" else None,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._listener = threading.Thread(target=_pump, args=(self._process, self._lines), daemon=True)
        self._listener.start()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def open(self, cancelled: Callable[[], bool]) -> bool:
        """Let it open the library; False when it had ended by itself, as nobody had asked for long.

        Raises _Unfit, Died, RagappError, and what ``cancelled`` raises; then it ends.
        """
        try:
            try:
                self._send(self._first)
            except (TypeError, ValueError) as error:  # an object among the settings
                raise _Unfit(str(error)) from error
            self.is_open = self._hears_of_opening(cancelled)
        finally:
            if not self.is_open:
                self.end()
        return self.is_open

    def _hears_of_opening(self, cancelled: Callable[[], bool]) -> bool:
        said = next(self._said(cancelled, START_S), None)
        if said is None:
            # Too slow, or ended by a signal (below 0): that has nothing to do with what it was told.
            code = self._process.wait() if self._is_gone else -1
            if code < 0:
                raise Died
            if code == 0:
                return False
            raise _Unfit(f"It ended with exit code {code}.")
        if said.get("kind") == ConfigError.__name__:
            raise _Unfit(said["error"])
        if "error" in said:
            raise _error(said)
        return True

    def ask(self, order: Said, heard: Callable[[Said], None], cancelled: Callable[[], bool]) -> Said | None:
        """The last line about an order, all before it given to ``heard``; None when it ends before that.

        Raises the error that the last line tells, and what ``heard`` and ``cancelled`` raise; then the process ends.
        """
        self._number += 1
        self.has_begun, ended = False, False
        self._send({**order, "number": self._number})
        try:
            for said in self._said(cancelled):
                self.has_begun, ended = True, bool(ENDS & said.keys())
                if not ended:
                    heard(said)
                elif "error" in said:
                    raise _error(said)
                else:
                    return said
        finally:
            if not ended:
                self._halt()
        return None

    def end(self) -> None:
        """Kill it, which harms nothing; what it has said stays to be heard."""
        self._process.kill()
        self._listener.join(END_S)
        # One that hangs in the kernel, at a disk that is away, is left to itself, and to the thread that reads from it:
        # to close that pipe would be to wait for the thread.
        pipes = (self._process.stdin, None if self._listener.is_alive() else self._process.stdout)
        for pipe in pipes:
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _said(self, cancelled: Callable[[], bool], seconds: float = math.inf) -> Iterator[Said]:
        """What the process says until it ends, its log passed on; it is told to stop once ``cancelled()``."""
        stopping, end = False, time.monotonic() + seconds
        while time.monotonic() < end:
            if not stopping and cancelled():
                stopping = True
                self._stop()
            try:
                said = self._lines.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if said is None:
                self._is_gone = True
                return
            if "log" in said:
                told = said["log"]
                logging.getLogger(told["name"]).log(told["level"], "%s", told["message"])
            else:
                yield said

    def _stop(self) -> None:
        self._send({"do": "stop", "number": self._number})

    def _halt(self) -> None:
        """End it; it may first stop in good order."""
        self._stop()
        end = time.monotonic() + (0 if self._is_gone else STOP_S)
        with suppress(queue.Empty):
            while (said := self._lines.get(timeout=max(0.0, end - time.monotonic()))) and not ENDS & said.keys():
                pass
        self.end()

    def _send(self, order: Said) -> None:
        line = json.dumps(order) + "\n"
        # Its death is met where its answer would be.
        with suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(line)
            self._process.stdin.flush()


def _pump(process: subprocess.Popen[str], lines: queue.SimpleQueue[Said | None]) -> None:
    """Move lines from the pipe to the queue; None at its end."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.put(json.loads(line))
    except ValueError:
        pass  # the pipe was closed, or the process died in the middle of a line
    finally:
        process.wait()  # it has closed its output, so it is at its end or beyond
        lines.put(None)


def _settings(config: Config) -> Said:
    """What fills a library of the settings, as it was set: what was not set says something too."""
    tables = config.model_dump(include={"embedder", "chunker", "search", "ingest"}, exclude_unset=True)
    return {**tables, "sources": {key: source for key, source in config.sources.items() if key.split(".")[0] in tables}}


def _outcome(said: Mapping[str, Any]) -> Outcome:
    failure = said["failure"]
    return Outcome(**{**said, "failure": Failure(**failure) if failure else None})


def _report(said: Mapping[str, Any]) -> Report:
    failed, warnings = [Failure(**each) for each in said["failed"]], [Notice(**each) for each in said["warnings"]]
    return Report(**{**said, "failed": failed, "warnings": warnings})


def _error(said: Mapping[str, str]) -> RagappError:
    return KINDS.get(said["kind"], RagappError)(said["error"], said["hint"])
