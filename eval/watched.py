"""A process that is measured from outside: when it said what, and how much memory it and its children had.

The process says lines of JSON on standard output, each with an ``event``; what it writes to standard error is kept in a
file for the case that it fails. Memory is the sum of the resident pages of the process and of all below it, looked at
20 times a second where there is /proc (pages that they share count once for each); elsewhere there is none.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragapp.errors import ModelError

EVERY = 0.05  # seconds between two looks at the memory
LOOK = 0.2  # seconds between two looks whether somebody has cancelled


class Cancelled(Exception):
    """The user wants no more; the process is gone."""


@dataclass
class Seen:
    """What a process did. ``events`` holds the members of each line by its event, and ``at`` when it came.

    Times are seconds since the start of the process, ``seconds`` is its end. ``peaks`` is the most memory up to each
    event, in megabytes.
    """

    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def watch(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    limit_s: float,
    cancelled: Callable[[], bool] = lambda: False,
) -> Seen:
    """Run a command to its end. ``log`` takes its standard error.

    Raises ModelError when it fails, says what is no JSON, or takes longer than ``limit_s``, and Cancelled. Whatever
    happens, no process of it is left.
    """
    seen, started = Seen(), time.perf_counter()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, env=dict(environment),
            start_new_session=True,
        )  # fmt: skip
    lines: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        _follow(process, lines, seen, started + limit_s, cancelled)
    finally:
        _end(process)
        reader.join()
        if process.stdout:
            process.stdout.close()
    seen.at = {event: moment - started for event, moment in seen.at.items()}
    seen.seconds = seen.at.pop("")
    if process.returncode:
        raise ModelError(f"The process ended with exit code {process.returncode}: {_last_line(log)}")
    return seen


def _read(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    """Hand every line on with the moment at which it came; at the end an empty one."""
    assert process.stdout
    for line in process.stdout:
        lines.put((time.perf_counter(), line))
    process.wait()
    lines.put((time.perf_counter(), b""))


def _follow(
    process: subprocess.Popen[bytes],
    lines: queue.SimpleQueue[tuple[float, bytes]],
    seen: Seen,
    until: float,
    cancelled: Callable[[], bool],
) -> None:
    peak, looked = 0.0, 0.0
    while True:
        peak = max(peak, memory_mb(process.pid))
        now = time.perf_counter()
        if now > until:
            raise ModelError("The process took too long and was ended.", "A larger limit lets it go on.")
        if now > looked + LOOK:
            looked = now
            if cancelled():
                raise Cancelled
        with suppress(queue.Empty):
            moment, line = lines.get(timeout=EVERY)
            if not line:
                seen.at[""] = moment
                return
            _note(seen, moment, line, peak)


def _note(seen: Seen, moment: float, line: bytes, peak: float) -> None:
    try:
        facts = json.loads(line)
        event = facts.pop("event")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"The process said what is no event: {line[:200]!r}.", "It prints where it should not."
        ) from error
    seen.events[event], seen.at[event] = facts, moment
    seen.peaks[event] = max(peak, float(facts.get("peak_mb", 0)))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started: they are a session of their own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def memory_mb(pid: int) -> float:
    """Resident memory of a process and of all below it; 0 where there is no /proc, or no such process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_bytes().split()
        ]
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20 + sum(map(memory_mb, children))


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it said nothing"
