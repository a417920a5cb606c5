"""Damaged files by the thousand: `python -m ragapp.eval.fuzz DIR --cases 2000`.

Every case is a file of the folder, cut short, with bytes flipped, with a stretch of another file spliced in, or with a
stretch doubled, by a seeded generator. They are ingested in rounds, each with one sound file. What must hold:
no run raises, every file is accounted for (added, or failed with a sentence), the sound file can be found, the library
passes its check-up. Counted apart: reading processes that ended, which cost their file only.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragapp.config import Config, load
from ragapp.eval.data import samples
from ragapp.rag import Rag
from ragapp.types import Query

ROUND = 50


def mutated(data: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    """The name of what was done, and the damaged bytes."""
    kind = chance.choice(("truncate", "flip", "splice", "double"))
    size = len(data)
    if not size:
        return kind, other[: chance.randrange(1 + len(other))]
    if kind == "truncate":
        return kind, data[: chance.randrange(size)]
    if kind == "flip":
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 8, 64, 512))):
            damaged[chance.randrange(size)] ^= 1 << chance.randrange(8)
        return kind, bytes(damaged)
    at, length = chance.randrange(size), chance.randrange(1, 1 + min(size, 1 << 16))
    if kind == "splice":
        start = chance.randrange(1 + len(other))
        return kind, data[:at] + other[start : start + length] + data[at + length :]
    return kind, data[: at + length] + data[at:]


def cases(files: Sequence[Path], count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """``(kind, suffix, bytes)`` of every case; the same for the same files and seed."""
    chance = random.Random(seed)
    for _ in range(count):
        one, other = chance.choice(files), chance.choice(files)
        kind, data = mutated(one.read_bytes(), other.read_bytes(), chance)
        yield kind, one.suffix, data


def run(files: Sequence[Path], count: int, seed: int, folder: Path, config: Config) -> dict[str, object]:
    """Ingest all cases; returns the counts. ``lost`` and ``wrong`` must be 0."""
    totals: Counter[str] = Counter()
    slowest = 0.0
    with Rag.open(folder / "library", config=config) as rag:
        rag.add(samples())
        question = "When is the fog signal started?"
        expected = [p.chunk.text for p in rag.search(Query(question, where=("*lighthouse*",)), k=1)]
        pending = list(cases(files, count, seed))
        for at in range(0, len(pending), ROUND):
            where = folder / f"round-{at}"
            where.mkdir()
            for number, (kind, suffix, data) in enumerate(pending[at : at + ROUND]):
                (where / f"{kind}-{number}{suffix}").write_bytes(data)
                totals[kind] += 1
            started = time.perf_counter()
            report = rag.add(where)
            slowest = max(slowest, time.perf_counter() - started)
            accounted = report.added + report.changed + report.kept + len(report.failed)
            totals["added"] += report.added
            totals["failed"] += len(report.failed)
            totals["pages"] += report.pages
            totals["lost"] += len(pending[at : at + ROUND]) - accounted
            totals["processes ended"] += sum("reading process end" in failure.error for failure in report.failed)
            totals["given up"] += sum("was given up" in failure.error for failure in report.failed)
            totals["without a sentence"] += sum(not failure.error.endswith(".") for failure in report.failed)
            found = [p.chunk.text for p in rag.search(Query(question, where=("*lighthouse*",)), k=1)]
            totals["wrong"] += found != expected
        totals["findings"] = len(list(rag.doctor()))
    return {"cases": count, "seed": seed, **totals, "slowest_round_seconds": round(slowest, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Ingest damaged files by the thousand.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-bytes", type=int, default=4_000_000, help="pass over larger files")
    given = parser.parse_args()
    files = sorted(p for p in given.folder.rglob("*") if p.is_file() and p.stat().st_size <= given.max_bytes)
    with tempfile.TemporaryDirectory(prefix="ragapp-fuzz-") as folder:
        config = load({"embedder.name": "hashing", "ingest.ocr": "off"})
        result = run(files, given.cases, given.seed, Path(folder), config)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
