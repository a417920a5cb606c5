"""The judge: a probability from what is known of question and passages, the same every time."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragapp.embedders import BuiltinEmbedder
from ragapp.errors import ConfigError
from ragapp.evidence import CJK, ENGLISH, VERSION, WORDS_ALONE, Calibration, Evidence, Facts, calibration_of
from ragapp.ports import Judge
from ragapp.questions import is_of_kind, kind_of_answer, share, terms
from ragapp.testing import HashingEmbedder, document_of, passage_of
from ragapp.types import Passage, Query, Rank

MODEL = BuiltinEmbedder()


class Plain:
    """ports.Words: single words, and pairs of Chinese characters; every word tells the same but for rare ones."""

    def words(self, text: str) -> list[str]:
        found = re.findall(r"[a-z0-9]+", text.lower())
        for run in re.findall(r"[\u4e00-\u9fff]+", text):
            found += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
        return list(dict.fromkeys(found))

    def weight(self, word: str) -> float:
        return 3.0 if word == "turbine" else 1.0


def found(*texts: str, dense: Sequence[float] = (), lexical: Sequence[float] = (), header: str = "") -> list[Passage]:
    """Passages with the scores that two rankers gave them; a score of -1 is none."""
    passages = []
    for n, text in enumerate(texts):
        passage = passage_of(document_of(text, name=f"{n}.pdf"))
        scores = {"dense": dense[n : n + 1], "lexical": lexical[n : n + 1]}
        by = {name: Rank(1, score[0]) for name, score in scores.items() if score and score[0] >= 0}
        passages.append(replace(passage, chunk=replace(passage.chunk, header=header), found_by=by))
    return passages


def judge(embedder: object = None, **settings: object) -> Evidence:
    return Evidence(embedder or HashingEmbedder(), Plain(), **settings)  # type: ignore[arg-type]


TANK = "The tank of the model nine holds 42 litres of fuel. Its engine was built in Graz in 1998."
GRASS = "Cows eat grass in the meadows of the valley, and sleep in a barn when the winter comes."


# -- the probability ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("embedder", [HashingEmbedder(), MODEL])
def test_what_is_there_is_likelier_than_what_is_not(embedder: object) -> None:
    evidence = judge(embedder)
    passages = found(TANK, GRASS, dense=(0.7, 0.1), lexical=(5.0, 1.0))
    there = evidence.confidence(Query("How many litres of fuel does the tank of the model nine hold?"), passages)
    strange = found(GRASS, TANK, dense=(0.1, 0.05), lexical=(1.0,))
    not_there = evidence.confidence(Query("Which planets have rings and moons of ice?"), strange)
    assert 0 <= not_there < evidence.threshold < there <= 1


def test_chinese_is_judged_by_pairs_of_characters() -> None:
    passages = found("本机的最大功率为九千瓦。油箱的容积为四十二升。", GRASS, lexical=(9.0, 0.1))
    evidence = judge(MODEL)
    assert evidence.confidence(Query("本机的最大功率是多少？"), passages) > 0.5
    assert evidence.confidence(Query("火星上的气候怎么样？"), passages) < 0.5


def test_a_judge_is_what_flows_take_for_one() -> None:
    evidence: Judge = judge()
    assert evidence.threshold == 0.5
    assert evidence.confidence(Query("anything"), ()) == 0.0


def test_the_standalone_question_is_judged() -> None:
    evidence, passages = judge(), found(TANK)
    asked = Query("And how much?", standalone="How many litres of fuel does the tank hold?")
    assert evidence.confidence(asked, passages) == evidence.confidence(Query(asked.standalone), passages)
    assert evidence.confidence(asked, passages) > evidence.confidence(Query("Grass, cows, how much?"), passages)


@given(
    question=st.text(max_size=60),
    texts=st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=7),
    scores=st.lists(st.floats(-1, 50), max_size=7),
)
def test_any_question_has_a_probability_and_always_the_same(
    question: str, texts: list[str], scores: list[float]
) -> None:
    passages = found(*texts, dense=[min(score, 1.0) for score in scores], lexical=scores[::-1])
    first = judge().confidence(Query(question), passages)
    assert 0 <= first <= 1
    assert judge().confidence(Query(question), passages) == first
    facts = judge().facts(Query(question), passages)
    assert all(0 <= getattr(facts, field.name) <= 1 + 1e-9 for field in fields(facts))


@pytest.mark.parametrize("odds", [ENGLISH, WORDS_ALONE, CJK])
def test_more_of_anything_never_speaks_against_an_answer(odds: object) -> None:
    least = Facts(0.0, 0.0, 0.0, 0.0, numbers=0.0)
    for field in fields(Facts):
        assert odds.of(replace(least, **{field.name: 1.0})) >= odds.of(least)  # type: ignore[attr-defined]
    assert odds.of(least) < 0  # type: ignore[attr-defined]
    assert odds.of(replace(least, numbers=1.0)) > odds.of(least) + 1  # type: ignore[attr-defined]


# -- the facts ---------------------------------------------------------------------------------------------------------


def facts(question: str, passages: Sequence[Passage], embedder: object = None) -> Facts:
    return judge(embedder).facts(Query(question), passages)


def test_words_of_the_best_passage_and_its_header() -> None:
    passages = found("the turbine leaks", "grass", header="pump")
    assert facts("turbine leaks oil pump", passages).words == 0.75
    assert facts("what is the turbine", passages).words == 1.0
    assert facts("turbine", found(*["grass"] * 5, "turbine")).words == 0.0


def test_words_of_the_best_sentence_weigh_what_they_tell() -> None:
    passages = found("The turbine leaks. The oil burns.")
    assert facts("turbine oil burns", passages).sentence == pytest.approx(3 / 5)
    assert facts("leaks oil burns", passages).sentence == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("dense", "lexical", "agreement"),
    [
        ((0.9, 0.5, 0.4), (9.0, 5.0, 4.0), 1.0),
        ((0.9, 0.5, 0.4), (5.0, 9.0, 4.0), 0.5),
        ((0.9, 0.5, 0.4), (4.0, 5.0, 9.0), 1 / 3),
        ((0.9, -1, -1), (-1, 5.0, 9.0), 0.0),
        ((0.9, 0.5, 0.4), (-1, -1, -1), 0.0),
    ],
)
def test_how_far_the_rankers_agree(dense: Sequence[float], lexical: Sequence[float], agreement: float) -> None:
    assert facts("a", found("a", "b", "c", dense=dense, lexical=lexical)).agreement == pytest.approx(agreement)


@pytest.mark.parametrize(
    ("lexical", "lead"),
    [((10.0, 4.0), 0.6), ((10.0, 9.0, 9.0, 9.0, 9.0, 5.0, 3.0), 0.6), ((10.0,), 0.0), ((), 0.0), ((0.0, 0.0), 0.0)],
)
def test_how_far_the_best_words_are_ahead(lexical: Sequence[float], lead: float) -> None:
    assert facts("a", found(*"abcdefg", lexical=lexical)).lead == pytest.approx(lead)


@pytest.mark.parametrize(
    ("question", "text", "numbers"),
    [
        ("What does exit code 6 mean?", "Exit code 5 means that another process is writing.", 0.0),
        ("What does exit code 6 mean?", "Exit code 6 means that the disk is full.", 1.0),
        ("What does exit code mean?", "The lamp is out.", 1.0),
        ("How do E42 and E11 differ?", "E42 tells that the pump leaks.", 0.5),
        ("What is E42?", "Pump 42 leaks.", 0.0),
        ("What is 42?", "E42 tells that the pump leaks.", 0.0),
        ("Who wrote it in the 17th century?", "It is of 1640, chapter 17.", 1.0),
        ("Who owes 4000 pounds?", "He owes 4,000 pounds.", 1.0),
        ("Who owes 4,000 pounds?", "He owes 4, and 000 is a code.", 0.0),
        ("Who owes 12345 pounds?", "The rows 1,2345 and 6 are gone.", 0.0),
        ("Is it 2.5 litres?", "It holds 2 to 5 litres.", 0.0),
        ("Is it 2.5 litres?", "It holds 2.5l.", 1.0),
        ("What happens after 3 months?", "After three months it ends.", 1.0),
        ("What happens after 3 months?", "Those threepence are gone.", 0.0),
        ("What happens in the 2nd year?", "It ends in the Second year.", 1.0),
        ("退出码 6 是什么意思？", "退出码 5 表示另一个进程正在写入。", 0.0),
        ("退出码 6 是什么意思？", "退出码６表示磁盘已满。", 1.0),
        ("6个月以后呢？", "六个月以后结束。", 1.0),
        ("6个月以后呢？", "七个月以后结束。", 0.0),
    ],
)
def test_the_questions_numbers_and_codes_are_looked_for(question: str, text: str, numbers: float) -> None:
    assert facts(question, found(GRASS, text)).numbers == numbers


def test_numbers_may_stand_above_a_passage_and_in_several_of_the_first_five() -> None:
    assert facts("What of 6 and 7?", found("It ends.", "Item 7.", header="Rule 6")).numbers == 1.0
    assert facts("What of 7?", found(*["It ends."] * 5, "Item 7.")).numbers == 0.0


@pytest.mark.parametrize("embedder", [HashingEmbedder(), MODEL])
def test_a_number_that_no_passage_has_speaks_against_an_answer(embedder: object) -> None:
    passages = found("An alarm E5 means that the pump of the kiln leaks.", GRASS, dense=(0.5, 0.1), lexical=(5.0, 1.0))
    for told, strange in (("What does alarm E5 mean?", "What does alarm E6 mean?"), ("E5 表示什么？", "E6 表示什么？")):
        sure, unsure = (judge(embedder).confidence(Query(text), passages) for text in (told, strange))
        assert sure > unsure


@given(st.text(max_size=60), st.lists(st.text(max_size=60), min_size=1, max_size=3))
def test_a_text_that_has_the_question_has_its_numbers(question: str, others: list[str]) -> None:
    assert facts(question, found(*others, question or " ")).numbers == 1.0


class Fixed:
    """An embedder of one letter a token; the vectors are set, and its name is the built-in's or another."""

    def __init__(self, fingerprint: str = "all-MiniLM-L6-v2:fixed") -> None:
        self.fingerprint = fingerprint
        self.vectors = {"x": (1.0, 0.0), "y": (0.0, 1.0), "z": (0.6, 0.8)}

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [(i, i + 1) for i, letter in enumerate(text) if not letter.isspace()]

    def embed_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        return [np.array([self.vectors[c] for c in t if not c.isspace()], np.float32).reshape(-1, 2) for t in texts]

    def embed_documents(self, texts: list[str]) -> list[tuple[float, float]]:
        return [self.vectors[text.strip()[0]] for text in texts]

    def embed_query(self, text: str) -> tuple[float, float]:
        return self.vectors[text[0]]


