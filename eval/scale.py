"""How large libraries are searched: a synthetic library is filled, its caches are published, questions are asked.

    python -m ragapp.eval.scale FOLDER --chunks 1000000 --kind hard

Each stage runs in a process of its own and prints a line of JSON: seconds by the clock and of all cores, and the peak
of its memory in megabytes; for the questions the median (also of the processor's time, for a busy machine) and the 95th
percentile in milliseconds, and recall@10 against exact search, before and after 1 % of the documents is deleted.

Vectors of both kinds are unit vectors of 384 numbers around 2,000 topics of very different size; "easy" ones vary in 24
directions, of which a few carry most, "hard" ones in 96 nearly equal ones, harder than text is. No embedder could fill
a library of a million chunks in minutes, so this looks below the façade: it writes and reads the catalog and the caches
directly.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragapp.catalog import Catalog, FileRow, text_hash
from ragapp.config import Config
from ragapp.lexicon import Lexicon
from ragapp.types import Chunk, Document, Page
from ragapp.vectors import VectorIndex

WIDTH = 384
TOPICS = 2000
A_DOCUMENT = 1000  # chunks
QUESTIONS = 300
K = 10
EMBEDDER = "synthetic:384"

Rows = NDArray[np.float32]


def vectors(kind: str, seed: int) -> Iterator[Rows]:
    """Unit vectors without end, ``A_DOCUMENT`` at once; the topics are the same for every seed."""
    dim, noise, power = (24, 0.6, 0.5) if kind == "easy" else (96, 1.0, 0.25)
    world = np.random.default_rng(98)
    spectrum = ((1 + np.arange(dim)) ** -power).astype(np.float32)
    frame = world.standard_normal((dim, WIDTH), dtype=np.float32) / np.float32(np.sqrt(dim))
    centres = world.standard_normal((TOPICS, dim), dtype=np.float32)
    sizes = world.pareto(1.2, TOPICS) + 0.05
    own = np.random.default_rng(seed)
    while True:
        topics = own.choice(TOPICS, A_DOCUMENT, p=sizes / sizes.sum())
        inner = centres[topics] + np.float32(noise) * own.standard_normal((A_DOCUMENT, dim), dtype=np.float32)
        rows = (inner * spectrum) @ frame + np.float32(0.02) * own.standard_normal(
            (A_DOCUMENT, WIDTH), dtype=np.float32
        )
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def document(number: int) -> tuple[FileRow, Document, list[Chunk]]:
    """A document of one page, a chunk a line."""
    words = [hashlib.sha256(f"{number}:{i}".encode()).hexdigest() for i in range(A_DOCUMENT)]
    lines = [f"{' '.join(word[at : at + 4] for at in range(0, 64, 4))}\n" for word in words]
    text = "".join(lines)
    key = hashlib.sha256(text.encode()).hexdigest()
    uri, name = f"file:///synthetic/{number}.txt", f"{number}.txt"
    size = len(lines[0])
    chunks = [Chunk(0, key, line[:-1], i * size, i * size + size - 1, 1) for i, line in enumerate(lines)]
    made = Document(key, uri, name, "text/plain", text, (Page(1, 0, len(text)),))
    return FileRow(uri, name, key, len(text), 1), made, chunks


def fill(folder: Path, chunks: int, kind: str) -> dict[str, object]:
    catalog = Catalog(folder)
    catalog.set_embedder(EMBEDDER)
    for number, rows in zip(range(chunks // A_DOCUMENT), vectors(kind, 0), strict=False):
        row, made, parts = document(number)
        catalog.put(row, made, parts, dict(zip(map(text_hash, parts), rows, strict=True)), EMBEDDER)
    catalog.close()
    return {"megabytes": round((folder / "library.sqlite").stat().st_size / 1e6)}


def publish(folder: Path, exact_up_to: int) -> dict[str, object]:
    catalog = Catalog(folder, create=False)
    index, lexicon = VectorIndex(catalog, EMBEDDER, exact_up_to), Lexicon(catalog)
    with catalog.writing():
        seconds_vectors = _timed(lambda: index.publish(fresh=True))
        peak = _peak()
        seconds_words = _timed(lambda: lexicon.publish(fresh=True))
    lexicon.close()
    return {"vectors_seconds": seconds_vectors, "vectors_peak": peak, "words_seconds": seconds_words}


def ask(folder: Path, exact_up_to: int, kind: str) -> dict[str, object]:
    catalog = Catalog(folder, create=False)
    index = VectorIndex(catalog, EMBEDDER, exact_up_to)
    questions = next(vectors(kind, 5))[:QUESTIONS]
    facts: dict[str, object] = {"first_seconds": _timed(lambda: index.search(questions[0], K)), "kind": index.kind}
    facts |= _asked(index, catalog, questions)
    uris = sorted(catalog.files())
    with catalog.writing():
        facts["drop_seconds"] = _timed(lambda: catalog.drop(uris[::100]))
        facts["follow_seconds"] = _timed(index.follow)
        facts |= {f"after_{key}": value for key, value in _asked(index, catalog, questions).items()}
        facts["publish_seconds"] = _timed(index.publish)
    index.close()
    return facts


def _asked(index: VectorIndex, catalog: Catalog, questions: Rows) -> dict[str, object]:
    """Times of one question after another, and how many of the exact nearest were found."""
    truth = _nearest(catalog, questions)
    seconds, computed, hits = [], [], 0
    for question, wanted in zip(questions, truth, strict=True):
        started, worked = time.perf_counter(), time.process_time()
        found = index.search(question, K)
        seconds.append(time.perf_counter() - started)
        computed.append(time.process_time() - worked)
        hits += len({key for key, _ in found} & set(wanted))
    return {
        "median_ms": round(statistics.median(seconds) * 1000, 2),
        "cpu_ms": round(statistics.median(computed) * 1000, 2),
        "p95_ms": round(statistics.quantiles(seconds, n=20)[-1] * 1000, 2),
        "recall": round(hits / (K * len(questions)), 4),
    }


def _nearest(catalog: Catalog, questions: Rows) -> list[list[int]]:
    best: list[list[tuple[float, int]]] = [[] for _ in questions]
    for ids, rows in catalog.vector_batches(EMBEDDER, 20_000):
        scores = questions @ rows.T
        top = np.argpartition(-scores, min(K, len(ids) - 1), axis=1)[:, :K]
        for held, row, places in zip(best, scores, top, strict=True):
            held.extend((float(row[place]), int(ids[place])) for place in places)
            held.sort(reverse=True)
            del held[K:]
    return [[key for _, key in held] for held in best]


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return round(time.perf_counter() - started, 3)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--kind", choices=("easy", "hard"), default="hard")
    parser.add_argument("--exact-up-to", type=int, default=Config().search.exact_up_to)
    parser.add_argument("--stage", choices=("fill", "publish", "ask"))
    given = parser.parse_args()
    stages: dict[str, Callable[[], dict[str, object]]] = {
        "fill": lambda: fill(given.folder, given.chunks, given.kind),
        "publish": lambda: publish(given.folder, given.exact_up_to),
        "ask": lambda: ask(given.folder, given.exact_up_to, given.kind),
    }
    if given.stage is None:
        for stage in stages:
            subprocess.run([sys.executable, "-m", "ragapp.eval.scale", *sys.argv[1:], "--stage", stage], check=True)
        return
    started = time.perf_counter()
    facts = stages[given.stage]()
    clocks = {"seconds": round(time.perf_counter() - started, 2), "cpu_seconds": round(time.process_time(), 2)}
    line = {"stage": given.stage, **clocks, "peak_mb": _peak(), **facts}
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
