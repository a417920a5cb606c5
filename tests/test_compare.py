"""Two runs side by side: differences by metric, the questions that changed, and what makes the runs unlike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import ConfigError
from ragapp.eval import measures
from ragapp.eval.compare import Changed, compare
from ragapp.eval.dataset import Dataset, Gold, Question, of_questions
from ragapp.eval.records import Hit, Manifest, Record, RunFolder

COUNT = 24
MANIFEST = Manifest(
    name="", set="pumps", fingerprint="f1", questions=COUNT, kind="search", flow="", k=20, seed=0, settings={},
    library="docs", generation=3, stamp="abc", embedder="hashing", model="", version="0.1", started="2026-01-02",
)  # fmt: skip
DATASET = of_questions(
    "pumps", [Question(f"q{n:02}", f"Where is number {n}?", (Gold("a.pdf", (5,)),)) for n in range(COUNT)]
)


def record(key: str, rank: int | None, seconds: float = 1.0) -> Record:
    """A search that finds the gold page at a rank, or not at all."""
    pages = [5 if place == rank else 50 + place for place in range(1, 11)]
    hits = tuple(Hit("a.pdf", page, page, page * 10, page * 10 + 5, 1.0, "words") for page in pages)
    return Record(key, "search", hits, timings={"total": seconds}, relevant={"passages": 1, "pages": 1})


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Any]:
    """Makes runs: name, ranks by question (an error for "broken"), and facts of the manifest."""
    with ExitStack() as stack:

        def make(
            name: str, ranks: Mapping[str, int | str | None], dataset: Dataset = DATASET, **facts: Any
        ) -> RunFolder:
            manifest = replace(MANIFEST, name=name, **facts)
            run = stack.enter_context(RunFolder.create(tmp_path / name, manifest, dataset))
            for key, rank in ranks.items():
                run.append(Record(key, "search", error=rank) if isinstance(rank, str) else record(key, rank))
            return run

        yield make


def ranks(**other: int | str | None) -> dict[str, int | str | None]:
    return {**{f"q{n:02}": 2 for n in range(COUNT)}, **other}


def test_a_run_beside_itself_shows_no_change(made: Any) -> None:
    found = compare(made("a", ranks()), made("b", ranks()))
    assert (found.a, found.b, found.questions) == ("a", "b", COUNT)
    assert found.changed == ()
    assert found.notes == ()
    assert {d.verdict for d in found.differences} == {"noise"}
    assert {d.difference for d in found.differences} == {0.0}
    assert "passages.success@1" in {d.metric for d in found.differences}


def test_a_change_for_all_questions_is_better_and_the_other_way_round_worse(made: Any) -> None:
    before, after = made("a", ranks()), made("b", dict.fromkeys(ranks(), 1))
    for one, other, verdict, sign in ((before, after, "better", 1), (after, before, "worse", -1)):
        told = {d.metric: d for d in compare(one, other).differences}["passages.success@1"]
        assert (told.verdict, told.difference, told.n) == (verdict, sign * 1.0, COUNT)
        assert told.adjusted is not None
        assert told.adjusted >= told.p


def test_a_change_of_a_few_questions_is_noise(made: Any) -> None:
    found = compare(made("a", ranks()), made("b", ranks(q03=1, q04=None)))
    told = {d.metric: d for d in found.differences}["passages.success@1"]
    assert told.verdict == "noise"
    assert told.difference > 0
    assert [c.id for c in found.changed] == ["q04", "q03"] or [c.id for c in found.changed] == ["q03", "q04"]


def test_the_questions_that_changed_come_once_with_what_changed_most(made: Any) -> None:
    # From the third to the fourth place: success@3 changes by 1, and is none of the headline measures.
    found = compare(made("a", ranks(q01=1, q00=3)), made("b", ranks(q01=None, q00=4)))
    assert [change.id for change in found.changed] == ["q01", "q00"]
    gone = found.changed[0]
    assert (gone.metric, gone.before, gone.after) == ("passages.success@1", 1.0, 0.0)
    assert gone.text == "Where is number 1?"
    later = found.changed[1]
    assert later.metric in measures.HEADLINE
    assert later.before is not None
    assert later.after is not None
    assert later.before > later.after > 0


def test_headline_measures_come_first(made: Any) -> None:
    names = [d.metric for d in compare(made("a", ranks()), made("b", ranks())).differences]
    leading = [name for name in measures.HEADLINE if name in names]
    assert names[: len(leading)] == leading
    assert len(names) > len(leading)


def test_a_slower_run_is_worse_and_no_question_of_it_changed(made: Any) -> None:
    before, after = made("a", {}, kind="ask"), made("b", {}, kind="ask")
    for run, base in ((before, 1.0), (after, 2.0)):
        for n in range(COUNT):
            found = record(f"q{n:02}", 1, base + n / 100)
            run.append(replace(found, kind="ask", answer="It is there.", finish_reason="stop"))
    seen = compare(before, after)
    assert {d.metric: d.verdict for d in seen.differences}["latency.total"] == "worse"
    assert seen.changed == ()


def test_only_the_metrics_that_are_wanted(made: Any) -> None:
    before, after = made("a", ranks()), made("b", ranks(q01=1))
    found = compare(before, after, metrics=["pages.mrr@10", "pages.success@1"])
    assert sorted(d.metric for d in found.differences) == ["pages.mrr@10", "pages.success@1"]
    assert [(c.id, c.metric) for c in found.changed] == [("q01", "pages.success@1")]
    with pytest.raises(ConfigError, match=r"Neither run has the metric 'pages\.mmr'") as told:
        compare(before, after, metrics=["pages.mmr"])
    assert told.value.hint.startswith("Did you mean pages.")


def test_runs_of_different_questions_are_not_compared(made: Any) -> None:
    other = made("b", ranks(), set="valves", fingerprint="f2", questions=9)
    with pytest.raises(ConfigError, match=r"different questions: those of the set pumps \(24\), and of valves \(9\)"):
        compare(made("a", ranks()), other)


def test_what_makes_the_runs_unlike_is_told(made: Any) -> None:
    other = made("b", ranks(), settings={"search.depth": 9}, stamp="def", library="more", workers=4, machine="big")
    assert compare(made("a", ranks()), other).notes == (
        "The library is another one, or it was changed since.",
        "search.depth: the default then, 9 now.",
        "Library: docs then, more now.",
        "Machine: unknown then, big now.",
        "Workers: 1 then, 4 now.",
    )


def test_what_is_missing_or_failed_is_told_and_in_no_measure(made: Any) -> None:
    few = dict.fromkeys(list(ranks())[:10], 1)
    found = compare(made("a", ranks(q01="It broke.")), made("b", few))
    assert found.questions == 10
    assert {d.n for d in found.differences} == {9}
    assert found.notes == (
        "1 question of the run a failed: in no measure.",
        "14 of 24 questions of the run b not done.",
    )
    broken = [change for change in found.changed if change.id == "q01"]
    assert [(change.before, change.after) for change in broken] == [(None, 1.0)]


def test_runs_that_have_nothing_in_common_have_no_differences(made: Any) -> None:
    found = compare(made("a", {"q00": 1}), made("b", {"q01": 1}))
    assert (found.questions, found.differences, found.changed) == (0, (), ())


def test_the_same_seed_gives_the_same_comparison(made: Any) -> None:
    before, after = made("a", ranks(q05=None)), made("b", ranks(q03=1, q04=1))
    assert compare(before, after, seed=3) == compare(before, after, seed=3)


values = st.none() | st.floats(0, 1)


@given(values, values)
def test_the_size_of_a_change_is_the_same_both_ways(before: float | None, after: float | None) -> None:
    size = Changed("q", "", "m", before, after).size
    assert size == Changed("q", "", "m", after, before).size
    assert 0 <= size <= 1
    if (before is None) != (after is None):
        assert size >= 0.5
