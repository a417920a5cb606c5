"""The sides of a benchmark at work: each ingests and is asked in processes of its own, round by round, by turns.

A contender is a stack's script and the Python that runs it; ``harness.py`` does the rest. What goes wrong with one is
written down with its side and does not stop the others.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ragapp.errors import RagappError
from ragapp.eval import peers
from ragapp.eval.benched import Asked, Grown, Hits, Ingested, Side
from ragapp.eval.pagehits import Place, hits
from ragapp.eval.questions import Question
from ragapp.eval.watched import Cancelled, Seen, watch

HARNESS = peers.STACKS / "harness.py"
OURS = "ragapp"
DEPTH = 10  # passages that are asked for
PROCESS_S = 4 * 3600  # a process that takes longer is ended
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "SCARF_NO_ANALYTICS": "true",
    "ANONYMIZED_TELEMETRY": "False",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
}  # no side asks a hub or sends anything
OUR_PACKAGES = ("ragapp", "openvino", "faiss-cpu", "tantivy", "pypdfium2", "tokenizers")


@dataclass(frozen=True, slots=True)
class Contender:
    """A side that can be run: ``python`` is the beginning of its command, ``script`` has its class Stack."""

    name: str
    script: Path
    python: tuple[str, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    is_peer: bool = True


@dataclass(frozen=True, slots=True)
class Arena:
    """What all have in common: the PDFs, the questions, a folder for their work, and who wants to know or to stop."""

    docs: Path
    questions: tuple[Question, ...]
    work: Path
    tell: Callable[[str], None] = lambda _: None
    cancelled: Callable[[], bool] = lambda: False


def ours() -> Contender:
    """ragapp, by the Python that runs this."""
    found = {}
    for name in OUR_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # a checkout that is not installed, or a part that is optional
    return Contender(OURS, peers.STACKS / f"{OURS}.py", (sys.executable, "-P"), found, is_peer=False)


def peer(name: str, cache: Path, tell: Callable[[str], None]) -> Contender:
    """A peer with its environment. Raises as ``peers.prepare`` does."""
    found = peers.prepare(name, cache, tell)
    # Isolated: neither the user's packages nor the folder of the scripts, which are named like the libraries.
    return Contender(name, peers.STACKS / f"{name}.py", (str(found.python), "-I"), found.named)


# -- rounds ----------------------------------------------------------------------------------------------------------


@dataclass
class _Tally:
    """What one side has done so far."""

    ingested: list[Ingested] = field(default_factory=list)
    asked: dict[str, list[Asked]] = field(default_factory=dict)
    hits: dict[str, Hits] = field(default_factory=dict)
    error: str = ""


def compare(contenders: Sequence[Contender], arena: Arena, rounds: int) -> tuple[Side, ...]:
    """Let all do the same, so many times, by turns; in every round another one begins.

    A side that fails is left out of the rounds that follow. When it is stopped, what is there is returned.
    """
    tallies = {contender.name: _Tally() for contender in contenders}
    with suppress(Cancelled):
        for at in range(rounds):
            first = at % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                arena.tell(f"Round {at + 1} of {rounds}: {contender.name}")
                _tried(contender, arena, tallies[contender.name])
    return tuple(_side(contender, tallies[contender.name]) for contender in contenders)


def _tried(contender: Contender, arena: Arena, tally: _Tally) -> None:
    if tally.error:
        return
    try:
        _round(contender, arena, tally)
    except RagappError as error:
        tally.error = error.message


def _side(contender: Contender, tally: _Tally) -> Side:
    asked = {mode: tuple(each) for mode, each in tally.asked.items()}
    return Side(contender.name, contender.versions, tuple(tally.ingested), asked, tally.hits, tally.error)


def _round(contender: Contender, arena: Arena, tally: _Tally) -> None:
    """An ingest, and the questions in every mode; a mode that has an index of its own is given one, unmeasured."""
    measured, loaded = ingest(contender, arena)
    tally.ingested.append(measured)
    for place, mode in enumerate(loaded["modes"] if arena.questions else ()):
        if place and not loaded["one_index"]:
            ingest(contender, arena, mode, count=False)
        asked, found = ask(contender, arena, mode)
        tally.asked.setdefault(mode, []).append(asked)
        if (score := hits(arena.questions, found)) is not None:
            tally.hits[mode] = score


def ingest(
    contender: Contender, arena: Arena, mode: str = "", *, count: bool = True
) -> tuple[Ingested, Mapping[str, Any]]:
    """Make the index anew. Also says what the side said of itself (``modes``, ``one_index``)."""
    index = arena.work / contender.name
    shutil.rmtree(index, ignore_errors=True)
    index.mkdir(parents=True)
    more = ["--tokenizer", str(_tokenizer())] if count else []
    seen = _run(contender, arena, "ingest", mode, ["--docs", str(arena.docs), *more])
    done, counted = seen.events["ingested"], seen.events.get("counted", {})
    measured = Ingested(
        ingest_s=done["seconds"],
        process_s=seen.at["ingested"],
        pages=done["pages"],
        texts=counted.get("texts", 0),
        tokens=counted.get("tokens", 0),
        unread=counted.get("unread", 0),
        cut=counted.get("cut", 0),
        peak_mb=seen.peaks["ingested"],
        index_mb=sum(path.stat().st_size for path in index.rglob("*") if path.is_file()) / 2**20,
        failed=tuple(done["failed"]),
        parts=done["parts"],
    )
    return measured, seen.events["loaded"]


def ask(contender: Contender, arena: Arena, mode: str) -> tuple[Asked, Mapping[str, Sequence[Place]]]:
    """All questions to the index that is there; what was found by the question's id."""
    file = arena.work / "questions.jsonl"
    lines = [json.dumps({"id": one.id, "question": one.text}, ensure_ascii=False) for one in arena.questions]
    file.write_text("\n".join(lines), encoding="utf-8")
    seen = _run(contender, arena, "ask", mode, ["--questions", str(file), "-k", str(DEPTH)])
    done = seen.events["asked"]
    ms = [seconds * 1000 for seconds in done["seconds"]]
    p95 = statistics.quantiles(ms, n=20)[-1] if len(ms) > 1 else ms[0]
    return Asked(seen.at["first"], statistics.median(ms), p95, seen.peaks["asked"]), done["found"]


