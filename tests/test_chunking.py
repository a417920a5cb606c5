"""The scale for chunkers: its measures by hand, and a small run through libraries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import ConfigError, ReadError
from ragapp.eval.chunking import interval, locate, main, questions_of, score, settings_of, union
from tests import pdfs

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda s: (s[0], sum(s))), max_size=6)


def characters(spans: list[tuple[int, int]]) -> set[int]:
    return {i for start, end in spans for i in range(start, end)}


@given(SPANS)
def test_union_is_the_same_characters_once(spans: list[tuple[int, int]]) -> None:
    joined = union(spans)
    assert characters(joined) == characters(spans)
    assert sum(end - start for start, end in joined) == len(characters(spans))


@given(SPANS, SPANS, SPANS.filter(bool))
def test_the_measures_count_characters(
    here: list[tuple[int, int]], there: list[tuple[int, int]], gold: list[tuple[int, int]]
) -> None:
    found = [("a", span) for span in here] + [("b", span) for span in there]
    scores = score(found, "a", gold)
    hit = len(characters(here) & characters(gold))
    total = sum(end - start for _, (start, end) in found)
    assert scores.recall == pytest.approx(hit / len(characters(gold)))
    assert scores.precision == pytest.approx(hit / total if total else 0)
    assert scores.iou == pytest.approx(hit / (total + len(characters(gold) - characters(here))))


def test_the_measures_in_numbers() -> None:
    scores = score([("a", (0, 100)), ("a", (90, 190)), ("b", (0, 100))], "a", [(80, 120), (300, 310)])
    assert (scores.recall, scores.precision, scores.iou) == (pytest.approx(0.8), pytest.approx(40 / 300), 40 / 310)


def test_words_are_found_whatever_the_white_space_and_nearest_to_their_place() -> None:
    text = "One two\nthree. Some more words here. One  two three."
    assert locate(text, "one", 0) is None
    assert locate(text, "One two three.", 0.0) == (0, 14)
    assert locate(text, "One two three.", 0.9) == (37, 52)
    assert locate("a (b) c", "(b)", 0) == (2, 5)


def test_the_interval_of_differences() -> None:
    mean, low, high = interval([0.0, 0.2] * 50)
    assert low < mean < high
    assert mean == pytest.approx(0.1)
    assert high - low == pytest.approx(0.04, abs=0.01)
    assert interval([0.5] * 9) == (0.5, 0.5, 0.5)


def test_how_a_chunker_is_spelled() -> None:
    assert settings_of("tokens") == {"chunker.name": "tokens"}
    own = {"chunker.name": "my:Part", "chunker.lines": "3", "chunker.x": "y"}
    assert settings_of("my:Part,lines=3,x=y") == own
    for wrong in ("tokens,160", "tokens,=3"):
        with pytest.raises(ConfigError, match="NAME,KEY=VALUE"):
            settings_of(wrong)


@pytest.fixture
def folder(tmp_path: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGAPP_EMBEDDER_NAME", "hashing")
    pdfs.write(tmp_path / "docs" / "a.pdf", [pdfs.prose("pump", 30), pdfs.prose("valve", 30)])
    pdfs.write(tmp_path / "docs" / "b.pdf", [pdfs.prose("piston", 30)])
    rows = [
        {
            "question": f"Which value has the property number 7 of the {subject}?",
            "doc": f"docs/{name}",
            "spans": [{"start": 0, "text": f"The {subject} has the property number 7 and the value 57."}],
        }
        for name, subject in (("a.pdf", "valve"), ("b.pdf", "piston"))
    ]
    rows[0]["spans"].append({"start": 0, "text": "Words that stand nowhere."})  # type: ignore[attr-defined]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return tmp_path


def test_a_run_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(folder), "--chunker", "tokens,overlap=0", "--chunker", "parent-child", "--tokens", "48", "--json"])
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [(row["chunker"], row["mode"]) for row in rows] == [
        ("tokens,overlap=0,tokens=48", "dense"),
        ("tokens,overlap=0,tokens=48", "hybrid"),
        ("parent-child,child_tokens=48", "dense"),
        ("parent-child,child_tokens=48", "hybrid"),
    ]
    assert all(row["questions"] == 2 and row["chunks"] > 20 and row["spans_missing"] == 1 for row in rows)
    assert rows[1]["at_k"]["recall"] == rows[1]["in_budget"]["recall"] == 1
    assert 0 < rows[3]["at_k"]["precision"] < rows[1]["at_k"]["precision"] < 0.2
    assert "1 spans were not found" in said.err


def test_a_run_as_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(folder), "--chunker", "sentences,sentences=2", "--chunker", "tokens", "--k", "1", "--budget", "60"])
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert "recall@1" in head
    assert [line.split("|")[1].strip() for line in lines] == ["sentences,sentences=2"] * 2 + ["tokens"] * 2
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    # A chunk of 200 tokens does not fit into 60 characters: nothing is read.
    assert [row[8] for row in cells[2:]] == ["0.000", "0.000"]
    assert [bool(row[11]) for row in cells] == [False, False, True, True]


def test_a_folder_without_questions_or_with_those_of_another(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ReadError, match="cannot be read"):
        questions_of(tmp_path / "none")
    row = {"question": "What is it?", "doc": "c.pdf", "spans": [{"start": 0, "text": "x"}]}
    (folder / "qa.jsonl").write_text(json.dumps(row), "utf-8")
    with pytest.raises(ReadError, match="No span"):
        main([str(folder)])
