"""The server under load: `ragapp serve` as a process, a scripted model, and many clients on loopback.

    python -m ragapp.eval.load LIBRARY --seconds 300
    python -m ragapp.eval.load LIBRARY --only overhead

Works on a copy of the library. Prints Markdown tables:

- **search**: p50 and p95 in milliseconds of one client alone, and of ``--clients`` people who search every ``--think``
  seconds on average (exponentially distributed), while ``--streams`` answers are streamed without a pause and one
  ingest runs all the time; errors by status; the server's memory every ten seconds; seats at the end.
- **hang-ups**: ``--leavers`` clients that ask something and break the connection after a random time; what the process
  holds (seats, queue, listeners, threads, files) before and after, and whether an ingest still finds the library free.
- **overhead**: time to the first token over HTTP minus that of the same flow in this process, in turns; tokens per
  second of 50 clients at once whose model says 100 words a second.

The clients take a part of the same machine, so that figures are rather too high than too low.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ragapp.catalog import Catalog
from ragapp.rag import Rag
from ragapp.scripted import ScriptedChat
from ragapp.types import Token

REPLY = " ".join(f"word{number}" for number in range(200)) + " [1]."
WORDS_PER_S = 100
ANSWERS = "answer.threshold=0"  # every question is answered: a refusal streams nothing
SETTLE_S = 8.0  # connections that are kept open for a next request are closed after five
TABLE = Iterable[Sequence[object]]


class Talker(ScriptedChat):
    """A scripted model that never runs out of words and keeps no prompts."""

    def _stream(self, *given: Any, **named: Any) -> Iterator[Any]:
        self.replies.append(REPLY)
        del self.prompts[:-8]
        yield from super()._stream(*given, **named)


def steady() -> Talker:
    """Says 100 words a second."""
    return Talker(replies=[], delay_s=1 / WORDS_PER_S)


def eager() -> Talker:
    """Says all at once."""
    return Talker(replies=[])


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    pid: int

    def memory_mb(self) -> float:
        return int(self._status("VmRSS").split()[0]) / 1024

    def threads(self) -> int:
        return int(self._status("Threads"))

    def files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def _status(self, key: str) -> str:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(f"{key}:"))


@contextmanager
def serving(library: Path, model: str, seats: int, settings: Sequence[str] = ()) -> Iterator[Server]:
    """A server with settings (``table.key=value``); stopped by SIGTERM, which must leave exit code 0."""
    flags = [part for setting in (f"server.seats={seats}", ANSWERS, *settings) for part in ("--set", setting)]
    command = [sys.executable, "-m", "ragapp.cli", "serve", "--library", str(library), "--port", "0", "--llm", model]
    process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True)
    try:
        yield Server(_url(process), process.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        if process.returncode:
            raise SystemExit(f"The server ended with exit code {process.returncode}.")
    finally:
        process.kill()
        process.wait()


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"http://[\d.:]+", line):
            return found.group()
    raise SystemExit("The server did not start.")


@dataclass
class Tally:
    """What clients have seen: times of searches in seconds, and how requests ended."""

    times: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def ms(self) -> tuple[float, float]:
        """Median and 95th percentile."""
        if len(self.times) < 2:
            return 0.0, 0.0
        cuts = statistics.quantiles(self.times, n=100)
        return round(cuts[49] * 1000, 1), round(cuts[94] * 1000, 1)


@asynccontextmanager
async def client(server: Server, connections: int = 1000) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as http:
        while (await http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.1)
        yield http


async def questions(http: httpx.AsyncClient) -> list[str]:
    return (await http.get("/v1/suggestions", params={"n": 8})).json()["questions"] or ["What is this about?"]


def texts(library: Path, most: int = 2000) -> list[str]:
    """Texts to be searched: nine words from anywhere in the library, so that few searches find the same."""
    with closing(Catalog(library)) as catalog:
        chunks = [text.split() for _, _, text in catalog.index_texts()]
    found = [" ".join(words[at : at + 9]) for words in chunks for at in range(0, len(words) - 9, 9)]
    kept = [text for text in found if any(char.isalpha() for char in text)]
    return random.sample(kept, min(most, len(kept)))


async def search(http: httpx.AsyncClient, question: str, tally: Tally) -> None:
    started = time.perf_counter()
    try:
        status = (await http.post("/v1/search", json={"question": question, "k": 10})).status_code
    except httpx.HTTPError as error:
        tally.statuses[type(error).__name__] += 1
        return
    tally.statuses[str(status)] += 1
    if status == 200:
        tally.times.append(time.perf_counter() - started)


async def ask(http: httpx.AsyncClient, question: str, tally: Tally) -> int:
    """Stream an answer to its end; how many tokens it had."""
    tokens = 0
    body = {"question": question}
    try:
        async with http.stream("POST", "/v1/ask", json=body) as response:
            tally.statuses[str(response.status_code)] += 1
            async for piece in response.aiter_raw():
                tokens += piece.count(b"event: token")
                tally.statuses["error event"] += piece.count(b"event: error")
    except httpx.HTTPError as error:
        tally.statuses[type(error).__name__] += 1
    return tokens


# -- the load ------------------------------------------------------------------------------------------------------


@dataclass
class Load:
    """One run; ``end`` is when everybody stops."""

    http: httpx.AsyncClient
    server: Server
    asked: Sequence[str]
    sought: Sequence[str]
    think_s: float
    end: float
    searches: Tally = field(default_factory=Tally)
    answers: Tally = field(default_factory=Tally)
    jobs: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)
    tokens: int = 0

    async def run(self, clients: int, streams: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._searcher())
            for _ in range(streams):
                group.create_task(self._reader())
            group.create_task(self._ingester())
            group.create_task(self._looker())

    def _goes_on(self) -> bool:
        return time.monotonic() < self.end

    async def _searcher(self) -> None:
        while self._goes_on():
            await asyncio.sleep(min(random.expovariate(1 / self.think_s), max(0.0, self.end - time.monotonic())))
            if self._goes_on():
                await search(self.http, random.choice(self.sought), self.searches)

    async def _reader(self) -> None:
        while self._goes_on():
            self.tokens += await ask(self.http, random.choice(self.asked), self.answers)

    async def _ingester(self) -> None:
        number = 0
        while self._goes_on():
            number += 1
            self.jobs[await ingest(self.http, f"load/{number}.txt", self._text(number))] += 1

    def _text(self, number: int) -> bytes:
        """A document of some hundred chunks, like none before it."""
        dice = random.Random(number)
        return ". ".join(f"{dice.choice(self.sought)} {dice.random()}" for _ in range(2000)).encode()

    async def _looker(self) -> None:
        while self._goes_on():
            self.memory.append(self.server.memory_mb())
            await asyncio.sleep(10)


async def ingest(http: httpx.AsyncClient, name: str, text: bytes) -> str:
    """Upload a document and wait for its job's end; the state of the job, or the status of a refusal."""
    response = await http.post("/v1/documents", files={"file": (name, text, "text/plain")})
    if response.status_code != 202:
        return str(response.status_code)
    job = response.json()["job"]
    while job["state"] in ("queued", "running"):
        await asyncio.sleep(0.5)
        job = (await http.get(f"/v1/jobs/{job['id']}")).json()
    return str(job["state"])


