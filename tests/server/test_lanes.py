"""Threads of its own for a kind of work."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar

import pytest
from starlette.types import Message

from ragapp.errors import Overloaded
from ragapp.server.lanes import Lane

WHO: ContextVar[str] = ContextVar("who", default="nobody")


def test_who_comes_when_it_is_full_is_refused_and_the_others_are_served() -> None:
    async def run() -> None:
        lane, go = Lane("test", 1, 2), threading.Event()
        jobs = [asyncio.create_task(lane.run(go.wait, 5)) for _ in range(3)]
        await asyncio.sleep(0.02)
        with pytest.raises(Overloaded):
            await lane.run(go.wait, 5)
        go.set()
        assert await asyncio.gather(*jobs) == [True] * 3
        assert await lane.run(lambda: 7) == 7
        assert lane.inside == 0
        lane.close()

    asyncio.run(run())


def test_a_job_is_run_in_the_lanes_thread_with_the_callers_context() -> None:
    async def run() -> tuple[str, str]:
        lane = Lane("test", 1, 0)
        WHO.set("me")
        try:
            return await lane.run(lambda: (threading.current_thread().name, WHO.get()))
        finally:
            lane.close()

    name, who = asyncio.run(run())
    assert name.startswith("ragapp-test")
    assert who == "me"


def test_an_error_leaves_the_place_free_and_a_closed_lane_no_thread() -> None:
    async def run() -> None:
        lane = Lane("test", 1, 0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await lane.run(lambda: 1 / 0)
        lane.close()

    asyncio.run(run())
    for thread in threading.enumerate():
        if thread.name.startswith("ragapp-test"):
            thread.join(2)
            assert not thread.is_alive()


def test_who_is_cancelled_while_it_waits_is_never_run() -> None:
    async def run() -> None:
        lane, go, ran = Lane("test", 1, 1), threading.Event(), list[int]()
        first = asyncio.create_task(lane.run(go.wait, 5))
        second = asyncio.create_task(lane.run(ran.append, 1))
        await asyncio.sleep(0.02)
        second.cancel()
        await asyncio.sleep(0.02)
        assert lane.inside == 1
        go.set()
        await first
        lane.close()
        assert not ran

    asyncio.run(run())


def test_a_client_that_leaves_frees_its_place_at_once_and_is_never_served() -> None:
    async def run() -> None:
        lane, go, leaves, ran = Lane("test", 1, 1), threading.Event(), asyncio.Event(), list[int]()

        async def receive() -> Message:
            await leaves.wait()
            return {"type": "http.disconnect"}

        first = asyncio.create_task(lane.run(go.wait, 5))
        waiting = asyncio.create_task(lane.run_for(receive, ran.append, 1))
        await asyncio.sleep(0.02)
        assert lane.inside == 2
        leaves.set()
        assert await asyncio.wait_for(waiting, 0.2) is None
        await asyncio.sleep(0)
        assert lane.inside == 1
        go.set()
        await first
        lane.close()
        assert not ran

    asyncio.run(run())


def test_a_client_that_stays_gets_what_the_job_returns_or_raises() -> None:
    async def stays() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        lane = Lane("test", 1, 1)
        assert await lane.run_for(stays, lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await lane.run_for(stays, lambda: 1 / 0)
        lane.close()

    asyncio.run(run())


def test_when_to_come_back_is_what_jobs_have_taken() -> None:
    async def run() -> None:
        lane, go = Lane("test", 2, 10), threading.Event()
        for _ in range(20):
            await lane.run(time.sleep, 0.1)
        jobs = [asyncio.create_task(lane.run(go.wait, 5)) for _ in range(12)]
        await asyncio.sleep(0.02)
        assert lane.retry_after() == 1  # twelve, two at once, a tenth of a second each
        lane._usual = 1.0
        with pytest.raises(Overloaded) as caught:
            await lane.run(go.wait, 5)
        assert caught.value.retry_after == 6
        go.set()
        await asyncio.gather(*jobs)
        lane.close()

    asyncio.run(run())
