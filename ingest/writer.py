"""A thread that writes while others compute."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self


def begin(thread: threading.Thread) -> None:
    """Start a thread. Ctrl-C in the middle of it is a KeyboardInterrupt, and nothing that comes of it."""
    try:
        thread.start()
    except RuntimeError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def finish(thread: threading.Thread) -> None:
    """Wait for a thread's end, if it has begun. One that Ctrl-C kept from beginning ends by itself when it does."""
    with suppress(RuntimeError):
        thread.join()


class Writer:
    """A function called by one thread of its own, in order, with at most ``ahead`` calls waiting.

    An error of the function is raised by the next ``put``, or at the end of the block; calls after it are dropped. A
    block that is left by an error drops what waits, and lets the call that runs come to its end.

    Ctrl-C may fall into any line of the thread that puts. A queue.Queue, which is written in Python, may forget then to
    wake who waits, or keep its lock; a SimpleQueue does as a whole what it does.
    """

    def __init__(self, ahead: int = 4) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # an item for each call that may still wait
        for _ in range(ahead):
            self._room.put(None)
        self._error: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._work, name="ragapp-write", daemon=True)

    def __enter__(self) -> Self:
        try:
            begin(self._thread)
        except BaseException:
            self._calls.put(None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._dropping = kind is not None
        self._calls.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def put(self, call: Callable[[], None]) -> None:
        """Let the thread make this call; waits while too many others wait."""
        self._raise()
        self._room.get()
        self._calls.put(call)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._room.put(None)
            if self._dropping or self._error is not None:
                continue
            try:
                call()
            except BaseException as error:  # noqa: BLE001  carried to the thread that puts, which raises it
                self._error = error
