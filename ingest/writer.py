"""A thread that writes while others compute."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Self


class Writer:
    """A function called by one thread of its own, in order, with at most ``ahead`` calls waiting.

    An error of the function is raised by the next ``put``, or at the end of the block; calls after it are dropped. A
    block that is left by an error drops what waits, and lets the call that runs come to its end.
    """

    def __init__(self, ahead: int = 4) -> None:
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(ahead)
        self._error: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._work, name="ragapp-write", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
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
        self._calls.put(call)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self._dropping or self._error is not None:
                continue
            try:
                call()
            except BaseException as error:  # noqa: BLE001  carried to the thread that puts, which raises it
                self._error = error
