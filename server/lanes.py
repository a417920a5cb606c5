"""Lanes: threads of its own for a kind of blocking work, so that it never waits behind another kind."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from starlette.types import Receive

from ragapp.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_RETRY_S = 600


class Lane:
    """``threads`` jobs at once and ``queue`` that wait. The threads stay: a library opens its database once per thread.

    For one event loop at a time.
    """

    def __init__(self, name: str, threads: int, queue: int) -> None:
        self.name = name
        self.inside = 0
        self._width = threads
        self._most = threads + queue
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"ragapp-{name}")
        self._usual = 0.0  # seconds of a job, the latest ones weighing most

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the job returns, run in a thread with the caller's context. Raises Overloaded, and what it raises.

        A job whose caller is cancelled before its turn is never run.
        """
        if self.inside >= self._most:
            raise Overloaded(
                f"{self.inside} requests for a {self.name} are here already.", "Try again later.", self.retry_after()
            )
        self.inside += 1
        try:
            work = partial(copy_context().run, self._timed, partial(job, *args, **kwargs))
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self.inside -= 1

    async def run_for(self, receive: Receive, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """``run`` for a client whose request is read: None when the client leaves before it is done."""
        work = asyncio.create_task(self.run(job, *args, **kwargs))
        left = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            left.cancel()
            work.cancel()

    def retry_after(self) -> int:
        """Whole seconds after which all that are here now will probably be served."""
        return min(max(1, math.ceil(self.inside * self._usual / self._width)), LONGEST_RETRY_S)

    def close(self) -> None:
        """Begin nothing more; the threads end with what they are at."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _timed(self, job: Callable[[], T]) -> T:
        started = time.monotonic()
        try:
            return job()
        finally:
            self._usual += 0.2 * (time.monotonic() - started - self._usual)


async def _left(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
