"""The fit of the judge's weights: examples made of questions, the regression, and a run through two libraries."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import Rag
from ragapp.errors import ConfigError, ReadError
from ragapp.eval import judgement
from ragapp.eval.examples import Asked, asked_of, drawn, elsewhere, folded, pairs
from ragapp.eval.judgement import Example, Row, constant, fitted, left_out, logistic, main, means, rows_of
from ragapp.evidence import CJK, ENGLISH, PRIOR, WORDS_ALONE, Calibration, Evidence, Facts, Odds
from ragapp.rerankers import KeepOrder
from ragapp.testing import HashingEmbedder, document_of, passage_of
from ragapp.types import Passage, Query
from tests import pdfs

# -- questions ---------------------------------------------------------------------------------------------------------


def written(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return path


def test_where_an_answer_stands_is_read_in_three_shapes(tmp_path: Path) -> None:
    file = written(
        tmp_path / "q.jsonl",
        {"question": "a", "gold": [{"pdf": "x/one.pdf", "pages": [1, 2]}, {"pdf": "two.pdf", "page": 3}]},
        {"question": "b", "pdf": "x/one.pdf", "gold_pages": [4], "answers": ["Forty  TWO", " "]},
        {"question": "c", "doc": "docs/c.md", "spans": [{"text": "It is\nso."}]},
        {"question": "d"},
    )
    assert asked_of(file) == [
        Asked("a", frozenset({"one.pdf", "two.pdf"}), frozenset({("one.pdf", 1), ("one.pdf", 2), ("two.pdf", 3)})),
        Asked("b", frozenset({"one.pdf"}), frozenset({("one.pdf", 4)}), ("fortytwo",)),
        Asked("c", frozenset({"c.md"}), frozenset(), (), ("itisso.",)),
        Asked("d"),
    ]


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '{"question": 3}', '{"question": "a", "gold": [{}]}'])
def test_files_that_hold_no_questions_say_so(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "q.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ReadError, match=re.escape(str(file))):
        asked_of(file)


@given(st.text())
def test_folding_leaves_no_space_and_is_done_once(text: str) -> None:
    assert not re.search(r"\s", folded(text))
    assert folded("Ａ b\nC") == "abc"


@given(st.lists(st.text(min_size=1), unique=True), st.integers(0, 9), st.text())
def test_what_is_drawn_does_not_hang_on_the_order(names: list[str], count: int, question: str) -> None:
    asked = [Asked(name) for name in names]
    assert drawn(asked, count) == drawn(asked[::-1], count)
    assert len(drawn(asked, count)) == min(count, len(names))
    assert elsewhere(question, names, count) == elsewhere(question, names[::-1], count)
    assert set(elsewhere(question, names, count)) <= set(names)


def test_questions_are_spread_over_libraries() -> None:
    names = ["a", "b", "c", "d"]
    asked_to = [name for n in range(100) for name in elsewhere(f"question {n}", names, 2)]
    assert all(asked_to.count(name) > 30 for name in names)


# -- pairs -------------------------------------------------------------------------------------------------------------


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


ONE = document_of("It takes 42 litres.", "It is blue.", "It is red and old.", name="one.pdf")
OTHER = document_of("Nothing to see.", name="other.pdf")


def numbered(*passages: Passage) -> tuple[Passage, ...]:
    """As a library gives them: with ids, and with the names of their files."""
    return tuple(replace(p, chunk=replace(p.chunk, id=n)) for n, p in enumerate(passages, 1))


PASSAGES = numbered(*(passage_of(ONE, page.start, page.end) for page in ONE.pages), passage_of(OTHER))


def seen(asked: Asked, passages: Sequence[Passage] = PASSAGES, depth: int = 2) -> dict[str, list[int]]:
    tools: Any = Found(tuple(passages), depth)
    return {pair.kind: [passage.chunk.id for passage in pair.passages] for pair in pairs(tools, asked)}


def test_what_answers_is_held_back() -> None:
    by_page = Asked("q", frozenset({"one.pdf"}), frozenset({("one.pdf", 2)}))
    assert seen(by_page) == {"answerable": [1, 2], "document": [4], "passages": [1, 3]}
    by_words = replace(by_page, answers=("42litres",))
    assert seen(by_words) == {"answerable": [1, 2], "document": [4], "passages": [2, 3]}
    # Words that are found nowhere leave the page to say it.
    assert seen(replace(by_page, answers=("green",)))["passages"] == [1, 3]
    long = "it is blue. " + "and what follows the passage stands on the next page of it" * 2
    assert seen(Asked("q", frozenset({"one.pdf"}), spans=(folded("somewhere before it is"),)))["answerable"] == [1, 2]
    assert "passages" not in seen(Asked("q", frozenset({"one.pdf"}), spans=(folded(long),)))


def test_a_piece_of_a_span_is_enough() -> None:
    text = "The committee shall meet twice a year in the town hall, unless the weather is very bad indeed."
    passages = numbered(passage_of(document_of(text, name="one.pdf")), passage_of(OTHER))
    shared = "twice a year in the town hall, unless the weather is very bad indeed."
    for span in (f"{shared} Then it meets in the school at the river.", f"All agreed to meet at the river {shared}"):
        asked = Asked("q", frozenset({"one.pdf"}), spans=(folded(span),))
        assert seen(asked, passages)["passages"] == [2]


def test_where_the_answer_is_left_or_nothing_is_there_is_no_example() -> None:
    also = passage_of(document_of("Others take 42 litres too.", name="also.pdf"))
    asked = Asked("q", frozenset({"one.pdf"}), answers=("42litres",))
    assert set(seen(asked, numbered(*PASSAGES, also))) == {"answerable"}
    assert set(seen(asked, numbered(*PASSAGES[:3]))) == {"answerable", "passages"}
    assert set(seen(Asked("q"))) == {"answerable"}
    assert seen(Asked("q", frozenset({"nowhere.pdf"}))) == {"answerable": [1, 2]}


# -- the fit -----------------------------------------------------------------------------------------------------------


def test_the_regression_finds_the_weights_that_made_the_data() -> None:
    rng = np.random.default_rng(3)
    rows = np.column_stack([rng.random((20000, 2)), np.ones(20000)])
    truth = (rng.random(20000) < 1 / (1 + np.exp(-(rows @ [4.0, -2.0, -0.5])))).astype(float)
    found = logistic(rows, truth, np.ones(len(rows)))
    assert found == pytest.approx([4.0, -2.0, -0.5], abs=0.15)
    twice = logistic(np.vstack([rows, rows[:500]]), np.append(truth, truth[:500]), np.ones(20500))
    weights = np.ones(20000)
    weights[:500] = 2
    assert logistic(rows, truth, weights) == pytest.approx(twice, abs=1e-6)


def test_what_is_told_apart_without_fail_has_finite_weights() -> None:
    rows = np.array([[0.0, 1.0], [0.1, 1.0], [0.9, 1.0], [1.0, 1.0]])
    found = logistic(rows, np.array([0.0, 0.0, 1.0, 1.0]), np.ones(4))
    assert 1 < found[0] < 10


def example(kind: Any, words: float, *, subject: str = "a", library: str = "a", is_cjk: bool = False) -> Example:
    return Example(kind, subject, library, is_cjk, Facts(words, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5))


def test_the_kinds_weigh_what_they_should() -> None:
    """Where facts tell nothing, the probability is the share of the answerable ones, whatever their number."""
    many = [example("answerable", 0.0)] * 3 + [example("elsewhere", 0.0)] * 50 + [example("passages", 0.0)] * 7
    odds = fitted(many, ["words"])
    assert Calibration().probability(odds.of(Facts(0.0, 0.0, 0.0, 0.0))) == pytest.approx(PRIOR, abs=0.01)
    # Among the unanswerable, four of seven parts are questions of elsewhere and three are near misses.
    told = [example("answerable", 0.0), example("elsewhere", 0.0), *[example("passages", 1.0)] * 9]
    odds = fitted(told * 200, ["words"])
    there = Calibration().probability(odds.of(Facts(0.0, 0.0, 0.0, 0.0)))
    assert there == pytest.approx(PRIOR / (PRIOR + (1 - PRIOR) * 4 / 7), abs=0.01)


@pytest.mark.parametrize("kind", ["answerable", "elsewhere"])
def test_one_sort_of_example_is_not_enough(kind: str) -> None:
    with pytest.raises(ConfigError, match="can be answered and others"):
        fitted([example(kind, 0.3)] * 4, ["words"])


def test_a_library_is_judged_by_weights_that_know_neither_it_nor_its_questions() -> None:
    rest = [example(kind, words, subject="b", library="b") for kind, words in (("answerable", 0.9), ("document", 0.2))]
    own = [example("answerable", 0.1), example("document", 1.0), example("elsewhere", 1.0, library="b")]
    crossing = [example("elsewhere", 1.0, subject="b", library="a")] * 30
    judged = dict(enumerate(left_out([*rest, *own, *crossing], ["words"])))
    odds = fitted(rest, ["words"])
    heard = [(each, probability) for each, probability in judged.values() if each.subject == "a"]
    assert [each for each, _ in heard] == own
    assert [p for _, p in heard] == [Calibration().probability(odds.of(each.facts)) for each in own]


def test_the_rows_of_the_tables() -> None:
    judged = [(example("passages", 0.0), 0.4), (example("answerable", 0.0, subject="b"), 0.5)]
    judged += [(example("answerable", 0.0), 0.49), (example("answerable", 0.0), 0.9)]
    rows = list(rows_of(judged))
    assert rows == [Row("a", "answerable", 2, 0.5), Row("b", "answerable", 1, 0.0), Row("a", "passages", 1, 1.0)]
    assert means(rows) == {"answerable": 0.25, "passages": 1.0}


def test_the_weights_are_printed_as_the_judge_has_them() -> None:
    for name, odds in (("ENGLISH", ENGLISH), ("WORDS_ALONE", WORDS_ALONE), ("CJK", CJK)):
        printed = constant(judgement.Fit(name, odds, (), (), None))
        variable, value = printed.split(" = ")
        assert variable == name
        assert eval(value, {"Odds": Odds}) == odds
        assert printed in Path(Evidence.__module__.replace(".", "/") + ".py").read_text("utf-8")


# -- through libraries -------------------------------------------------------------------------------------------------

SUBJECTS = {"machines": ("pump", "valve"), "plants": ("beech", "maple"), "cities": ("harbour", "market")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three libraries of two files each, with questions beside them, and one more that holds a file of the first."""
    folder = tmp_path_factory.mktemp("judgement")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RAGAPP_EMBEDDER_NAME", "hashing")
        for library, names in SUBJECTS.items():
            rows = []
            for name in names:
                pdfs.write(folder / "docs" / library / f"{name}.pdf", [pdfs.prose(name, 20)])
                asked = [f"Which value has the property number {n} of the {name}?" for n in (3, 7)]
                rows += [{"question": text, "gold": [{"pdf": f"{name}.pdf", "page": 1}]} for text in asked]
            written(folder / f"{library}.jsonl", *rows)
            with Rag.open(folder / library) as rag:
                rag.add([folder / "docs" / library])
    written(folder / "strange.jsonl", {"question": "Do walruses sing?"}, {"question": "Why did he sell his horse?"})
    return folder


