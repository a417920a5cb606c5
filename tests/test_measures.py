"""A run in numbers: means with intervals, refusals, risk, latencies, groups, and what does not apply, counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.eval import answering, measures, retrieval
from ragapp.eval.judging import Judged, Judgement
from ragapp.eval.measures import HEADLINE, higher_is_better, means_of, of_run, percentiles, summary
from ragapp.eval.questions import Dataset, Gold, Question
from ragapp.eval.records import Cite, Hit, Record
from ragapp.eval.stats import interval

GOLD = (Gold("a.pdf", (1,)),)


def dataset(*questions: Question) -> Dataset:
    return Dataset("made up", questions, "0")


def question(name: str, *, answerable: bool = True, **facts: str) -> Question:
    return Question(name, "Why?", GOLD if answerable else (), ("12 kg",), answerable=answerable, tags=facts)


def found(*pages: int) -> tuple[Hit, ...]:
    return tuple(Hit("a.pdf", page, 1, 0, 9, 1.0, "text") for page in pages)


def answered(name: str, text: str = "It weighs 12 kg [1].", *, confidence: float = 0.9, seconds: float = 1.0) -> Record:
    refused = not text
    return Record(
        name, "ask", found(1), text or "This is not in your documents.",
        () if refused else (Cite(1, "a.pdf", 1, text, "verified", 0, 9),), "no_evidence" if refused else "stop",
        confidence, {"search": seconds / 10, "first_token": seconds / 2, "total": seconds},
    )  # fmt: skip


# -- each question -----------------------------------------------------------------------------------------------------


def test_each_question_has_its_measures_in_the_order_of_the_set() -> None:
    data = dataset(question("one"), question("two"), question("three"))
    made = of_run(data, [answered("two"), answered("one", ""), answered("foreign")])
    assert list(made) == ["one", "two"]
    assert (made["two"]["pages.success@1"], made["two"]["answer.holds"], made["two"]["refusal.false"]) == (1, 1, 0)
    assert (made["one"]["answer.holds"], made["one"]["refusal.false"]) == (0, 1)


def test_the_last_record_of_a_question_counts_and_an_error_has_no_measures() -> None:
    data = dataset(question("one"))
    failed = Record("one", "ask", error="The model failed.")
    assert of_run(data, [failed, answered("one")])["one"]["answer.holds"] == 1
    assert of_run(data, [answered("one"), failed]) == {"one": {}}


# -- all of them -------------------------------------------------------------------------------------------------------


def test_the_means_are_over_the_questions_that_have_the_metric() -> None:
    data = dataset(question("one"), question("two"), question("none", answerable=False))
    made = summary(data, [answered("one"), Record("two", "search", found(7, 1)), answered("none", "")])
    mrr = made.means["pages.mrr@10"]
    assert (mrr.value, mrr.n) == (0.75, 2)
    assert (mrr.low, mrr.high) == interval([1.0, 0.5])
    assert (made.means["answer.holds"].n, made.means["refusal.right"].value) == (1, 1)
    assert made.success_at["pages"] == {1: 0.5, 3: 1, 5: 1, 10: 1}
    assert made.recall_at["documents"] == dict.fromkeys((1, 3, 5, 10, 20), 1)
    assert "passages" not in made.recall_at
    assert (made.questions, made.done, made.answered, made.missing) == (3, 3, 1, 0)


def test_what_is_missing_and_what_failed_is_told() -> None:
    data = dataset(question("one"), question("two"), question("three"))
    made = summary(data, [answered("one"), Record("two", "ask", error="The model failed.")])
    assert (made.done, made.missing, made.answered) == (2, 1, 1)
    assert made.errors == {"two": "The model failed."}
    # An error is no zero in the means.
    assert (made.means["answer.holds"].value, made.means["answer.holds"].n) == (1, 1)


def test_an_empty_run_has_a_summary() -> None:
    made = summary(dataset(question("one")), [])
    assert (made.means, made.refusals, made.risk, made.latency, made.missing) == ({}, None, None, {}, 1)


def test_what_does_not_apply_is_counted_by_reason() -> None:
    data = dataset(question("one"), question("none", answerable=False), question("refused"))
    made = summary(data, [answered("one"), answered("none"), answered("refused", "")]).not_applicable
    assert made["pages.mrr@10"] == {"unanswerable": 1}
    assert made["passages.recall@5"] == {"number of right passages unknown": 2, "unanswerable": 1}
    assert made["answer.contains"] == {"no text that must be contained": 2, "unanswerable": 1}
    assert made["citation.recall"] == {"refused": 1}
    assert made["refusal.right"] == {"answerable": 2}
    assert made["tokens_per_s"] == {"not measured": 3}


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_every_question_is_measured_or_counted(kinds: list[tuple[bool, bool, bool, bool]]) -> None:
    data = dataset(*(question(f"q{n}", answerable=kind[0]) for n, kind in enumerate(kinds)))
    records = [
        Record(f"q{n}", "ask", error="It failed.") if failed
        else Record(f"q{n}", "search", found(1)) if searched
        else answered(f"q{n}", "" if refused else "12 kg [1]")
        for n, (_, failed, searched, refused) in enumerate(kinds)
    ]  # fmt: skip
    made = summary(data, records)
    fine = sum(not record.error for record in records)
    asked = sum(record.kind == "ask" and not record.error for record in records)
    for names, whole in ((retrieval.NAMES, fine), (answering.NAMES, asked)):
        for name in names:
            has = made.means[name].n if name in made.means else 0
            assert has + sum(made.not_applicable.get(name, {}).values()) == whole
    for mean in made.means.values():
        assert mean.low - 1e-9 <= mean.value <= mean.high + 1e-9


def test_a_search_is_not_blamed_for_having_no_answers() -> None:
    made = summary(dataset(question("one")), [Record("one", "search", found(1))])
    assert not set(made.not_applicable) & set(answering.NAMES)
    assert made.refusals is None


def test_refusals_in_numbers() -> None:
    data = dataset(*(question(f"q{n}", answerable=n < 4) for n in range(7)))
    texts = ["12 kg", "", "12 kg", "12 kg", "", "", "12 kg"]
    refusals = summary(data, [answered(f"q{n}", text) for n, text in enumerate(texts)]).refusals
    assert refusals is not None
    assert (refusals.answerable, refusals.unanswerable, refusals.right, refusals.false) == (4, 3, 2, 1)
    assert (refusals.precision, refusals.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    none = summary(dataset(question("q")), [answered("q")]).refusals
    assert none is not None
    assert (none.precision, none.recall) == (None, None)


def test_risk_and_coverage() -> None:
    data = dataset(*(question(f"q{n}", answerable=n != 1) for n in range(4)))
    sure = [0.9, 0.8, 0.7, 0.7]
    risk = summary(data, [answered(f"q{n}", confidence=value) for n, value in enumerate(sure)]).risk
    assert risk is not None
    assert [point.threshold for point in risk.points] == [0.9, 0.8, 0.7]
    assert [point.coverage for point in risk.points] == [0.25, 0.5, 1]
    assert [point.risk for point in risk.points] == pytest.approx([0, 0.5, 0.25])
    assert risk.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert risk.brier == pytest.approx((0.01 + 0.64 + 0.09 + 0.09) / 4)
    assert [each.questions for each in risk.bins] == [2, 1, 1]
    assert summary(dataset(question("q")), [answered("q")]).risk is None


def test_a_curve_of_many_confidences_stays_short() -> None:
    data = dataset(*(question(f"q{n}", answerable=n % 2 == 0) for n in range(300)))
    risk = summary(data, [answered(f"q{n}", confidence=n / 300) for n in range(300)]).risk
    assert risk is not None
    assert len(risk.points) == measures.CURVE_POINTS
    assert (risk.points[-1].coverage, risk.points[0].threshold) == (1, 299 / 300)


def test_latencies_by_step() -> None:
    data = dataset(*(question(f"q{n}") for n in range(21)))
    made = summary(data, [answered(f"q{n}", seconds=float(n)) for n in range(21)]).latency
    assert list(made) == ["search", "first_token", "total"]
    total = made["total"]
    assert (total.p50, total.p95, total.mean, total.n) == (10, 19, 10, 21)
    assert percentiles([2.0]) == measures.Percentiles(2, 2, 2, 1)


def test_groups_by_tag() -> None:
    easy, hard = question("one", kind="easy", id="1"), question("two", kind="hard", id="2")
    data = dataset(easy, hard, question("three", kind="hard", same="x"))
    made = summary(data, [answered("one"), answered("two", ""), answered("three")]).by_tag
    assert set(made) == {"kind", "id"}
    assert {value: means["answer.holds"].value for value, means in made["kind"].items()} == {"easy": 1, "hard": 0.5}
    assert set(made["kind"]["easy"]) <= set(HEADLINE)


def test_a_tag_that_names_questions_makes_no_groups() -> None:
    data = dataset(*(question(f"q{n}", id=str(n)) for n in range(measures.TAG_VALUES + 1)))
    assert summary(data, [answered(each.id) for each in data.questions]).by_tag == {}


def test_further_measures_and_a_judge() -> None:
    data = dataset(question("one"), question("two"), question("three"), question("four"))
    records = [answered("one"), answered("two"), answered("three", "It is heavy."), answered("four", "Heavy.")]
    said = {"one": True, "two": False, "three": True, "four": None}
    judged = Judged("a model", {name: Judgement(name, right) for name, right in said.items()})
    made = summary(data, records, judged=judged, more={"one": {"ragas.faithfulness": 0.5}, "foreign": {"x": 1.0}})
    assert (made.means["ragas.faithfulness"].value, made.means["ragas.faithfulness"].n) == (0.5, 1)
    assert "x" not in made.means
    differ = made.disagreements
    assert differ is not None
    assert (differ.judge, differ.judged, differ.agreed, differ.unsure) == ("a model", 4, 1, 1)
    assert (differ.only_judge, differ.only_measure) == (("three",), ("two",))
    assert summary(data, records).disagreements is None


def test_means_together_are_means_alone() -> None:
    scores = {"a": {"x": 0.1, "y": 1.0}, "b": {"x": 0.7}, "c": {"x": 0.4, "y": 0.0}}
    made = means_of(scores)
    assert list(made) == ["x", "y"]
    assert (made["x"].low, made["x"].high) == interval([0.1, 0.7, 0.4])
    assert (made["y"].n, made["y"].value) == (2, 0.5)
    assert list(means_of(scores, names=["y"])) == ["y"]
    assert means_of({}) == {}


def test_directions() -> None:
    assert higher_is_better("pages.mrr@10") is True
    assert higher_is_better("refusal.right") is True
    assert higher_is_better("tokens_per_s") is True
    assert higher_is_better("refusal.false") is False
    assert higher_is_better("latency.first_token") is False
    assert higher_is_better("answer.length") is None


def test_the_headline_is_made_of_metrics_that_exist() -> None:
    assert set(HEADLINE) <= {*retrieval.NAMES, *answering.NAMES}
