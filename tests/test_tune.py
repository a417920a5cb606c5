"""The search for settings: a real gain is found and proven on unseen questions, and no other is believed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import Rag
from ragapp import config as settings_of
from ragapp.errors import ConfigError
from ragapp.eval import tune as module
from ragapp.eval.dataset import Dataset, Gold, Question, of_questions
from ragapp.eval.space import Space, space_of
from ragapp.eval.trials import Trials, kind_of
from ragapp.eval.tune import State, groups_of, parted, tune
from ragapp.eval.tuned import as_markdown, write
from ragapp.eval.variants import Variants
from ragapp.rerankers import WEIGHT
from ragapp.scripted import ScriptedChat
from ragapp.types import Passage
from tests import trial_library
from tests.trial_library import PLACES, SETTINGS, THINGS, Tokens, files_of, question

pytestmark = pytest.mark.usefixtures("in_folder")

# Two numbers a text tell nothing, and weigh nearly all: the words would find every page.
BAD: dict[str, Any] = {"embedder__name": "hashing", "embedder__width": 2, "search__dense_weight": 0.9}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trial_library.fill(tmp_path_factory.mktemp("bad") / "library", **BAD)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trial_library.fill(tmp_path_factory.mktemp("good") / "library")


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the copies of all searches lie, so that they are made once."""
    return tmp_path_factory.mktemp("indexes")