async def loaded(server: Server, given: argparse.Namespace) -> None:
    async with client(server) as http:
        asked, sought = await questions(http), texts(given.library)
        idle = Tally()
        for question in random.choices(sought, k=100):
            await search(http, question, idle)
        load = Load(http, server, asked, sought, given.think, time.monotonic() + given.seconds)
        await load.run(given.clients, given.streams)
        await asyncio.sleep(1)
        held = await figures(http)
    (p50, p95), (q50, q95) = idle.ms(), load.searches.ms()
    table(
        f"Search: {given.clients} clients, {given.streams} streams, one ingest, {given.seconds} s",
        ("", "searches", "p50 ms", "p95 ms", "how requests ended"),
        [
            ("one client alone", len(idle.times), p50, p95, _ended(idle.statuses)),
            ("under load", len(load.searches.times), q50, q95, _ended(load.searches.statuses)),
            ("p95 under load / median alone", "", "", round(q95 / max(p50, 1e-9), 1), ""),
            ("answers", sum(load.answers.statuses.values()), "", "", _ended(load.answers.statuses)),
            ("tokens a second", round(load.tokens / given.seconds), "", "", ""),
            ("ingest jobs", sum(load.jobs.values()), "", "", _ended(load.jobs)),
            ("seats taken at the end", held["ragapp_seats_taken"], "", "", f"queue {held['ragapp_queue_length']:g}"),
        ],
    )
    print(f"Memory in MB, every 10 s: {' '.join(f'{mb:.0f}' for mb in load.memory)}\n")  # noqa: T201 - a report


