"""ragapp beside the stacks that pip can install, with the same weights, on the same PDFs, in one run.

Each side works in processes of its own, by turns, so that what disturbs the machine disturbs all; ratios are taken
round by round. The peers are built as their own tutorials build them (``ragapp/eval/stacks``), in environments that pip
makes on demand in the cache folder. ragapp runs with its shipped settings. What it cannot tell: how good answers are,
and what an expert would make of a peer.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ragapp import minilm
from ragapp.errors import ConfigError, ModelError, NotFound
from ragapp.eval import contenders, madeup, peers
from ragapp.eval.benched import Bench, Grown
from ragapp.eval.contenders import Arena, Contender
from ragapp.eval.machine import machine
from ragapp.eval.questions import Question
from ragapp.eval.stacks.harness import pdfs
from ragapp.eval.watched import Cancelled, Seen, watch

PEERS = ("langchain", "llamaindex", "haystack", "txtai")
PAGES = 500  # made up where no documents are named
ASKED = 50  # questions about them
LIMIT_S = 900.0
A_DAY = 24 * 3600
STOPPED = "It was stopped before it was through."
MADE_UP = "The pages and questions were made up: they show what size costs, and little of how well pages are found."


def bench(
    docs: Path | None = None,
    *,
    questions: Path | None = None,
    peers: Sequence[str] = PEERS,
    growth: Sequence[int] = (),
    llm: str = "135M",
    rounds: int = 3,
    limit_s: float = LIMIT_S,
    cache: Path | None = None,
    command: str = "ragapp bench",
    progress: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Bench:
    """Measure ragapp and ``peers`` on the PDFs below ``docs``, or on 500 made-up pages, and what the machine allows.

    ``questions`` is a set in any format that ``dataset.load`` reads; without one nothing is asked of documents of one's
    own. ``growth`` are numbers of made-up pages; a size that is expected to take a side longer than ``limit_s`` seconds
    is left out for it. ``llm`` is a folder, "135M" or "1.2B" for random weights of that size, or "none" to leave out
    the Llama path and the roofline. ``cache`` keeps the peers' environments and, while it runs, all work
    (``bench`` in the cache folder if None); making them needs a package index, everything else no network.

    ``progress`` is told in sentences what begins. When ``cancelled()`` turns true it ends within a second and returns
    what was measured until then. What fails with one side is in that side's ``error``. Raises ConfigError, ReadError
    (questions), NotFound (no PDFs).
    """
    cache = cache or minilm.cache_folder() / "bench"
    plan = Plan(tuple(peers), tuple(growth), llm, rounds, limit_s, cache)
    plan.check()
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    asked, notes = _questions(docs, questions)
    with _working(cache) as folder:
        arena = _arena(docs, asked, Path(folder), progress, cancelled)
        blank = Bench(
            command=command,
            started=started,
            seconds=0.0,
            machine=machine(),
            docs="made up" if docs is None else arena.docs.name,
            files=len(pdfs(arena.docs)),
            rounds=rounds,
            questions=len(arena.questions),
            sides=(),
            notes=tuple(notes),
        )
        done = _measured(blank, arena, plan)
    return replace(done, seconds=time.perf_counter() - clock)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured; see ``bench``."""

    peers: tuple[str, ...]
    growth: tuple[int, ...]
    llm: str
    rounds: int
    limit_s: float
    cache: Path

    def check(self) -> None:
        """Raise ConfigError for what cannot be, before anything is installed."""
        for name in self.peers:
            peers.check(name)
        if len(set(self.peers)) < len(self.peers):
            raise ConfigError("A peer is named twice.", "Name each once.")
        if self.rounds < 1:
            raise ConfigError(f"{self.rounds} rounds measure nothing.", "Name at least 1.")
        if self.limit_s <= 0:
            raise ConfigError(f"A limit of {self.limit_s} seconds lets nothing run.", "Name more.")
        for pages in self.growth:
            madeup.check(pages)
        if self.llm not in _sizes() and not Path(self.llm).expanduser().is_dir():
            raise ConfigError(f"There is no model {self.llm!r}.", f"Name a folder, or one of {', '.join(_sizes())}.")


def _sizes() -> tuple[str, ...]:
    from ragapp.eval.decoding import SIZES

    return (*SIZES, "none")


def _working(cache: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for indexes on the disk of the cache: a temporary one of the system's may be memory."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        return tempfile.TemporaryDirectory(prefix=".work-", dir=cache, ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigError(
            f"{cache} cannot be written: {error.strerror}.", "Let RAGAPP_CACHE name a folder that can be written."
        ) from error


def _sweep(cache: Path) -> None:
    """Remove what killed runs left behind; a day old, as nothing that still runs is."""
    for left in cache.glob(".*"):
        if left.is_dir() and time.time() - left.stat().st_mtime > A_DAY:
            shutil.rmtree(left, ignore_errors=True)


