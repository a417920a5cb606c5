"""Whether the built-in model gives what others get from all-MiniLM-L6-v2: the check of our embedder and our measures.

    python -m ragapp.eval.published FOLDER [--published NAME] [--split test] [--no-titles] [--json]

FOLDER is a BEIR folder. Corpus and queries are embedded with the built-in model as it ships, texts cut after 256
tokens as sentence-transformers cuts them, and every query is compared with every document (cosine, exact). Printed are
nDCG@10, MRR@10 and recall@100 beside those of sentence-transformers' own InformationRetrievalEvaluator, which embeds
the same texts in float32 and has measures of its own; and with ``--published NAME`` beside the scores that the MTEB
leaderboard has for the model. The exit code is 1 where any differs by more than .005.

``--published xquad.en`` (or ``xquad.zh``) is for XQuAD's paragraphs and questions and does as MTEB's XQuADRetrieval:
paragraphs without titles, and questions of the same words are one with several right paragraphs.
Not covered: sets whose corpus does not fit into memory, and grades above 1 in the evaluator, which knows none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from ragapp import minilm
from ragapp.embedders import BuiltinEmbedder
from ragapp.errors import ConfigError
from ragapp.eval import beir, retrieval
from ragapp.eval.sources import file_names, objects

MEASURES: Final = ("ndcg@10", "mrr@10", "recall@100")
DEEP = 100  # documents that are looked at for a query
ALLOWED = 0.005
LINE_BYTES = 64 << 20  # of a line of the corpus: whole books are among them


@dataclass(frozen=True, slots=True)
class Known:
    """Scores that were published, by measure, and where."""

    scores: Mapping[str, float]
    source: str


# The folder's name is a revision of sentence-transformers/all-MiniLM-L6-v2 with the same weights as the built-in model.
_MTEB = (
    "github.com/embeddings-benchmark/results, sentence-transformers__all-MiniLM-L6-v2/"
    "8b3219a92973c328a8e22fadcfa821b5dc75636a/XQuADRetrieval.json (mteb 1.12.75), subset "
)
PUBLISHED: Final[Mapping[str, Known]] = {
    "xquad.en": Known({"ndcg@10": 0.94357, "mrr@10": 0.92807, "recall@100": 1.0}, f"{_MTEB}en"),
    "xquad.zh": Known({"ndcg@10": 0.24225, "mrr@10": 0.20207, "recall@100": 0.82472}, f"{_MTEB}zh"),
}


@dataclass(frozen=True, slots=True)
class Collection:
    """Texts of documents and queries by id, and the grades of the right documents by query and document."""

    corpus: Mapping[str, str]
    queries: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]

    def merged(self) -> Collection:
        """Queries of the same words as one, the last of them, with the right documents of all."""
        last = {text: key for key, text in self.queries.items()}
        grades: dict[str, dict[str, int]] = {key: {} for key in last.values()}
        for key, text in self.queries.items():
            grades[last[text]] |= self.grades[key]
        return Collection(self.corpus, {key: text for text, key in last.items()}, grades)


@dataclass(frozen=True, slots=True)
class Row:
    """A measure of the built-in model beside a reference's."""

    measure: str
    reference: str
    built_in: float
    other: float

    @property
    def difference(self) -> float:
        return self.built_in - self.other

    @property
    def holds(self) -> bool:
        return abs(self.difference) <= ALLOWED


@dataclass(frozen=True, slots=True)
class Check:
    """What came out for a folder."""

    folder: str
    documents: int
    queries: int
    rows: tuple[Row, ...] = field(default=())

    @property
    def holds(self) -> bool:
        return all(row.holds for row in self.rows)


# -- the collection ----------------------------------------------------------------------------------------------------


def read(folder: Path, split: str = "test", *, titles: bool = True) -> Collection:
    """A BEIR folder's texts and grades; a document is its title and its text, as BEIR and MTEB join them.

    Raises ReadError as reading its questions does, and ConfigError where no document of it is graded.
    """
    corpus, names = {}, {}
    for place, row in objects(folder / "corpus.jsonl", LINE_BYTES):
        key = str(row.get("_id", row.get("id", place)))
        parts = [row.get("title") if titles else "", row.get("text")]
        corpus[key] = " ".join(str(part) for part in parts if part).strip()
    names = {name: key for key, name in file_names(corpus).items()}
    questions = [row for _, row in beir.source(folder, split).rows]
    grades = {
        row["id"]: {names[gold["document"]]: gold["relevance"] for gold in row["gold"] if gold["document"] in names}
        for row in questions
    }
    queries = {row["id"]: str(row["question"]) for row in questions if grades[row["id"]]}
    if not queries:
        raise ConfigError(f"No question of {folder} has a document in its corpus.", "Do the ids of the qrels fit?")
    return Collection(corpus, queries, {key: grades[key] for key in queries})


