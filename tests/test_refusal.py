"""The scale for refusals: its measures by hand, a calibration that helps, and a run through a library."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import Rag
from ragapp.errors import ConfigError, ReadError
from ragapp.eval import refusal
from ragapp.eval.refusal import Question, area, candidates, fitted, main, questions_of, report
from ragapp.evidence import Calibration, Evidence, calibration_of
from ragapp.rerankers import KeepOrder
from ragapp.testing import HashingEmbedder, document_of, passage_of
from ragapp.types import Passage, Query
from tests import pdfs

SURE = st.lists(st.floats(0, 1), min_size=1, max_size=30)


# -- the measures ------------------------------------------------------------------------------------------------------


def test_refusals_at_the_threshold() -> None:
    result = report([0.9, 0.5, 0.4, 0.8], [0.1, 0.6], 0.5)
    assert (result.right, result.false) == (0.5, 0.25)
    assert (result.answerable, result.unanswerable) == (4, 2)
    assert result.brier == pytest.approx((0.01 + 0.25 + 0.36 + 0.04 + 0.01 + 0.36) / 6)
    half = next(point for point in result.curve if point.threshold == 0.5)
    assert (half.coverage, half.risk) == (pytest.approx(4 / 6), pytest.approx(1 / 4))


def test_the_area_below_the_curve() -> None:
    def of(sure: list[float], truth: list[float]) -> float:
        return area(np.array(sure), np.array(truth))

    assert of([0.9, 0.8, 0.1], [1, 1, 0]) == pytest.approx((0 + 0 + 1 / 3) / 3)
    assert of([0.1, 0.8, 0.9], [1, 1, 0]) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    # Equally sure questions share their risk, whatever order they come in.
    assert of([0.5, 0.5], [0, 1]) == of([0.5, 0.5], [1, 0]) == pytest.approx(0.5)


@given(SURE, SURE, st.floats(0, 1))
def test_the_measures_are_shares_and_the_curve_falls(sure: list[float], unsure: list[float], threshold: float) -> None:
    result = report(sure, unsure, threshold)
    for value in (result.right, result.false, result.brier, result.aurc):
        assert 0 <= value <= 1
    coverages = [point.coverage for point in result.curve]
    assert coverages == sorted(coverages, reverse=True)
    assert sum(each.questions for each in result.bins) == len(sure) + len(unsure)
    for each in result.bins:
        assert each.low <= each.confidence <= each.low + 0.1 + 1e-9


def test_the_report_in_words() -> None:
    text = "\n".join(refusal.lines(report([0.95, 1.0], [0.15, 0.75], 0.5)))
    assert "right refusals 50.0% of 2, false refusals 0.0% of 2" in text
    assert "| 0.9-1.0 | 2 | 0.975 | 1.000 |" in text
    assert "| 0.8 | 0.500 | 0.000 | 1.000 | 0.000 |" in text


# -- the calibration ---------------------------------------------------------------------------------------------------


def brier(calibration: Calibration, odds: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    made = np.array([calibration.probability(value) for value in odds.tolist()])
    return float(((made - truth) ** 2).mean())


def test_a_fit_mends_a_judge_that_is_too_sure_and_too_strict() -> None:
    rng = np.random.default_rng(1)
    odds = rng.normal(0, 2, 4000) + 1.4
    truth = rng.random(4000) < 1 / (1 + np.exp(-odds))
    said = 1 / (1 + np.exp(-(3 * odds - 4)))
    calibration = fitted(said[truth].tolist(), said[~truth].tolist())
    # Its log-odds are three times those of the truth, less 4; and the fit assumes that four in five are answerable.
    more = np.log(0.8 / 0.2) - np.log(truth.mean() / (1 - truth.mean()))
    assert calibration.scale == pytest.approx(1 / 3, abs=0.05)
    assert calibration.shift == pytest.approx(4 / 3 + more, abs=0.2)
    heard = 3 * odds - 4
    assert brier(calibration, heard, truth) < brier(Calibration(), heard, truth) - 0.02


def test_few_questions_change_little_and_give_numbers() -> None:
    calibration = fitted([0.9], [0.1])
    assert 0.2 < calibration.scale < 2
    for kinds in (([1.0] * 5, [0.0] * 5), ([0.999] * 400, [0.001]), ([0.5] * 3, [0.5] * 3)):
        made = fitted(*kinds)
        assert made.scale > 0
        assert np.isfinite([made.scale, made.shift]).all()


def test_a_judge_that_is_wrong_throughout_is_not_calibrated() -> None:
    with pytest.raises(ConfigError, match="look more answerable"):
        fitted([0.1, 0.2, 0.15] * 20, [0.9, 0.8, 0.95] * 20)


# -- questions and candidates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, "", "\n", "{", '{"id": "1"}', '{"question": 3}', '{"question": " "}', "[1]"])
def test_files_without_questions_say_so(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "q.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ReadError, match=re.escape(str(file))):
        questions_of(file)


def test_questions_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"id": "a", "question": "Who?"}\n\n{"question": "什么？"}\n', "utf-8")
    assert questions_of(tmp_path / "q.jsonl") == [Question("a", "Who?"), Question("2", "什么？")]


@dataclass(frozen=True)
class Found:
    """Tools that find what they were given."""

    passages: tuple[Passage, ...]
    depth: int = 2

    @property
    def retriever(self) -> Found:
        return self

    @property
    def reranker(self) -> KeepOrder:
        return KeepOrder()

    def retrieve(self, query: Query, k: int) -> list[Passage]:
        return list(self.passages[:k])


def test_what_is_held_back() -> None:
    one = document_of("First page.", "Second page.", "Third page.", "Fourth page.", "Fifth page.", name="one.pdf")
    other = document_of("Another document.", name="other.pdf")
    pages = [passage_of(one, page.start, page.end) for page in one.pages]
    elsewhere = passage_of(other)

    def held(*passages: Passage, depth: int = 2) -> list[str]:
        tools: Any = Found(passages, depth)
        return [passage.chunk.text.strip() for passage in candidates(tools, "q", hold_back=True)]

    tools: Any = Found((pages[0], elsewhere, pages[1]))
    assert candidates(tools, "q") == [pages[0], elsewhere]
    assert held(pages[0], elsewhere, pages[1]) == ["Another document."]
    # Deeper than what is looked at otherwise: of the first two nothing would be left.
    assert held(pages[0], pages[1], pages[2], elsewhere) == ["Another document."]
    # A library of one document: the pages of the three best passages are not there.
    assert held(*pages) == ["Fourth page.", "Fifth page."]
    assert held() == []


# -- through a library -------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library about two machines, whose judge is the built-in one, with questions beside it."""
    monkeypatch.setenv("RAGAPP_EMBEDDER_NAME", "hashing")
    for name in ("pump", "valve"):
        pdfs.write(tmp_path / "docs" / f"{name}.pdf", [pdfs.prose(name, 20)])
    with Rag.open(tmp_path / "library") as rag:
        rag.add([tmp_path / "docs"])
    there = [f"Which value has the property number {n} of the {name}?" for name in ("pump", "valve") for n in (3, 7)]
    not_there = ["Do walruses sing at night?", "Why did the emperor sell his horse?"]
    for name, questions in (("there", there), ("not_there", not_there)):
        rows = [json.dumps({"id": str(n), "question": text}) for n, text in enumerate(questions)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    return tmp_path


def built_in(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Tools whose judge is the built-in one, whatever the hall gives them."""
    made = Rag.tools.fget  # type: ignore[attr-defined]

    class Judged:
        def __init__(self, tools: Any) -> None:
            self.tools, self.judge = tools, Evidence(HashingEmbedder(), tools.words, **settings)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tools, name)

    monkeypatch.setattr(Rag, "tools", property(lambda rag: Judged(made(rag))))


def test_a_run_prints_tables_or_json(
    library: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built_in(monkeypatch)
    files = [str(library / name) for name in ("library", "there.jsonl", "not_there.jsonl")]
    main(files)
    assert "right refusals 100.0% of 2, false refusals 0.0% of 4" in capsys.readouterr().out
    main([*files, "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert (shown["right"], shown["false"], shown["threshold"]) == (1.0, 0.0, 0.5)
    assert len(shown["curve"]) == 9
    main([*files[:2], "--json"])
    assert json.loads(capsys.readouterr().out)["unanswerable"] == 4


def test_a_fit_writes_a_calibration_that_the_judge_takes(
    library: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built_in(monkeypatch)
    files = [str(library / name) for name in ("library", "there.jsonl", "not_there.jsonl")]
    target = library / "mine.json"
    main([*files, "--fit", str(target), "--json"])
    fit = json.loads(capsys.readouterr().out)
    assert calibration_of(target) != Calibration()
    built_in(monkeypatch, calibration=str(target))
    main([*files, "--json"])
    again = json.loads(capsys.readouterr().out)
    assert again["brier"] == pytest.approx(fit["fitted"]["brier"], abs=1e-6)
    # Fitted again it starts from the judge as it is without a calibration.
    main([*files, "--fit", str(library / "again.json")])
    assert calibration_of(library / "again.json") == calibration_of(target)
    assert "fitted:" in capsys.readouterr().out


def test_a_judge_of_the_users_own_is_measured_and_not_fitted(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Yes:
        threshold = 0.5

        def confidence(self, query: Query, passages: object) -> float:
            return 1.0

    built_in(monkeypatch)
    inner = Rag.tools.fget  # type: ignore[attr-defined]

    def own(rag: Rag) -> Any:
        tools = inner(rag)
        tools.judge = Yes()
        return tools

    monkeypatch.setattr(Rag, "tools", property(own))
    files = [str(library / name) for name in ("library", "there.jsonl")]
    main(files)
    with pytest.raises(ConfigError, match="built-in judge"):
        main([*files, "--fit", str(library / "mine.json")])
