"""Runs one stack, and says in lines of JSON on standard output what it did. Standard library only.

    python harness.py STACK.py ingest INDEX --docs DIR [--mode MODE] [--tokenizer FILE]
    python harness.py STACK.py ask INDEX --questions FILE [--mode MODE] [-k 10]

The parent takes what it can see from outside (the time from the start to a line, memory); clocks inside the process are
used for what it cannot. Whatever the stack's libraries print goes to standard error.

Lines of ingest: ``loaded`` (imports and the model are there), ``ingested`` (the clock has stopped), ``counted``.
Lines of ask: ``first`` (the first question has its result), ``asked`` (all have).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

SPECIAL = 2  # tokens that the model adds to every text, and that are part of its window
AT_ONCE = 1000  # texts whose tokens are counted together


Made = tuple[int, Iterable[str], list[str]]  # pages, the texts that were embedded (each whole), files that failed


class Stack(Protocol):
    """A side. It is made (and its model loaded) before a clock runs.

    ``modes`` are the ways it can search, the default first; ``one_index`` says whether all of them search one index.
    ``window`` is how many tokens of a text its embedder reads, special tokens among them; 0: all of them.
    """

    modes: tuple[str, ...]
    one_index: bool
    window: int

    def __init__(self, mode: str) -> None: ...

    def ingest(self, docs: Path, files: Sequence[Path], index: Path, mark: Callable[[str], None]) -> Made:
        """Read ``files``, all the PDFs below ``docs``, make the index and save it. ``mark(name)`` ends a stage."""

    def open(self, index: Path) -> None:
        """Load what ``ingest`` saved."""

    def search(self, question: str, k: int) -> Sequence[tuple[str, int | None]]:
        """The document and the page (from 1; None where the stack does not know it) of the passages, best first."""


class Marks:
    """A clock that is told when a stage ends."""

    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()
        self.parts: dict[str, float] = {}

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.parts[name] = self.parts.get(name, 0.0) + now - self.last
        self.last = now


def ingest(stack: Stack, given: argparse.Namespace, say: Callable[..., None]) -> None:
    say("loaded", modes=stack.modes, one_index=stack.one_index)
    marks = Marks()
    pages, texts, failed = stack.ingest(given.docs, pdfs(given.docs), given.index, marks)
    say(
        "ingested",
        seconds=time.perf_counter() - marks.started,
        parts=marks.parts,
        pages=pages,
        failed=failed,
        peak_mb=peak_mb(),
    )
    if given.tokenizer:
        say("counted", **counted(texts, given.tokenizer, stack.window))


def counted(texts: Iterable[str], tokenizer: Path, window: int) -> Mapping[str, int]:
    """How many texts and tokens there are, and how many lie beyond the window; special tokens left out."""
    from tokenizers import Tokenizer

    counter = Tokenizer.from_file(str(tokenizer))
    counter.no_truncation()
    counter.no_padding()
    held, sizes = list(texts), []
    for at in range(0, len(held), AT_ONCE):
        sizes += [len(one.ids) for one in counter.encode_batch(held[at : at + AT_ONCE], add_special_tokens=False)]
    beyond = [max(size - (window - SPECIAL), 0) if window else 0 for size in sizes]
    return {"texts": len(sizes), "tokens": sum(sizes), "unread": sum(beyond), "cut": sum(map(bool, beyond))}


def ask(stack: Stack, given: argparse.Namespace, say: Callable[..., None]) -> None:
    stack.open(given.index)
    questions = [json.loads(line) for line in given.questions.read_text(encoding="utf-8").splitlines() if line.strip()]
    stack.search(questions[0]["question"], given.k)
    say("first")
    seconds, found = [], {}
    for question in questions:
        started = time.perf_counter()
        places = stack.search(question["question"], given.k)
        seconds.append(time.perf_counter() - started)
        found[question["id"]] = list(places)
    # The first one was asked twice: what is remembered of it would flatter.
    say("asked", seconds=seconds[1:] or seconds, found=found, peak_mb=peak_mb())


def peak_mb() -> float:
    """The most memory that this process had. The parent sees that of its children."""
    with suppress(OSError):
        # Linux starts the count of getrusage at the memory of whoever started the process.
        for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def stack_of(file: Path) -> type[Stack]:
    """The class in a file. The file's folder is no place to import from: it has files of the libraries' names."""
    spec = importlib.util.spec_from_file_location(f"stack_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is not a Python file.")
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found: type[Stack] = module.Stack
    return found


def pdfs(docs: Path) -> list[Path]:
    """The PDFs below a folder, always in the same order."""
    return sorted(path for path in docs.rglob("*") if path.suffix.lower() == ".pdf" and path.is_file())


def speaker() -> Callable[..., None]:
    """A way to say a line, after which nobody else can reach standard output."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(event: str, **facts: object) -> None:
        private.write(json.dumps({"event": event, **facts}) + "\n")
        private.flush()

    return say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", type=Path)
    parser.add_argument("work", choices=("ingest", "ask"))
    parser.add_argument("index", type=Path)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--mode", default="")
    parser.add_argument("-k", type=int, default=10)
    given = parser.parse_args()
    say = speaker()
    made = stack_of(given.stack)
    stack = made(given.mode or made.modes[0])
    {"ingest": ingest, "ask": ask}[given.work](stack, given, say)


if __name__ == "__main__":
    main()
