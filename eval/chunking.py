"""How well chunks fit what questions ask for: recall, precision and IoU of exact spans, for each chunker.

    python -m ragapp.eval.chunking FOLDER --chunker tokens --chunker headings,tokens=160 [--tokens 160 --tokens 200]

FOLDER holds ``docs/`` and ``qa.jsonl``, a question a line: ``{"question", "doc", "spans": [{"start", "text"}]}``. The
measures are those of Smith and Troynikov ("Evaluating Chunking Strategies for Retrieval", Chroma 2024), counted in
characters as their code counts. Of the passages that were found for a question, a character of the question's spans
counts once however often it was found; of what was found every character counts as often as it was found:

- recall: found characters of the spans / characters of the spans
- precision: found characters of the spans / all characters found
- IoU: found characters of the spans / (all characters found + characters of the spans that were not found)

Each is taken twice: over the first ``--k`` passages, and over as many as fit into ``--budget`` characters, which is
fairer between chunks of different sizes. ``dense`` asks the vectors alone, ``hybrid`` is the search as it is set.
Differences are those of recall within the budget from the first chunker's, question by question, with the 95 %
interval of a bootstrap. A span is looked for by its words, as reading a file may change white space; spans that are
not found are left out and counted. Pages are not looked at here. The embedder is the one that is set.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragapp.config import load
from ragapp.errors import ConfigError, ReadError
from ragapp.rag import Rag
from ragapp.types import Passage

SEARCHED = 20  # passages looked for; enough of them to fill the budget
SAMPLES = 2000  # of the bootstrap
MODES: Mapping[str, Mapping[str, float]] = {
    "dense": {"search.dense_weight": 1.0, "search.dense_weight_cjk": 1.0},
    "hybrid": {},
}

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the document that answers it, and where: ``(start, words)``, the start by the file's own count."""

    text: str
    document: str
    spans: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """Recall, precision and IoU, each between 0 and 1."""

    recall: float
    precision: float
    iou: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One chunker under one mode: means over the questions, and the recall of each within the budget."""

    chunker: str
    mode: str
    chunks: int
    characters_embedded: int
    seconds: float
    spans_missing: int
    at_k: Scores
    in_budget: Scores
    recalls: tuple[float, ...]


def questions_of(folder: Path) -> list[Question]:
    """The questions of a folder. Raises ReadError where there are none."""
    try:
        rows = [json.loads(line) for line in (folder / "qa.jsonl").read_text("utf-8").splitlines() if line.strip()]
        return [
            Question(row["question"], Path(row["doc"]).name, tuple((s["start"], s["text"]) for s in row["spans"]))
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(
            f"The questions in {folder} cannot be read: {error}", "qa.jsonl and docs/ belong there."
        ) from None


def locate(text: str, words: str, near: float) -> Span | None:
    """Where words stand in a text, white space aside: of several places the one nearest to the share ``near``."""
    pattern = re.compile(r"\s+".join(map(re.escape, words.split())))
    places = [match.span() for match in pattern.finditer(text)]
    return min(places, key=lambda place: abs(place[0] - near * len(text)), default=None)


def score(found: Sequence[tuple[str, Span]], document: str, wanted: Sequence[Span]) -> Scores:
    """The measures for found spans ``(document, span)`` against the spans that were wanted of one document."""
    gold = union(wanted)
    own = union(span for name, span in found if name == document)
    hit = sum(max(0, min(b, d) - max(a, c)) for a, b in own for c, d in gold)
    size = sum(end - start for start, end in gold)
    total = sum(end - start for _, (start, end) in found)
    return Scores(hit / size, hit / total if total else 0.0, hit / (total + size - hit))


def union(spans: Iterable[Span]) -> list[Span]:
    """The same characters as spans in order that do not touch."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def measure(folder: Path, questions: Sequence[Question], chunker: str, k: int, budget: int) -> Iterator[Measured]:
    """Ingest the documents of a folder into a library of their own, and ask it in every mode."""
    with tempfile.TemporaryDirectory(prefix="ragapp-chunking-") as place:
        library, settings = Path(place) / "library", settings_of(chunker)
        with Rag.open(library, config=load(settings)) as rag:
            report = rag.add([folder / "docs"])
            texts = {entry.document: rag.catalog.document(entry.id).text for entry in rag.documents()}
            rows = [len(header) + 1 + len(text) for _, header, text in rag.catalog.index_texts()]
        wanted, missing = _located(folder, questions, texts)
        for mode, search in MODES.items():
            with Rag.open(library, config=load({**settings, **search})) as rag:
                found = [rag.search(question.text, SEARCHED) for question, _ in wanted]
            at_k = [_scored(passages[:k], *asked) for passages, asked in zip(found, wanted, strict=True)]
            within = [_scored(_within(budget, passages), *asked) for passages, asked in zip(found, wanted, strict=True)]
            recalls = tuple(scores.recall for scores in within)
            yield Measured(
                chunker, mode, len(rows), sum(rows), report.seconds, missing, _mean(at_k), _mean(within), recalls
            )


