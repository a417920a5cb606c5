"""The check of the built-in model: how a folder is read, cut and compared. The model itself reads a few short texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragapp.embedders import BuiltinEmbedder
from ragapp.errors import ConfigError
from ragapp.eval import published
from ragapp.eval.published import Check, Collection, Row, cut, lines, main, means, read

CORPUS = [
    {"_id": "d1", "title": "Pumps", "text": "The pump weighs twelve kilograms."},
    {"_id": "d2", "title": "", "text": "Lighthouses warn ships of rocks at night."},
    {"_id": "d/3", "title": "Tea", "text": "Green tea is brewed with water that does not boil."},
]
QUERIES = [
    {"_id": "q1", "text": "How heavy is the pump?"},
    {"_id": "q2", "text": "How is green tea made?"},
    {"_id": "q3", "text": "How heavy is the pump?"},
    {"_id": "q4", "text": "Who asks what nobody graded?"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    grades = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t0", "q2\td/3\t1", "q3\td2\t1", "q4\tmissing\t1"]
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(grades) + "\n", encoding="utf-8")
    return tmp_path


def test_a_folder_is_read_as_beir_reads_it(folder: Path) -> None:
    made = read(folder)
    assert made.corpus == {
        "d1": "Pumps The pump weighs twelve kilograms.",
        "d2": "Lighthouses warn ships of rocks at night.",
        "d/3": "Tea Green tea is brewed with water that does not boil.",
    }
    assert list(made.queries) == ["q1", "q2", "q3"]
    assert made.grades == {"q1": {"d1": 2}, "q2": {"d/3": 1}, "q3": {"d2": 1}}
    assert read(folder, titles=False).corpus["d1"] == "The pump weighs twelve kilograms."


def test_questions_of_the_same_words_are_one(folder: Path) -> None:
    made = published.as_mteb(folder)
    assert made.corpus["d1"] == "The pump weighs twelve kilograms."
    assert made.queries == {"q3": "How heavy is the pump?", "q2": "How is green tea made?"}
    assert made.grades == {"q3": {"d1": 2, "d2": 1}, "q2": {"d/3": 1}}


def test_a_corpus_that_nobody_graded_is_refused(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("q1\tmissing\t1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="has a document in its corpus"):
        read(folder)


def test_a_long_text_is_cut_where_the_model_stops_reading() -> None:
    embedder = BuiltinEmbedder()
    text = "unquestionably " * 400
    kept = cut(embedder, text)
    assert len(embedder.spans(kept)) == embedder.max_tokens
    assert text.startswith(kept)
    assert cut(embedder, "A short text.") == "A short text."


def test_means_over_queries() -> None:
    grades = {"a": {"x": 1}, "b": {"y": 1, "z": 1}}
    made = means(grades, {"a": ["w", "x"], "b": ["y"]})
    assert made == {"ndcg@10": pytest.approx((0.63093 + 0.61315) / 2, abs=1e-4), "mrr@10": 0.75, "recall@100": 0.75}


def test_the_built_in_model_and_sentence_transformers_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["documents"], made["queries"], made["holds"]) == (3, 3, True)
    assert [(row["measure"], row["reference"]) for row in made["rows"]] == [
        (name, "sentence-transformers") for name in published.MEASURES
    ]
    # q1 and q2 find their document first; q3 asks what q1 asks and wants another.
    assert made["rows"][2]["built_in"] == 1
    assert 2 / 3 < made["rows"][1]["built_in"] < 1


def test_a_difference_that_is_too_large_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # These three texts are not XQuAD, so its scores cannot come out.
    assert main([str(folder), "--published", "xquad.en"]) == 1
    text = capsys.readouterr().out
    assert "2 queries over 3 documents" in text
    assert "| ndcg@10 | xquad.en |" in text
    assert "| NO |" in text
    assert "XQuADRetrieval.json" in text


def test_what_is_allowed() -> None:
    fine, wrong = Row("m", "r", 0.5, 0.4951), Row("m", "r", 0.4949, 0.5)
    assert (fine.holds, wrong.holds) == (True, False)
    assert Check("f", 1, 1, (fine,)).holds
    assert not Check("f", 1, 1, (fine, wrong)).holds
    assert "| m | r | 0.49490 | 0.50000 | -0.00510 | NO |" in list(lines(Check("f", 1, 1, (wrong,))))


def test_an_unknown_name_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'glue'"):
        published.check(folder, published="glue")


def test_merging_keeps_queries_that_differ() -> None:
    one = Collection({"d": "x"}, {"a": "A?", "b": "B?"}, {"a": {"d": 1}, "b": {"d": 1}})
    assert one.merged() == one