# -- clients that leave --------------------------------------------------------------------------------------------

HELD = ("ragapp_seats_taken", "ragapp_queue_length", "ragapp_listeners", "ragapp_searches")


async def leaving(server: Server, given: argparse.Namespace) -> None:
    async with client(server) as http:
        asked = await questions(http)
        # Threads and connections of the library that are made once and kept are made before it is looked.
        warm = Tally()
        await asyncio.gather(*(ask(http, random.choice(asked), warm) for _ in range(16)))
        await asyncio.gather(*(search(http, random.choice(asked), warm) for _ in range(64)))
        await asyncio.gather(*(http.get("/v1/answerer") for _ in range(64)))
        await ingest(http, "load/before.txt", b"Somebody was here before.")
    before = await _settled(server)
    turns = asyncio.Semaphore(50)
    await asyncio.gather(*(_leave(server, random.choice(asked), turns) for _ in range(given.leavers)))
    after = await _settled(server)
    async with client(server) as http:
        job = await ingest(http, "load/after.txt", f"And after it {random.random()}.".encode())
    rows = [(name, before[name], after[name]) for name in before]
    table(f"{given.leavers} clients that hang up", ("", "before", "after"), [*rows, ("an ingest afterwards", "", job)])


async def _leave(server: Server, question: str, turns: asyncio.Semaphore) -> None:
    """Ask something, read for a random time, and break the connection."""
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/ask", {"json": {"question": question}}),
        ("POST", "/v1/chat/completions", {"json": {"messages": [{"role": "user", "content": question}]}}),
        ("POST", "/v1/search", {"json": {"question": question}}),
        ("GET", "/v1/events", {}),
    ]
    method, path, more = random.choices(kinds, weights=(5, 3, 3, 1))[0]
    async with turns, httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        with suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(random.uniform(0, 1)), http.stream(method, path, **more) as response:
                async for _ in response.aiter_raw():
                    pass


async def _settled(server: Server) -> dict[str, float]:
    await asyncio.sleep(SETTLE_S)
    async with client(server) as http:
        held = await figures(http)
    await asyncio.sleep(SETTLE_S)
    found = {name.removeprefix("ragapp_"): held[name] for name in HELD}
    return {**found, "threads": server.threads(), "files": server.files(), "memory_mb": round(server.memory_mb())}


async def figures(http: httpx.AsyncClient) -> dict[str, float]:
    """The figures of /metrics that have no labels."""
    text = (await http.get("/metrics")).text
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, value in lines}


# -- what HTTP costs -----------------------------------------------------------------------------------------------