def spoken(question: str, *texts: str, embedder: Fixed | None = None, query: Query | None = None) -> Facts:
    passages = [replace(p, chunk=replace(p.chunk, text=t)) for p, t in zip(found(*texts), texts, strict=True)]
    return judge(embedder or Fixed()).facts(query or Query(question), passages)


def test_meaning_is_that_of_the_best_passage_and_weakest_its_lower_quartile() -> None:
    known = spoken("x y", "x", "z", "y")
    assert known.meaning == pytest.approx(0.7)
    assert known.weakest == pytest.approx(0.65)
    assert spoken("x y", "x y").weakest == pytest.approx(1.0)
    # The pieces of one word count as one: 1 and 0 are 0.5, not a word that nothing speaks about.
    assert spoken("xy", "x").weakest == pytest.approx(0.5)


def test_the_cosine_is_the_rankers_unless_it_searched_for_something_else() -> None:
    passages = found("z", "y", dense=(0.3, 0.4))
    assert judge(Fixed()).facts(Query("x"), passages).cosine == pytest.approx(0.4)
    assert judge(Fixed()).facts(Query("x", hypotheses=("an idea",)), passages).cosine == pytest.approx(0.6)
    assert spoken("x", "z", "y").cosine == pytest.approx(0.6)


def test_an_embedder_with_other_cosines_is_not_asked() -> None:
    known = spoken("x y", "x y", embedder=Fixed("another:model"))
    assert (known.meaning, known.weakest, known.cosine) == (0.0, 0.0, 0.0)
    assert judge(Fixed("another:model")).odds(Query("x")) is WORDS_ALONE
    assert judge(Fixed()).odds(Query("x")) is ENGLISH
    assert judge(Fixed()).odds(Query("多少")) is CJK


