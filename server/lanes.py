"""Lanes: threads of its own for a kind of blocking work, so that it never waits behind another kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from ragapp.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """``threads`` jobs at once and ``queue`` that wait. The threads stay: a library opens its database once per thread.

    For one event loop at a time.
    """

    def __init__(self, name: str, threads: int, queue: int) -> None:
        self.name = name
        self._most = threads + queue
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"ragapp-{name}")
        self.inside = 0

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the job returns, run in a thread with the caller's context. Raises Overloaded, and what it raises."""
        if self.inside >= self._most:
            raise Overloaded(f"{self.inside} requests wait for a {self.name} already.", "Try again in a moment.")
        self.inside += 1
        try:
            work = partial(copy_context().run, job, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self.inside -= 1

    def close(self) -> None:
        """Begin nothing more; the threads end with what they are at."""
        self._threads.shutdown(wait=False, cancel_futures=True)