async def overhead(library: Path, given: argparse.Namespace) -> None:
    model = f"{__spec__.name}:eager"
    rows: list[Sequence[object]] = []
    settings: dict[str, Any] = {
        setting.partition("=")[0].replace(".", "__"): setting.partition("=")[2] for setting in (ANSWERS, *given.set)
    }
    with (
        serving(library, model, 4, given.set) as server,
        Rag.open(library, chat__model=model, create=False, **settings) as rag,
    ):
        async with client(server) as http:
            asked = random.choices(await questions(http), k=given.rounds)
            rag.warm()
            pairs = [(_within(rag, question), await _over_http(http, question)) for question in asked]
        inside, outside = ([pair[side] * 1000 for pair in pairs[5:]] for side in (0, 1))
        differences = [b - a for a, b in zip(inside, outside, strict=True)]
        rows.append(("first token in this process, ms", round(statistics.median(inside), 1)))
        rows.append(("first token over HTTP, ms", round(statistics.median(outside), 1)))
        rows.append(("difference, ms", round(statistics.median(differences), 1)))
    with serving(library, f"{__spec__.name}:steady", 50, given.set) as server:
        async with client(server) as http:
            speeds = await asyncio.gather(*(_speed(http, random.choice(asked)) for _ in range(50)))
    rows.append(("tokens a second of each of 50 clients, median", round(statistics.median(speeds), 1)))
    rows.append(("of the slowest", round(min(speeds), 1)))
    table(f"Overhead, {given.rounds} questions", ("", ""), rows)


def _within(rag: Rag, question: str) -> float:
    started = time.perf_counter()
    events = rag.stream(question)
    for event in events:
        if isinstance(event, Token) and event.text:
            break
    seconds = time.perf_counter() - started
    events.close()  # type: ignore[attr-defined]  # a generator
    return seconds


async def _over_http(http: httpx.AsyncClient, question: str) -> float:
    started, seconds = time.perf_counter(), 0.0
    body = {"messages": [{"role": "user", "content": question}], "stream": True}
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if not seconds and line.startswith("data: {") and _content(line):
                seconds = time.perf_counter() - started
    return seconds


def _content(line: str) -> str:
    choices = json.loads(line[6:])["choices"]
    return str(choices[0]["delta"].get("content", "")) if choices else ""


async def _speed(http: httpx.AsyncClient, question: str) -> float:
    """Tokens a second between the first and the last of an answer."""
    tokens, first, last = 0, 0.0, 0.0
    body = {"messages": [{"role": "user", "content": question}], "stream": True}
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        async for piece in response.aiter_raw():
            if count := piece.count(b'"delta":{"content":'):
                last = time.perf_counter()
                first = first or last
                tokens += count
    return (tokens - 1) / max(last - first, 1e-9)


# -- the door ------------------------------------------------------------------------------------------------------


def table(title: str, head: Sequence[object], rows: TABLE) -> None:
    lines = [f"**{title}**", "", _row(head), _row(["---"] * len(head)), *map(_row, rows), ""]
    print("\n".join(lines), flush=True)  # noqa: T201 - a report


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _ended(counted: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counted.most_common() if count)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ragapp.eval.load", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("--only", choices=("search", "hang-ups", "overhead"))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument(
        "--think", type=float, default=10.0, help="seconds between two searches of a client, on average"
    )
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--leavers", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--set", action="append", default=[], help="a setting of the server, like reranker.name=keep")
    given = parser.parse_args(arguments)
    random.seed(5)
    with tempfile.TemporaryDirectory(prefix="ragapp-load-") as folder:
        copy = Path(folder) / "library"
        shutil.copytree(given.library, copy)
        if given.only in (None, "search", "hang-ups"):
            with serving(copy, f"{__spec__.name}:steady", given.streams, given.set) as server:
                if given.only != "hang-ups":
                    asyncio.run(loaded(server, given))
                if given.only != "search":
                    asyncio.run(leaving(server, given))
        if given.only in (None, "overhead"):
            asyncio.run(overhead(copy, given))


if __name__ == "__main__":
    main()
