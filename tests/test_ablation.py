"""The ablation: a line for every component and set, gone on with where it was stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from ragapp import Rag
from ragapp.errors import ConfigError
from ragapp.eval import ablation
from ragapp.eval.ablation import (
    ALL,
    COMPONENTS,
    GOLD_TEXT,
    METRICS,
    SHIPPED,
    Component,
    Row,
    as_markdown,
    gold_text,
    main,
)
from ragapp.eval.dataset import Dataset, of_questions, save
from ragapp.eval.variants import Variants
from tests import trial_library
from tests.trial_library import files_of

pytestmark = pytest.mark.usefixtures("in_folder")

FEW = (
    Component("no header line", {"chunker.header": False}),
    Component("dense only", {"search.dense_weight": 1.0}),
    Component("no neighbours", {"answer.context_tokens": 0}, (GOLD_TEXT,)),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with the built-in embedder: that is what is shipped."""
    return trial_library.fill(tmp_path_factory.mktemp("ablation") / "library", embedder__name="hashing")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three components, and a double in the place of the built-in embedder: only what is counted matters here."""
    monkeypatch.setattr(ablation, "COMPONENTS", FEW)
    quick = {"embedder.name": "hashing", "embedder.width": 48}
    monkeypatch.setattr(ablation, "SHIPPED", replace(SHIPPED, settings={**SHIPPED.settings, **quick}))


def sets(folder: Path, library: Path) -> list[str]:
    """Two sets of questions, as arguments."""
    whole = trial_library.questions(24).questions
    named: list[str] = []
    for name, part in (("first", whole[:14]), ("second", whole[14:])):
        save(of_questions(name, part), folder / f"{name}.jsonl")
        named.append(f"{folder / f'{name}.jsonl'}={library}")
    return named


def cells(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]


def test_every_component_has_a_line_for_every_set(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(library)
    out = tmp_path / "table.md"
    arguments = [*sets(tmp_path, library), "--out", str(out)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.out == out.read_text(encoding="utf-8")
    assert "first: no header line" in said.err
    head, _, *body = cells(said.out)
    assert head == ["component", "set", "questions", "success@1", "success@5", "mrr@10", GOLD_TEXT]
    assert [row[:3] for row in body] == [
        ["shipped (means)", "first", "14"],
        ["shipped (means)", "second", "10"],
        *([name, place, count] for name in ("no header line", "dense only", "no neighbours")
          for place, count in (("first", "14"), ("second", "10"), (ALL, "24"))),
    ]  # fmt: skip
    dense = next(row for row in body if row[:2] == ["dense only", ALL])
    assert dense[5].startswith("-0.")
    assert "worse" in dense[5]
    assert dense[6] == "–"
    alone = next(row for row in body if row[:2] == ["no neighbours", ALL])
    assert alone[3:6] == ["–"] * 3
    assert "noise" in alone[6] or "worse" in alone[6]
    assert files_of(library) == before


def test_a_stopped_ablation_goes_on(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rows = tmp_path / "table.md", tmp_path / "table.rows.jsonl"
    arguments = [*sets(tmp_path, library), "--out", str(out)]
    measured = ablation.measured

    def stopped(component: Component, *rest: object) -> object:
        if component.name == "dense only":
            raise KeyboardInterrupt
        return measured(component, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ablation, "measured", stopped)
    assert main(arguments) == 130
    assert not out.exists()
    assert len(rows.read_text(encoding="utf-8").splitlines()) == 2
    with rows.open("a") as file:
        file.write('{"key": "torn')
    monkeypatch.setattr(ablation, "measured", measured)
    capsys.readouterr()
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "first: shipped" not in said.err
    assert "first: dense only" in said.err
    # All is there now: nothing is measured, and the table is the same.
    assert main(arguments) == 0
    again = capsys.readouterr()
    assert again.out == said.out
    assert again.err == ""


def test_other_questions_are_measured_anew(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (first, _), out = sets(tmp_path, library), tmp_path / "table.md"
    assert main([first, "--out", str(out)]) == 0
    save(of_questions("first", trial_library.questions(12).questions), tmp_path / "first.jsonl")
    capsys.readouterr()
    assert main([first, "--out", str(out), "--most", "11"]) == 0
    said = capsys.readouterr()
    assert "first: shipped" in said.err
    assert {row[2] for row in cells(said.out)[2:]} == {"11"}


def test_gold_that_names_documents_only_is_counted_by_document(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        replace(question, gold=tuple(replace(gold, pages=(), quote="") for gold in question.gold))
        for question in trial_library.questions(9).questions
    ]
    save(of_questions("documents", asked), tmp_path / "documents.jsonl")
    assert main([f"{tmp_path / 'documents.jsonl'}={library}", "--out", str(tmp_path / "table.md")]) == 0
    (shipped,) = (row for row in cells(capsys.readouterr().out) if row[0].startswith(SHIPPED.name))
    assert shipped[2] == "9"
    assert all(0 < float(mean) <= 1 for mean in shipped[3:6])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(["questions.jsonl"], 2, "no SET=LIBRARY"), (["none.jsonl=."], 3, "none.jsonl"), (["=x"], 2, "no SET=LIBRARY")],
)
def test_wrong_arguments_are_told(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    assert message in capsys.readouterr().err


def test_neighbours_bring_gold_text_that_was_cut_off(library: Path, tmp_path: Path) -> None:
    def asked(*texts: str, match: Literal["any", "all"] = "any", quote: bool = False) -> Dataset:
        (first,) = trial_library.questions(1).questions
        (place,) = first.gold
        gold = tuple(replace(place, quote=text) for text in texts) if quote else (replace(place, quote=""),)
        wanted = () if quote else texts
        return of_questions("one", [replace(first, gold=gold, must_contain=wanted, match=match)])

    with Rag.open(library, embedder__name="hashing", embedder__width=48) as rag, Variants(rag, tmp_path) as variants:

        def held(dataset: Dataset, **settings: object) -> dict[str, float]:
            named = {key.replace("__", "."): value for key, value in settings.items()}
            return gold_text(variants, named, dataset.questions)

        there, absent = "the roof  of the harbour is", "the roof of the moon is"
        (name,) = held(asked(there))
        assert held(asked(there)) == {name: 1.0}
        assert held(asked(there, quote=True)) == {name: 1.0}
        assert held(asked(there, absent)) == {name: 1.0}
        assert held(asked(there, absent, match="all")) == {name: 0.0}
        assert held(asked(there, absent, quote=True)) == {name: 1.0}
        assert held(asked(there, absent, quote=True, match="all")) == {name: 1.0}
        assert held(asked(absent, quote=True)) == {name: 0.0}
        assert held(asked()) == {}
        # Three sentences are longer than a chunk of 40 tokens: only its neighbours make them whole.
        around = trial_library.FILLER.partition(". ")[0]
        long = f"{around}. The roof of the harbour is 100 metres high. {around}."
        small = {"chunker__name": "tokens", "chunker__tokens": 40}
        assert held(asked(long), answer__context_tokens=0, **small) == {name: 0.0}
        assert held(asked(long), answer__context_tokens=450, **small) == {name: 1.0}


def test_changes_are_marked_when_they_stay_among_many() -> None:
    names = [str(n) for n in range(40)]
    flat = {metric: dict.fromkeys(names, 0.5) for metric in METRICS}
    clear = {metric: dict.fromkeys(names, 0.9) for metric in METRICS}
    some = {metric: {name: 0.9 if int(name) < 6 else 0.5 for name in names} for metric in METRICS}
    rows = [
        Row("a", "one", "shipped", flat),
        Row("b", "one", "better", clear),
        Row("c", "one", "same", flat),
        Row("d", "one", "by chance", some),
    ]
    body = cells(as_markdown(rows))[2:]
    assert body[1][3:] == [*["+0.400 (+0.400 to +0.400) better *"] * 3, "–"]
    assert body[2][3:] == [*["+0.000 (+0.000 to +0.000) noise"] * 3, "–"]
    assert all(cell.endswith("better") for cell in body[3][3:6])
    assert "Of 9 comparisons" in as_markdown(rows)


def test_the_components_are_those_of_the_issue() -> None:
    names = {component.name for component in COMPONENTS}
    assert {
        "chunker: sentences", "chunker: headings", "chunker: semantic", "chunker: parent-child", "no header line",
        "dense only", "lexical only", "fusion: rrf", "reranker: keep", "no routing", "no neighbours",
    } == names  # fmt: skip
    assert SHIPPED.settings == {"chunker.name": "tokens"}
    with pytest.raises(ConfigError):
        ablation.pair_of("only")
    assert json.dumps([component.settings for component in COMPONENTS])