def _arena(
    docs: Path | None, asked: Sequence[Question], folder: Path, tell: Callable[[str], None], stop: Callable[[], bool]
) -> Arena:
    if docs is None:
        return _made_up(PAGES, folder, tell, stop)
    docs = docs.expanduser().resolve()
    if not docs.is_dir():
        raise NotFound(f"{docs} is not a folder.", "Name a folder that holds PDFs.")
    if not pdfs(docs):
        raise NotFound(f"There is no PDF below {docs}.", "The peers read PDFs; name a folder that holds some.")
    return Arena(docs, tuple(asked), folder, tell, stop)


def _made_up(pages: int, folder: Path, tell: Callable[[str], None], stop: Callable[[], bool]) -> Arena:
    docs = folder / "pdfs"
    shutil.rmtree(docs, ignore_errors=True)
    madeup.write(docs, pages)
    return Arena(docs, madeup.questions(pages, ASKED), folder, tell, stop)


def _questions(docs: Path | None, file: Path | None) -> tuple[tuple[Question, ...], list[str]]:
    """What can be asked of all documents at once and needs no conversation before it, and sentences about the rest."""
    if docs is None:
        if file is not None:
            raise ConfigError("There are questions, and no documents that they belong to.", "Name a folder of PDFs.")
        return (), [MADE_UP]
    if file is None:
        return (), ["Nothing was asked: no questions were named."]
    from ragapp.eval.dataset import load

    dataset = load(file.expanduser())
    kept = tuple(one for one in dataset.questions if not one.where and not one.history)
    left, count = len(dataset.questions) - len(kept), len(dataset.questions)
    note = f"{left} of {count} questions lean on a conversation, or on named documents, and were left out."
    if not kept:
        raise ConfigError(f"No question of {file} can be asked: {note}", "Name a set of questions that stand alone.")
    return kept, [*dataset.warnings, *([note] if left else [])]


# -- what is measured ------------------------------------------------------------------------------------------------


def _measured(bench: Bench, arena: Arena, plan: Plan) -> Bench:
    """One part after the other; what is there stays when the user stops it."""
    try:
        there, missing = _present(plan, arena)
        bench = replace(bench, notes=(*bench.notes, *missing))
        _settle(arena)
        bench = replace(bench, sides=contenders.compare(there, arena, plan.rounds))
        if plan.growth and not arena.cancelled():
            bench = replace(bench, grown=_grown(there, arena, plan))
        if plan.llm != "none" and not arena.cancelled():
            bench = _limits(bench, arena, plan)
    except Cancelled:
        arena.tell(STOPPED)
    return replace(bench, notes=(*bench.notes, STOPPED)) if arena.cancelled() else bench


def _present(plan: Plan, arena: Arena) -> tuple[list[Contender], list[str]]:
    """ragapp and the peers whose environments are there or could be made, and a sentence for each that could not."""
    there, missing = [contenders.ours()], []
    for name in plan.peers:
        if arena.cancelled():
            raise Cancelled
        try:
            there.append(contenders.peer(name, plan.cache, arena.tell))
        except ModelError as error:
            missing.append(f"{name} is missing. {error.message}")
    return there, missing


def _settle(arena: Arena) -> None:
    """What only the first of all would pay for: files read from the disk, the built-in model's graph made."""
    for file in pdfs(arena.docs):
        file.read_bytes()
    try:
        _own(arena, ["-c", "from ragapp import minilm; minilm.compile_model()"])
    except ModelError:
        # Without OpenVINO there is no graph to be made; whatever else is wrong, the ingest will say.
        arena.tell("The built-in model's graph was not made beforehand.")


def _grown(there: Sequence[Contender], arena: Arena, plan: Plan) -> tuple[Grown, ...]:
    def arena_of(pages: int) -> Arena:
        return _made_up(pages, arena.work / "growth", arena.tell, arena.cancelled)

    return contenders.grow(there, arena_of, plan.growth, plan.limit_s)


def _limits(bench: Bench, arena: Arena, plan: Plan) -> Bench:
    """The Llama path and the roofline, in a process of their own."""
    arena.tell("The Llama path, and how near the machine's limits are")
    model = plan.llm if plan.llm in _sizes() else str(Path(plan.llm).expanduser().resolve())
    try:
        seen = _own(arena, ["-m", "ragapp.eval.roofline", "--llm", model, "--rounds", str(plan.rounds)])
    except ModelError as error:
        note = f"The Llama path and the roofline were not measured. {error.message}"
        return replace(bench, notes=(*bench.notes, note))
    from ragapp.eval.roofline import roofs_of, writing_of

    return replace(bench, writing=writing_of(seen.events), roofs=roofs_of(seen.events))


def _own(arena: Arena, arguments: Sequence[str]) -> Seen:
    """Run ragapp's own Python, which sees what ragapp's side sees."""
    ours = contenders.ours()
    return watch(
        [*ours.python, *arguments],
        environment=contenders.environment_of(ours, arena.work),
        log=arena.work / "own.log",
        limit_s=contenders.PROCESS_S,
        cancelled=arena.cancelled,
    )