def as_mteb(folder: Path, split: str = "test") -> Collection:
    """A folder of XQuAD as MTEB's XQuADRetrieval makes it: no titles, questions of the same words are one."""
    return read(folder, split, titles=False).merged()


# -- the two sides -----------------------------------------------------------------------------------------------------


def built_in(collection: Collection) -> dict[str, list[str]]:
    """For each query the ids of the best documents by the built-in model, best first."""
    embedder = BuiltinEmbedder()
    documents = embedder.embed_documents([cut(embedder, text) for text in collection.corpus.values()])
    asked = embedder.embed_documents([cut(embedder, text) for text in collection.queries.values()])
    keys = list(collection.corpus)
    near = asked @ documents.T
    best = np.argsort(-near, axis=1, kind="stable")[:, :DEEP]
    return {query: [keys[place] for place in row] for query, row in zip(collection.queries, best, strict=True)}


def cut(embedder: BuiltinEmbedder, text: str) -> str:
    """As much of a text as the model reads at once. The embedder itself would read all of it, in several windows."""
    spans = embedder.spans(text)
    return text[: spans[embedder.max_tokens - 1][1]] if len(spans) > embedder.max_tokens else text


def means(
    grades: Mapping[str, Mapping[str, int]], found: Mapping[str, Sequence[str]], measures: Sequence[str] = MEASURES
) -> dict[str, float]:
    """The mean of each measure over all queries."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for _, measure, value in retrieval.measured(grades, found, measures):
        values[measure].append(value)
    return {name: float(np.mean(each)) for name, each in values.items()}


def sentence_transformers(collection: Collection) -> dict[str, float]:
    """The same measures by sentence-transformers' evaluator, from its own vectors in float32."""
    minilm.checked_file("model.safetensors", minilm.WEIGHTS_SHA256)
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    model = SentenceTransformer(str(minilm.model_folder()), device="cpu", local_files_only=True)
    model.max_seq_length = minilm.MAX_TOKENS
    evaluator = InformationRetrievalEvaluator(
        dict(collection.queries), dict(collection.corpus), {key: set(each) for key, each in collection.grades.items()},
        ndcg_at_k=[10], mrr_at_k=[10], precision_recall_at_k=[DEEP], map_at_k=[DEEP], write_csv=False,
    )  # fmt: skip
    found = evaluator(model)
    return {name: float(found[f"cosine_{name}"]) for name in MEASURES}


def check(folder: Path, split: str = "test", *, published: str = "", titles: bool = True) -> Check:
    """The built-in model beside sentence-transformers and, where a name is given, beside what was published.

    Raises ConfigError for a name that is not known.
    """
    if published and published not in PUBLISHED:
        raise ConfigError(f"Nothing is known of {published!r}.", f"Known are {', '.join(PUBLISHED)}.")
    collection = as_mteb(folder, split) if published else read(folder, split, titles=titles)
    found = built_in(collection)
    right = {key: dict.fromkeys(grades, 1) for key, grades in collection.grades.items()}
    rows = list(_rows("sentence-transformers", means(right, found), sentence_transformers(collection)))
    if published:
        rows += _rows(published, means(collection.grades, found), PUBLISHED[published].scores)
    return Check(folder.resolve().name, len(collection.corpus), len(collection.queries), tuple(rows))


def _rows(reference: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> Iterator[Row]:
    return (Row(name, reference, ours[name], theirs[name]) for name in MEASURES)


# -- what is printed ---------------------------------------------------------------------------------------------------


def lines(made: Check) -> Iterable[str]:
    """The check as text, its table in Markdown."""
    yield f"{made.folder}: {made.queries} queries over {made.documents} documents."
    yield ""
    yield "| measure | reference | built-in | reference's | difference | within .005 |"
    yield "|---|---|---|---|---|---|"
    for row in made.rows:
        values = f"{row.built_in:.5f} | {row.other:.5f} | {row.difference:+.5f}"
        yield f"| {row.measure} | {row.reference} | {values} | {'yes' if row.holds else 'NO'} |"
    for name in dict.fromkeys(row.reference for row in made.rows if row.reference in PUBLISHED):
        yield f"\n{name}: {PUBLISHED[name].source}."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ragapp.eval.published", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a BEIR folder: corpus, queries, qrels")
    parser.add_argument("--published", default="", metavar="NAME", help=f"one of {', '.join(PUBLISHED)}")
    parser.add_argument("--split", default="test", help="of the qrels (%(default)s)")
    parser.add_argument("--no-titles", action="store_true", help="leave the documents' titles out")
    parser.add_argument("--json", action="store_true", help="a JSON object instead of a table")
    given = parser.parse_args(arguments)
    made = check(given.folder, given.split, published=given.published, titles=not given.no_titles)
    shown = json.dumps({**asdict(made), "holds": made.holds}) if given.json else "\n".join(lines(made))
    sys.stdout.write(shown + "\n")
    return 0 if made.holds else 1


if __name__ == "__main__":
    sys.exit(main())