# -- calibrations ------------------------------------------------------------------------------------------------------


def test_a_calibration_shifts_what_the_judge_says(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    Calibration(scale=1.0, shift=-50.0).save(file)
    passages, query = found(TANK), Query("How many litres of fuel does the tank hold?")
    assert judge(calibration=str(file)).confidence(query, passages) < 1e-9 < judge().confidence(query, passages)
    assert judge(calibration=str(file)).confidence(query, ()) == 0.0


@given(st.floats(0.01, 100), st.floats(-100, 100), st.lists(st.floats(-1e4, 1e4), min_size=2))
def test_a_calibration_keeps_the_order(scale: float, shift: float, odds: list[float]) -> None:
    calibration = Calibration(scale, shift)
    values = [calibration.probability(value) for value in sorted(odds)]
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)
    assert Calibration().probability(0.0) == 0.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("{", "not a calibration"),
        ("[]", "not a calibration"),
        ('{"scale": 1}', "not a calibration"),
        ({"scale": "x", "shift": 0, "version": VERSION}, "not a calibration"),
        ({"scale": 1, "shift": 0, "version": VERSION - 1}, "another version"),
        ({"scale": -1, "shift": 0, "version": VERSION}, "cannot be"),
        ({"scale": 1, "shift": float("nan"), "version": VERSION}, "cannot be"),
    ],
)
def test_a_file_that_is_no_calibration_says_so(tmp_path: Path, content: object, said: str) -> None:
    file = tmp_path / "mine.json"
    if content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError, match=said) as error:
        judge(calibration=str(file))
    assert "--fit" in (error.value.hint or "")


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = Calibration(1.25, -0.5)
    made.save(tmp_path / "c.json")
    assert calibration_of(tmp_path / "c.json") == made
    with pytest.raises(ConfigError, match="cannot be written"):
        made.save(tmp_path / "nowhere" / "c.json")