@pytest.fixture
def built_in(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Libraries whose judge is the built-in one, whatever the hall gives them."""
    tools_of = Rag.tools.fget  # type: ignore[attr-defined]

    class Judged:
        def __init__(self, tools: Any) -> None:
            self.tools, self.judge = tools, Evidence(HashingEmbedder(), tools.words)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tools, name)

    monkeypatch.chdir(made)
    monkeypatch.setenv("RAGAPP_EMBEDDER_NAME", "hashing")
    monkeypatch.setattr(Rag, "tools", property(lambda rag: Judged(tools_of(rag))))
    return made


LEARN = ["--learn", "machines", "machines.jsonl", "--learn", "plants", "plants.jsonl"]


def test_a_run_prints_weights_and_tables(built_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*LEARN, "--apart", "cities", "cities.jsonl", "strange.jsonl"])
    said = capsys.readouterr().out
    # The hashing embedder has no meaning, and no question is Chinese: one set of weights is left.
    assert re.findall(r"^(\w+) = Odds\(", said, re.MULTILINE) == ["WORDS_ALONE"]
    assert "| machines | answerable | 4 |" in said
    assert "| mean | elsewhere | |" in said
    assert "| cities | unanswerable | 2 | 1.000 |" in said
    assert "At the threshold 0.5: right refusals 100.0% of 2" in said
    main([*LEARN, "--json"])
    first = capsys.readouterr().out
    shown = json.loads(first)["WORDS_ALONE"]
    assert set(shown["weights"]) == set(WORDS_ALONE.weights)
    assert shown["weights"]["words"] > 0
    assert shown["apart"] is None
    assert {row["kind"] for row in shown["left_out"]} == {"answerable", "elsewhere", "document", "passages"}
    main([*LEARN, "--json"])
    assert capsys.readouterr().out == first


def test_questions_kept_apart_are_not_learned_from(built_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def learned(*more: str) -> dict[str, int]:
        main([*LEARN, *more, "--json"])
        rows = json.loads(capsys.readouterr().out)["WORDS_ALONE"]["left_out"]
        return {row["library"]: row["examples"] for row in rows if row["kind"] == "answerable"}

    (first,) = (json.loads(line) for line in Path("machines.jsonl").read_text("utf-8").splitlines()[:1])
    written(Path("apart.jsonl"), {"question": first["question"]})
    assert learned() == {"machines": 4, "plants": 4}
    assert learned("--apart", "cities", "cities.jsonl", "apart.jsonl") == {"machines": 3, "plants": 4}
    assert learned("--most", "1") == {"machines": 1, "plants": 1}


def test_libraries_that_share_a_document_are_not_asked_each_others_questions(
    built_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Rag.open("shared") as rag:
        rag.add([built_in / "docs" / "machines" / "pump.pdf", built_in / "docs" / "plants" / "beech.pdf"])
    (line,) = Path("machines.jsonl").read_text("utf-8").splitlines()[:1]
    Path("shared.jsonl").write_text(line.replace("number 3", "number 4"), "utf-8")
    main([*LEARN, "--learn", "shared", "shared.jsonl", "--json"])
    rows = json.loads(capsys.readouterr().out)["WORDS_ALONE"]["left_out"]
    assert {row["library"] for row in rows if row["kind"] == "elsewhere"} == {"machines", "plants"}
    # One library beside its own that shares nothing with it, for each of the four questions.
    assert [row["examples"] for row in rows if row["kind"] == "elsewhere"] == [4, 4]


def test_questions_whose_document_is_not_there_are_a_mistake(built_in: Path) -> None:
    with pytest.raises(ConfigError, match=r"beech\.pdf is not in the library machines"):
        main(["--learn", "machines", "plants.jsonl"])


def test_sets_that_cannot_be_say_so(built_in: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to learn"):
        main([])
    for wrong in (["machines"], ["machines", "a", "b", "c"]):
        with pytest.raises(ConfigError, match="a library and one or two"):
            main(["--learn", *wrong])
    with pytest.raises(ConfigError, match="same name"):
        main([*LEARN, "--apart", "docs/machines", "machines.jsonl"])


def test_a_judge_of_the_users_own_has_no_weights(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setenv("RAGAPP_EMBEDDER_NAME", "hashing")
    tools_of = Rag.tools.fget  # type: ignore[attr-defined]

    class Own:
        def __init__(self, tools: Any) -> None:
            self.tools, self.judge = tools, object()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tools, name)

    monkeypatch.setattr(Rag, "tools", property(lambda rag: Own(tools_of(rag))))
    with pytest.raises(ConfigError, match="built-in judge"):
        main(LEARN)