@pytest.fixture(autouse=True)
def _few_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two other chunkers are as good as eleven here, and faster."""
    monkeypatch.setattr(module, "INDEXES", module.INDEXES[:2])


@pytest.fixture
def bad_rag(bad: Path) -> Iterator[Rag]:
    with Rag.open(bad, **BAD) as rag:
        yield rag


@pytest.fixture
def good_rag(good: Path) -> Iterator[Rag]:
    with Rag.open(good, **SETTINGS) as rag:
        yield rag


# -- the search ------------------------------------------------------------------------------------------------------


def test_a_real_gain_is_found_and_written(bad_rag: Rag, indexes: Path, tmp_path: Path) -> None:
    before = files_of(bad_rag.folder)
    states: list[State] = []
    tuned = tune(bad_rag, trial_library.questions(24), folder=indexes, folds=3, rounds=12, progress=states.append)
    assert tuned.significant
    assert tuned.gain.metric == "pages.mrr@10"
    assert tuned.gain.low > 0.05
    assert tuned.gain.n == tuned.questions == tuned.groups == 24
    assert tuned.fitted[1] > tuned.fitted[0]
    assert {state.stage for state in states} == {"present", "indexes", "trials", "choices"}
    assert states[-1].now == pytest.approx(tuned.fitted[0])
    assert states[-1].best is not None
    assert states[-1].best >= tuned.fitted[1] - 1e-9
    assert files_of(bad_rag.folder) == before
    # What was chosen is a settings file, and its settings give what is said.
    path, report = write(tuned, tmp_path / "ragapp.toml")
    assert report.read_text(encoding="utf-8") == as_markdown(tuned)
    with Variants(bad_rag, indexes) as variants:
        dataset = trial_library.questions(24)
        after = Trials(variants, dataset.questions).mean(
            tuned.settings, [q.id for q in dataset.questions], tuned.metric
        )
    assert after == pytest.approx(tuned.fitted[1])
    made = settings_of.load(file=path, env={})
    for key, value in tuned.settings.items():
        table, name = key.split(".")
        assert getattr(getattr(made, table), name) == value
    # Every change that was kept is worth something; for the folds, too.
    assert all(effect.worth > 0 for effect in tuned.effects)
    assert {effect.key for effect in tuned.effects} == {
        "chunker" if key.startswith("chunker.") else key for key in tuned.settings
    }


def test_no_gain_is_made_up(good_rag: Rag, indexes: Path, in_folder: Path) -> None:
    easy = [question(place, thing) for thing in THINGS[:2] for place in PLACES]
    tuned = tune(good_rag, of_questions("easy", easy), folder=indexes, folds=4, rounds=2, metric="documents.recall@20")
    assert tuned.fitted == (1.0, 1.0)
    assert not tuned.significant
    assert tuned.settings == {}
    assert tuned.gain.verdict == "noise"
    assert write(tuned, in_folder / "ragapp.toml") == ()
    assert list(in_folder.iterdir()) == []
    assert "Keep them" in as_markdown(tuned)


def test_the_same_seed_gives_the_same(bad_rag: Rag, indexes: Path) -> None:
    made = [
        tune(bad_rag, trial_library.questions(12), folder=indexes, folds=2, rounds=7, seed=7, seconds=300)
        for _ in range(2)
    ]
    for each in made:
        assert each.trials + each.pruned == 7 * 3
    assert replace(made[0], seconds=0) == replace(made[1], seconds=0)


def test_a_fold_is_chosen_without_its_questions(bad_rag: Rag, indexes: Path) -> None:
    dataset = trial_library.questions(12)
    # More rounds than those that begin every study in the same way.
    honest = tune(bad_rag, dataset, folder=indexes, folds=2, rounds=12, seed=3, seconds=300)
    part, held = parted(_shuffled(dataset, 3), 2, 3)[0], 0
    # Another page is called the right one for all that this fold holds out: its choice must not notice.
    lies = [
        replace(q, gold=(replace(q.gold[0], pages=(q.gold[0].pages[0] % 6 + 1,), quote=""),)) if q.id in part else q
        for q in dataset.questions
    ]
    told = tune(bad_rag, of_questions("lies", lies), folder=indexes, folds=2, rounds=12, seed=3, seconds=300)
    assert told.folds[held].settings == honest.folds[held].settings
    assert told.folds[held].trained == pytest.approx(honest.folds[held].trained)
    assert (told.folds[held].before, told.folds[held].after) != (
        honest.folds[held].before,
        honest.folds[held].after,
    )


def _shuffled(dataset: Dataset, seed: int) -> list[list[str]]:
    import random

    groups = groups_of(dataset.questions)
    random.Random(seed).shuffle(groups)
    return groups


def test_paraphrases_count_as_one(bad_rag: Rag, indexes: Path) -> None:
    asked = [
        question(place, thing, number=str(number)) for thing in THINGS[:2] for place in PLACES for number in range(4)
    ]
    tuned = tune(bad_rag, of_questions("said again", asked), folder=indexes, folds=4, rounds=2)
    assert tuned.questions == 80
    assert tuned.groups == tuned.gain.n == 20
    assert [fold.questions for fold in tuned.folds] == [20, 20, 20, 20]


def test_questions_without_the_metric_are_counted(bad_rag: Rag, indexes: Path) -> None:
    some = list(trial_library.questions(12).questions)
    some += [
        Question("none", "Who paid?", answerable=False),
        Question("document", "Who built?", (Gold("survey-1.txt"),)),
    ]
    tuned = tune(bad_rag, of_questions("mixed", some), folder=indexes, folds=2, rounds=1)
    assert tuned.questions == 12
    counted = [sentence for sentence in tuned.warnings if "have no pages.mrr@10" in sentence]
    assert len(counted) == 2
    assert any("unanswerable" in sentence for sentence in counted)


def test_what_flags_say_is_not_in_the_file(bad_rag: Rag, indexes: Path) -> None:
    tuned = tune(bad_rag, trial_library.questions(12), folder=indexes, folds=2, rounds=1)
    assert any("search.dense_weight" in sentence for sentence in tuned.warnings)


def test_answers_can_be_tuned_for(good_rag: Rag, indexes: Path) -> None:
    asked = [replace(q, answers=(f"{n}",)) for n, q in enumerate(trial_library.questions(12).questions)]
    tuned = tune(
        good_rag, of_questions("answers", asked), folder=indexes, folds=2, rounds=1, metric="citation.page_recall"
    )
    assert tuned.gain.metric == "citation.page_recall"
    assert not any("context_tokens" in sentence for sentence in tuned.left_out)
    assert tuned.gain.mean_a > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "pages.mrr"}, "no metric"),
        ({"metric": "latency.total"}, "cannot be tuned"),
        ({"metric": "refusal.false"}, "cannot be tuned"),
        ({"folds": 1}, "at least 2 folds"),
        ({"seconds": 0}, "more than 0 seconds"),
        ({"rounds": 0}, "at least 1 round"),
        ({"cancelled": lambda: True}, "before the present settings"),
        ({"seconds": 1e-6}, "before the present settings"),
    ],
)
def test_what_cannot_be_is_told(bad_rag: Rag, indexes: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        tune(bad_rag, trial_library.questions(12), folder=indexes, **changes)
    assert message in f"{raised.value.message} {raised.value.hint}"


def test_too_few_questions_are_refused(bad_rag: Rag, indexes: Path) -> None:
    same = of_questions("same", [question("mill", "roof", number=str(n)) for n in range(40)])
    for dataset in (trial_library.questions(9), same):
        with pytest.raises(ConfigError, match="different gold"):
            tune(bad_rag, dataset, folder=indexes)


def test_whoever_stops_has_the_best_so_far(bad_rag: Rag, indexes: Path) -> None:
    asked = count()
    tuned = tune(
        bad_rag, trial_library.questions(12), folder=indexes, folds=3, seconds=300, cancelled=lambda: next(asked) > 40
    )
    assert tuned.cancelled
    assert tuned.trials >= 3
    assert len(tuned.folds) == 3
    assert "stopped early" in as_markdown(tuned)


def test_the_time_is_kept(bad_rag: Rag, tmp_path: Path) -> None:
    began = time.monotonic()
    tuned = tune(bad_rag, trial_library.questions(), folder=tmp_path / "indexes", folds=2, seconds=2)
    assert time.monotonic() - began < 2 * 1.1 + 1
    assert tuned.seconds <= 2 * 1.1 + 1
    assert tuned.budget == 2


def test_an_index_that_takes_too_long_is_left_out(
    bad_rag: Rag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Variants, "expected", lambda self, settings: 100.0 if settings else 0.0)
    tuned = tune(bad_rag, trial_library.questions(12), folder=tmp_path / "indexes", folds=2, seconds=60, rounds=1)
    assert tuned.indexes == ("as it is",)
    assert any("2 of 2 other indexes" in sentence and "about 100 s" in sentence for sentence in tuned.left_out)
    assert not (tmp_path / "indexes").exists()


# -- questions in folds ----------------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(), min_size=1, max_size=5), min_size=2, max_size=40),
    st.integers(2, 9),
    st.integers(0, 9),
)
def test_folds_are_fair(sizes: list[list[int]], folds: int, seed: int) -> None:
    groups = [[f"{place}-{n}" for n in range(len(group))] for place, group in enumerate(sizes)]
    parts = parted(groups, folds, seed)
    assert sorted(name for part in parts for name in part) == sorted(name for group in groups for name in group)
    assert len(parts) == min(folds, len(groups))
    assert max(map(len, parts)) - min(map(len, parts)) <= max(map(len, groups))
    for group in groups:
        assert sum(group[0] in part for part in parts) == 1
        assert any(set(group) <= set(part) for part in parts)


def test_groups_are_questions_of_the_same_gold() -> None:
    def asked(name: str, *gold: Gold) -> Question:
        return Question(name, name, gold)

    page, other, document = Gold("a", (1,)), Gold("a", (2,)), Gold("a")
    questions = [
        asked("1", page), asked("2", page), asked("3", other), asked("4", page, other), asked("5", other, page),
        asked("6", document), asked("7", document), asked("8", Gold("a", (1,), "quote")), asked("9"),
    ]  # fmt: skip
    assert groups_of(questions) == [["1", "2"], ["3"], ["4", "5"], ["6"], ["7"], ["8"], ["9"]]


# -- what may be tried -----------------------------------------------------------------------------------------------


def space(rag: Rag, *texts: str, answers: bool = False) -> Space:
    return space_of(rag, [Question(text, text) for text in texts], [{"chunker.name": "headings"}], answers=answers)


def test_only_what_is_read_is_tried(good_rag: Rag, bad_rag: Rag) -> None:
    english, chinese = "How high?", "塔有多高？"
    keys = {knob.key for knob in space(good_rag, english).knobs}
    assert "search.dense_weight" in keys
    assert "search.dense_weight_cjk" not in keys
    assert {"reranker.weight", "search.route_weight"} <= keys
    assert not keys & {"answer.context_tokens", "search.hyde"}
    keys = {knob.key for knob in space(bad_rag, chinese, answers=True).knobs}
    assert "search.dense_weight_cjk" in keys
    assert not keys & {"search.dense_weight", "reranker.weight"}
    assert "answer.context_tokens" in keys


def test_settings_are_told_as_what_differs_and_is_read(good_rag: Rag) -> None:
    found = space(good_rag, "How high?")
    assert found.now["reranker.weight"] == WEIGHT
    assert found.clean({"search.depth": 40, "search.dense_weight": 0.3, "search.rrf_constant": 5}) == {
        "search.dense_weight": 0.3
    }
    assert found.clean({"reranker.name": "keep", "reranker.weight": 0.2, "reranker.candidates": 5}) == {
        "reranker.name": "keep"
    }
    settings = {"chunker.name": "tokens", "chunker.tokens": 80, "search.fusion": "rrf", "search.rrf_constant": 5}
    assert dict(found.reverted(settings)) == {
        "chunker": {"search.fusion": "rrf", "search.rrf_constant": 5},
        "search.fusion": {"chunker.name": "tokens", "chunker.tokens": 80},
        "search.rrf_constant": {"chunker.name": "tokens", "chunker.tokens": 80, "search.fusion": "rrf"},
    }


def test_a_value_that_is_no_usual_one_is_tried(good: Path) -> None:
    with Rag.open(good, search__depth=33, reranker__weight=0.37, **SETTINGS) as rag:
        knobs = {knob.key: knob.values for knob in space(rag, "How high?").knobs}
    assert knobs["search.depth"] == (10, 20, 33, 40, 80, 160)
    assert 0.37 in knobs["reranker.weight"]


# -- trials ----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_a_search(good_rag: Rag, indexes: Path) -> None:
    asked = trial_library.questions(8).questions
    with Variants(good_rag, indexes) as variants:
        trials = Trials(variants, asked)
        settings = {"search.dense_weight": 1.0, "reranker.name": "keep"}
        found = trials.scores(settings, [q.id for q in asked], "passages.mrr@10")
    assert any(0 < score < 1 / 3 for score in found.values())
    with Rag.open(good_rag.folder, search__dense_weight=1.0, reranker__name="keep", **SETTINGS) as rag:
        for q in asked:
            ranks = [rank for rank, passage in enumerate(rag.search(q.text, 20), 1) if holds(rag, passage, q.gold[0])]
            assert found[q.id] == pytest.approx(1 / ranks[0] if ranks and ranks[0] <= 10 else 0)


def holds(rag: Rag, passage: Passage, gold: Gold) -> bool:
    at = rag.catalog.document(passage.chunk.document_id).text.find(gold.quote)
    return at >= 0 and passage.chunk.start < at + len(gold.quote) and at < passage.chunk.end


def test_a_question_is_asked_once_under_the_same_settings(good_rag: Rag, tmp_path: Path) -> None:
    with Variants(good_rag, tmp_path, keep=False) as variants:
        trials = Trials(variants, trial_library.questions(8).questions)
        ids = list(trials.questions)
        first = trials.scores({"search.depth": 5, "search.fusion": "rrf"}, ids[:4], "pages.mrr@10")
        Tokens.calls.clear()
        assert trials.scores({"search.fusion": "rrf", "search.depth": 5}, ids[:4], "pages.mrr@10") == first
        assert Tokens.calls.get("queries", 0) == 0
        assert trials.scores({"search.fusion": "rrf", "search.depth": 5}, ids, "pages.mrr@10").keys() == set(ids)
        assert Tokens.calls["queries"] == 4


MODEL = ScriptedChat(replies=[])


def scripted() -> ScriptedChat:
    return MODEL


def test_hyde_is_that_of_a_flow_and_imagined_once(good: Path, tmp_path: Path) -> None:
    asked = replace(question("mill", "engine"), text="Which figure was it?")
    MODEL.replies[:] = ["The engine of the mill: engine of the mill, mill engine, survey-8 Chapter 4."]
    MODEL.prompts.clear()
    only_dense = {"search.dense_weight": 1.0, "reranker.name": "keep", "search.hyde": "on"}
    flags = {**SETTINGS, "chat__model": f"{__name__}:scripted"}
    with Rag.open(good, **flags) as rag, Variants(rag, tmp_path) as variants:
        trials = Trials(variants, [asked])
        without = trials.mean({**only_dense, "search.hyde": "auto"}, [asked.id], "pages.mrr@10")
        assert MODEL.prompts == []
        imagined = trials.mean(only_dense, [asked.id], "pages.mrr@10")
        trials.mean({**only_dense, "search.depth": 9}, [asked.id], "pages.mrr@10")
        assert "search.hyde" in {knob.key for knob in space(rag, "How high?").knobs}
    assert imagined > without
    assert len(MODEL.prompts) == 1


def test_a_metric_is_told_by_its_name() -> None:
    assert kind_of("pages.mrr@10") == "search"
    assert kind_of("answer.f1") == "ask"
    with pytest.raises(ConfigError, match="no metric"):
        kind_of("pages")
