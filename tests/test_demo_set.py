"""The questions that ship: true to the sample documents, asked as people ask; and the gate that they are."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

import pypdfium2 as pdfium
import pytest

from ragapp.citations import find
from ragapp.errors import ConfigError, ReadError
from ragapp.eval import gate
from ragapp.eval.data import samples
from ragapp.eval.dataset import Dataset, Question
from ragapp.text import has_cjk
from ragapp.wording import content

SET = gate.questions()
ANSWERABLE = [question for question in SET.questions if question.answerable]
UNANSWERABLE = [question for question in SET.questions if not question.answerable]


@pytest.fixture(scope="module")
def pages() -> dict[tuple[str, int], str]:
    """The text of every page of the samples, read by pdfium and by nothing of ours."""
    found = {}
    for path in samples():
        with pdfium.PdfDocument(path) as document:
            for number, page in enumerate(document, 1):
                found[path.name, number] = page.get_textpage().get_text_range()
    return found


def squeezed(text: str) -> str:
    return "".join(text.split())


# -- what it holds -----------------------------------------------------------------------------------------------------


def test_forty_questions_are_answered_and_ten_are_not_half_of_each_in_chinese() -> None:
    assert SET.warnings == ()
    counts = Counter((question.answerable, has_cjk(question.text)) for question in SET.questions)
    assert counts == {(True, False): 20, (True, True): 20, (False, False): 5, (False, True): 5}
    assert all(has_cjk(question.text) == (question.tags["language"] == "zh") for question in SET.questions)
    assert {question.tags["difficulty"] for question in ANSWERABLE} == {"easy", "hard"}


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question.id)
def test_every_quote_stands_word_for_word_on_its_page(question: Question, pages: dict[tuple[str, int], str]) -> None:
    assert question.gold
    assert question.answers
    for gold in question.gold:
        (page,) = gold.pages
        assert squeezed(gold.quote) in squeezed(pages[gold.document, page])


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question.id)
def test_what_an_answer_must_contain_stands_in_the_quotes(question: Question) -> None:
    quotes = " ".join(gold.quote for gold in question.gold).casefold()
    there = [wanted.casefold() in quotes for wanted in question.must_contain]
    assert there
    assert all(there) if question.match == "all" else any(there)


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question.id)
def test_no_question_is_its_quote_turned_round(question: Question) -> None:
    """Names of commands may be repeated, half a sentence may not."""
    for gold in question.gold:
        matcher = SequenceMatcher(None, question.text, gold.quote, autojunk=False)
        longest = matcher.find_longest_match()
        assert longest.size <= (12 if has_cjk(question.text) else 28)
        assert longest.size < len(gold.quote) * 0.7


@pytest.mark.parametrize("question", UNANSWERABLE, ids=lambda question: question.id)
def test_an_unanswerable_question_is_a_near_miss(question: Question, pages: dict[tuple[str, int], str]) -> None:
    """It has no place and no answer, and speaks of what the documents speak of."""
    assert (question.gold, question.answers, question.must_contain) == ((), (), ())
    everything = " ".join(pages.values()).casefold()
    told = [word for word in content(question.text) if word.casefold() in everything]
    assert told or any(question.text[at : at + 2] in everything for at in range(len(question.text) - 2))


def test_a_wrong_quote_would_be_noticed(pages: dict[tuple[str, int], str]) -> None:
    assert find("The tower is 32 metres high", pages["lighthouse-handbook.pdf", 1]) is None
    assert find("The tower is 31 metres high", pages["lighthouse-handbook.pdf", 2]) is None


# -- the gate ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> gate.Scores:
    """What the shipped settings reach today."""
    return gate.measured(SET, tmp_path_factory.mktemp("gate"))


def test_nothing_has_fallen_by_more_than_its_noise(now: gate.Scores) -> None:
    assert [str(fall) for fall in gate.falls(gate.stored(), now)] == []


def test_the_gate_looks_at_search_answers_citations_and_refusals(now: gate.Scores) -> None:
    kinds = {name.partition(".")[0] for name in gate.stored().means}
    assert {"passages", "pages", "documents", "answer", "citation", "refusal"} <= kinds
    assert not any(name.startswith("latency") for name in now.means)
    assert now.means.keys() == gate.stored().means.keys()
    assert {question.id for question in SET.questions} == now.questions.keys()


def with_values(scores: gate.Scores, metric: str, value: float, count: int) -> gate.Scores:
    """The scores after so many questions have changed to a value."""
    changed, left = {}, count
    for key, values in scores.questions.items():
        is_changed = metric in values and left > 0 and values[metric] != value
        changed[key] = {**values, metric: value} if is_changed else values
        left -= is_changed
    assert left == 0
    return gate.scores_of(replace_fingerprint(scores.set), changed)


def replace_fingerprint(fingerprint: str) -> Dataset:
    return replace(SET, fingerprint=fingerprint)


@pytest.mark.parametrize(
    ("metric", "worse"), [("documents.success@1", 0.0), ("passages.success@5", 0.0), ("refusal.false", 1.0)]
)
def test_a_fall_is_called_one_and_noise_is_not(metric: str, worse: float) -> None:
    stored = gate.stored()
    score = stored.means[metric]
    allowed = int(score.noise * score.n + 1e-6)
    assert 2 <= allowed <= 8
    assert gate.falls(stored, with_values(stored, metric, worse, allowed)) == []
    (fall,) = gate.falls(stored, with_values(stored, metric, worse, allowed + 1))
    assert (fall.metric, len(fall.questions)) == (metric, allowed + 1)
    assert all(key in str(fall) for key in fall.questions)


def test_what_becomes_better_is_no_fall() -> None:
    stored = gate.stored()
    assert gate.falls(stored, with_values(stored, "passages.success@1", 1.0, 10)) == []
    assert gate.falls(stored, with_values(stored, "refusal.false", 0.0, 10)) == []


def test_a_metric_that_nobody_has_any_more_has_fallen() -> None:
    stored = gate.stored()
    bare = {key: {n: v for n, v in values.items() if n != "verbatim"} for key, values in stored.questions.items()}
    (fall,) = gate.falls(stored, gate.scores_of(replace_fingerprint(stored.set), bare))
    assert (fall.metric, fall.mean) == ("verbatim", 0.0)


def test_scores_of_other_questions_are_not_compared() -> None:
    stored = gate.stored()
    with pytest.raises(ConfigError, match="other questions") as caught:
        gate.falls(stored, replace(stored, set="0" * 64))
    assert gate.COMMAND in caught.value.hint


def test_scores_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    stored = gate.stored()
    gate.write(stored, tmp_path / "scores.json")
    assert gate.stored(tmp_path / "scores.json") == stored
    assert (tmp_path / "scores.json").read_bytes() == gate.SCORES.read_bytes()
    assert json.loads((tmp_path / "scores.json").read_text("utf-8"))["command"] == gate.COMMAND


@pytest.mark.parametrize("text", [None, "", "{}", '{"set": "x", "means": {"a": 1}, "questions": {}}'])
def test_scores_that_cannot_be_read_are_an_error_with_the_command(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "scores.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ReadError) as caught:
        gate.stored(file)
    assert gate.COMMAND in caught.value.hint


@pytest.fixture
def scores_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "demo-scores.json"
    monkeypatch.setattr(gate, "SCORES", file)
    return file


def test_the_command_says_what_fell_and_stores_what_is_meant(
    scores_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], now: gate.Scores
) -> None:
    worse = with_values(now, "documents.success@1", 0.0, 5)
    monkeypatch.setattr(gate, "measured", lambda *_: now)
    assert gate.main([]) == 0  # nothing is stored yet
    assert gate.main(["--write"]) == 0
    assert gate.stored(scores_file) == now
    assert gate.main([]) == 0
    capsys.readouterr()
    monkeypatch.setattr(gate, "measured", lambda *_: worse)
    assert gate.main([]) == 1
    out, err = capsys.readouterr()
    assert "| documents.success@1 | 40 | 1.000 |" in out
    assert err.startswith("documents.success@1 was 1.000")