def settings_of(chunker: str) -> dict[str, object]:
    """``"headings,tokens=160"`` as settings of the table ``[chunker]``. Raises ConfigError."""
    name, *rest = chunker.split(",")
    pairs = [part.partition("=") for part in rest]
    if not all(key and equals for key, equals, _ in pairs):
        raise ConfigError(f"The chunker {chunker!r} is not spelled NAME,KEY=VALUE,…", "As in headings,tokens=160.")
    return {"chunker.name": name, **{f"chunker.{key}": value for key, _, value in pairs}}


def interval(differences: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The mean of paired differences, and the 95 % interval of a bootstrap over the pairs."""
    values: NDArray[np.float64] = np.asarray(differences, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, len(values), (SAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def table(results: Sequence[Measured], k: int, budget: int) -> Iterator[str]:
    """The lines of a table in Markdown."""
    yield (
        f"| chunker | mode | chunks | characters embedded | recall@{k} | precision@{k} | IoU@{k} "
        f"| recall in {budget:,} | precision | IoU | recall against the first |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for result in results:
        first = next(other for other in results if other.mode == result.mode)
        against = ""
        if first is not result and len(first.recalls) == len(result.recalls):
            mean, low, high = interval([a - b for a, b in zip(result.recalls, first.recalls, strict=True)])
            against = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        at_k, within = result.at_k, result.in_budget
        yield (
            f"| {result.chunker} | {result.mode} | {result.chunks:,} | {result.characters_embedded:,} "
            f"| {at_k.recall:.3f} | {at_k.precision:.3f} | {at_k.iou:.3f} "
            f"| {within.recall:.3f} | {within.precision:.3f} | {within.iou:.3f} | {against} |"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ragapp.eval.chunking", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds docs/ and qa.jsonl")
    parser.add_argument("--chunker", action="append", help="NAME or NAME,KEY=VALUE,…; may be given again")
    parser.add_argument("--tokens", action="append", type=int, help="sizes to try with every chunker")
    parser.add_argument("--k", type=int, default=5, help="passages that count (5)")
    parser.add_argument("--budget", type=int, default=3200, help="characters that count (3200, about 800 tokens)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each, instead of a table")
    given = parser.parse_args(arguments)
    questions = questions_of(given.folder)
    results: list[Measured] = []
    for chunker in _sized(given.chunker or ["tokens"], given.tokens or []):
        for result in measure(given.folder, questions, chunker, given.k, given.budget):
            results.append(result)
            if given.json:
                sys.stdout.write(json.dumps(_shape(result), ensure_ascii=False) + "\n")
    if not given.json:
        sys.stdout.write("\n".join(table(results, given.k, given.budget)) + "\n")
    missing = max(result.spans_missing for result in results)
    if missing:
        sys.stderr.write(f"{missing} spans were not found in the documents as they were read.\n")


def _sized(chunkers: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Every chunker in every size; what is found by "parent-child" are the children."""
    if not sizes:
        return list(chunkers)
    keys = {chunker: "child_tokens" if chunker.split(",")[0] == "parent-child" else "tokens" for chunker in chunkers}
    return [f"{chunker},{keys[chunker]}={size}" for chunker in chunkers for size in sizes]


def _located(
    folder: Path, questions: Sequence[Question], texts: Mapping[str, str]
) -> tuple[list[tuple[Question, list[Span]]], int]:
    """The questions with their spans in the texts as they were read, and how many spans are not there."""
    lengths = {path.name: len(path.read_bytes().decode("utf-8", "replace")) for path in (folder / "docs").iterdir()}
    located, missing = [], 0
    for question in questions:
        text = texts.get(question.document, "")
        near = [(start / max(1, lengths.get(question.document, 1)), words) for start, words in question.spans]
        places = [locate(text, words, share) for share, words in near]
        here = [place for place in places if place is not None]
        missing += len(places) - len(here)
        if here:
            located.append((question, here))
    if not located:
        raise ReadError("No span of the questions stands in the documents.", "Do docs/ and qa.jsonl belong together?")
    return located, missing


def _scored(passages: Sequence[Passage], question: Question, wanted: Sequence[Span]) -> Scores:
    found = [(Path(p.document).name, (p.chunk.start, p.chunk.end)) for p in passages]
    return score(found, question.document, wanted)


def _within(budget: int, passages: Sequence[Passage]) -> list[Passage]:
    """The first passages that together have no more characters than the budget."""
    total, kept = 0, []
    for passage in passages:
        total += len(passage.chunk.text)
        if total > budget:
            break
        kept.append(passage)
    return kept


def _mean(scores: Sequence[Scores]) -> Scores:
    rows = np.array([(s.recall, s.precision, s.iou) for s in scores])
    recall, precision, iou = (float(value) for value in rows.mean(axis=0))
    return Scores(recall, precision, iou)


def _shape(result: Measured) -> dict[str, object]:
    scores = {
        name: {"recall": round(s.recall, 4), "precision": round(s.precision, 4), "iou": round(s.iou, 4)}
        for name, s in (("at_k", result.at_k), ("in_budget", result.in_budget))
    }
    facts = ("chunker", "mode", "chunks", "characters_embedded", "seconds", "spans_missing")
    return {**{name: getattr(result, name) for name in facts}, "questions": len(result.recalls), **scores}


if __name__ == "__main__":
    main()