# -- what a question asks for ------------------------------------------------------------------------------------------


def test_stop_words_tell_nothing_unless_there_is_nothing_else() -> None:
    assert list(terms(Plain(), "What is the turbine?")) == ["turbine"]
    assert list(terms(Plain(), "What is it?")) == ["what", "is", "it"]
    assert share(terms(Plain(), "turbine oil"), {"turbine"}) == 0.75
    assert share({}, {"turbine"}) == 0.0


@pytest.mark.parametrize(
    ("question", "text", "fits"),
    [
        ("When was it built?", "It was built in 1998.", True),
        ("When was it built?", "It was built in Graz.", False),
        ("Was it 1998 when it was built?", "It was built in 1998.", False),
        ("How many pumps leak?", "Seven pumps leak.", True),
        ("How many pumps leak?", "Pumps leak.", False),
        ("Who built it?", "It was built by Maria.", True),
        ("Who built it?", "It was built by hand.", False),
        ("哪一年建成的？", "建成于1998年。", True),
        ("功率是多少？", "功率为九千瓦。", True),
        ("功率是多少？", "功率很大。", False),
        ("Why does it leak?", "It leaks 42 litres.", False),
    ],
)
def test_the_kind_of_answer(question: str, text: str, fits: bool) -> None:
    assert is_of_kind(kind_of_answer(question), question, text) is fits