def _run(contender: Contender, arena: Arena, work: str, mode: str, more: Sequence[str]) -> Seen:
    log = arena.work / f"{contender.name}-{work}.log"
    command = [*contender.python, str(HARNESS), str(contender.script), work, str(arena.work / contender.name), *more]
    environment = environment_of(contender, arena.work / "home")
    return watch(
        [*command, "--mode", mode], environment=environment, log=log, limit_s=PROCESS_S, cancelled=arena.cancelled
    )


def environment_of(contender: Contender, home: Path) -> dict[str, str]:
    """The variables that a side sees: none that sets ragapp or a peer, and for peers a home of their own."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("RAGAPP_", "LANGCHAIN_", "LANGSMITH_"))
    }
    if not contender.is_peer:
        cache = os.environ.get("RAGAPP_CACHE")
        return kept | QUIET | ({"RAGAPP_CACHE": cache} if cache else {})
    home.mkdir(parents=True, exist_ok=True)
    return kept | QUIET | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "HF_HOME": str(home / ".hf")}


def _tokenizer() -> Path:
    from ragapp import minilm

    return minilm.checked_file("tokenizer.json", minilm.TOKENIZER_SHA256)


# -- growth ----------------------------------------------------------------------------------------------------------


def grow(
    contenders: Sequence[Contender], arena_of: Callable[[int], Arena], sizes: Sequence[int], limit_s: float
) -> tuple[Grown, ...]:
    """Once with each number of pages, from small to large; ``arena_of`` makes so many.

    What is expected to take longer than ``limit_s``, as the size before lets one think, is not done, and the result
    says so. When it is stopped, what is there is returned.
    """
    grown: list[Grown] = []
    last: dict[str, Grown] = {}
    with suppress(Cancelled):
        for pages in sorted(set(sizes)):
            reasons = {side.name: _reason(last.get(side.name), pages, limit_s) for side in contenders}
            arena = None if all(reasons.values()) else arena_of(pages)
            for side in contenders:
                reason = reasons[side.name]
                skipped = Grown(side.name, pages, skipped=reason)
                last[side.name] = skipped if reason or arena is None else _grown(side, arena, pages)
                grown.append(last[side.name])
    return tuple(grown)


def _reason(before: Grown | None, pages: int, limit_s: float) -> str:
    """Why a side is not to be run, empty where it is: a process takes its time to begin, and then so much a page."""
    if before is None:
        return ""
    if before.ingested is None:
        return before.skipped
    made = before.ingested
    expected = made.process_s - made.ingest_s + made.ingest_s * pages / before.pages
    return f"about {expected / 60:,.0f} minutes expected" if expected > limit_s else ""


def _grown(contender: Contender, arena: Arena, pages: int) -> Grown:
    arena.tell(f"{pages:,} pages: {contender.name}")
    try:
        measured, loaded = ingest(contender, arena)
        asked, _ = ask(contender, arena, loaded["modes"][0])
    except RagappError as error:
        return Grown(contender.name, pages, skipped=error.message)
    return Grown(contender.name, pages, measured, asked)
