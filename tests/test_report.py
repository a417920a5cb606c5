"""The report: its figures are the run's, its page needs nothing else and lets nothing through, in both languages."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import ConfigError
from ragapp.eval import answering, captions, framing, measures, retrieval, sections
from ragapp.eval.captions import LANGUAGES, Language, measure_label, measure_meaning, say, step_label
from ragapp.eval.cases import heaps
from ragapp.eval.dataset import Dataset, Gold, Question, of_questions
from ragapp.eval.exhibits import percent, seconds, shortened, signed, written
from ragapp.eval.findings import FAULTS, fault_of, first_right
from ragapp.eval.records import Cite, Hit, Manifest, Record, RunFolder
from ragapp.eval.report import Report, as_html, as_json, as_markdown, report

ROOT = Path(__file__).parents[1]
Make = Callable[..., RunFolder]
MANIFEST = Manifest(
    name="now", set="pumps", fingerprint="f1", questions=0, kind="ask", flow="linear", k=20, seed=0,
    settings={"search.k": 5}, library="docs", generation=3, stamp="abc", embedder="hashing", model="", version="0.1",
    started="2026-01-02T03:04:05+00:00", ended="2026-01-02T03:05:05+00:00", machine="2 cores", documents=4,
    warnings=("2 documents are not there.",),
)  # fmt: skip


def asked(n: int) -> Dataset:
    """So many questions with an answer on page 1 of a document of their own, and two without an answer."""
    able = [
        Question(
            f"q{i}",
            f"How many litres does pump {i} hold?",
            (Gold(f"pump{i}.pdf", (1,), f"It holds {i} litres."),),
            (f"{i} litres",),
            tags={"kind": "number" if i % 2 else "name"},
        )
        for i in range(n)
    ]
    unable = [Question(f"u{i}", f"Who painted picture {i}?", answerable=False) for i in range(2)]
    return of_questions("pumps", [*able, *unable])


def hit(document: str, page: int = 1, text: str = "Some words.") -> Hit:
    return Hit(document, page, 1, 0, len(text), 0.5, text)


def answered(question: Question, *, place: int | None = 1, refused: bool = False, slow: float = 1.0) -> Record:
    """An answer whose right page stands at a place of the hits, nowhere where that is None."""
    hits = [hit(f"other{n}.pdf", n) for n in range(1, 21)]
    if question.gold and place is not None:
        hits[place - 1] = hit(question.gold[0].document, 1, question.gold[0].quote)
    text = "No answer." if refused else f"It holds {question.id.lstrip('qu')} litres. [1]"
    cites = () if refused else (Cite(1, hits[0].document, hits[0].page, "It holds", "verified", 0, 8),)
    return Record(
        question.id, "ask", tuple(hits), text, cites, "no_evidence" if refused else "stop", 0.2 if refused else 0.9,
        {"search": 0.05 * slow, "write": 0.1 * slow, "first_token": 0.06 * slow, "total": 0.15 * slow},
    )  # fmt: skip


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    made: list[RunFolder] = []
    folder = tmp_path_factory.mktemp("runs")

    def new(dataset: Dataset, records: Sequence[Record], **facts: object) -> RunFolder:
        told = {"questions": len(dataset.questions), "fingerprint": dataset.fingerprint, "set": dataset.name, **facts}
        manifest = replace(MANIFEST, **told)
        run = RunFolder.create(folder / f"run{len(made)}", manifest, dataset)
        made.append(run)
        for record in records:
            run.append(record)
        return run

    yield new
    for run in made:
        run.close()


def good(dataset: Dataset) -> list[Record]:
    return [answered(question, refused=not question.answerable) for question in dataset.questions]


def mixed(dataset: Dataset) -> list[Record]:
    """The first questions go wrong in one way each, the first without an answer is answered."""
    records = {record.id: record for record in good(dataset)}
    first = dataset.questions
    records["q0"] = Record("q0", "ask", error="The model broke.")
    records["q1"] = answered(first[1], place=None)
    records["q2"] = answered(first[2], refused=True)
    records["q3"] = replace(answered(first[3]), answer="Blue paint. [1]")
    records["q4"] = answered(first[4], place=9)
    records["u0"] = answered(next(q for q in first if q.id == "u0"))
    return list(records.values())


@pytest.fixture(scope="module")
def one(make: Make) -> Report:
    dataset = asked(12)
    return report(make(dataset, mixed(dataset)))


@pytest.fixture(scope="module")
def two(make: Make) -> Report:
    """A run that finds first what the one before found fifth, at twice the time, for all questions."""
    dataset = asked(12)
    before = [answered(q, place=5, refused=not q.answerable) for q in dataset.questions]
    after = [answered(q, refused=not q.answerable, slow=2.0) for q in dataset.questions]
    run = make(dataset, after, name="now", settings={"search.k": 5})
    return report(run, make(dataset, before, name="then", settings={"reranker.name": "keep"}))


# -- what went wrong ---------------------------------------------------------------------------------------------------


def test_every_fault_is_told_once_the_gravest_first(one: Report) -> None:
    assert [(lost.fault, lost.question.id) for lost in one.lost] == [
        ("error", "q0"), ("answered", "u0"), ("missed", "q1"), ("refused", "q2"), ("wrong", "q3"), ("late", "q4")
    ]  # fmt: skip
    assert {lost.fault for lost in one.lost} == set(FAULTS)
    assert {lost.question.id: lost.rank for lost in one.lost}["q4"] == 9
    assert Page(as_html(one)).row("Went well") == ["Went well", "8", "57.1"]


@pytest.mark.parametrize(("place", "fault"), [(1, None), (5, None), (6, "late"), (20, "late"), (None, "missed")])
def test_a_page_is_late_after_the_fifth(place: int | None, fault: str | None) -> None:
    question = asked(3).questions[2]
    record = answered(question, place=place)
    assert fault_of(question, record, first_right(question.gold, record.hits), {}) == fault


def test_a_search_is_no_answer_to_what_cannot_be_answered() -> None:
    question = Question("u", "Who?", answerable=False)
    assert fault_of(question, Record("u", "search", (hit("a.pdf"),)), None, {}) is None
    assert fault_of(question, replace(answered(question)), None, {}) == "answered"


def test_a_question_without_a_place_is_not_missed() -> None:
    question = Question("q", "Which?", answers=("42 litres",))
    assert fault_of(question, answered(question), None, {"answer.recall": 0.5}) is None
    assert fault_of(question, answered(question), None, {"answer.recall": 0.0}) == "wrong"
    assert fault_of(question, answered(question), None, {"answer.recall": 0.0, "answer.contains": 1.0}) is None


@given(
    st.lists(st.tuples(st.sampled_from(["a.pdf", "x/b.pdf"]), st.integers(1, 4)), max_size=14),
    st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True),
)
def test_the_place_of_the_right_page_is_the_measures_own(found: list[tuple[str, int]], pages: list[int]) -> None:
    question = Question("q", "Which?", (Gold("b.pdf", tuple(pages)),))
    hits = [hit(document, page) for document, page in found]
    rank = first_right(question.gold, hits)
    reciprocal = retrieval.scores(question, hits, {})["pages.mrr@10"]
    assert reciprocal == pytest.approx(1 / rank if rank and rank <= 10 else 0)


def test_a_document_alone_is_right_on_any_page_and_grade_0_never() -> None:
    assert first_right((Gold("b.pdf"),), [hit("a.pdf"), hit("x/b.pdf", 7)]) == 2
    assert first_right((Gold("b.pdf", relevance=0),), [hit("b.pdf")]) is None


# -- figures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 ms"), (0.0027, "2.7 ms"), (0.35, "350 ms"), (9.5, "9,500 ms"), (12.34, "12.3 s")]
)
def test_times_are_told_in_milliseconds(value: float, text: str) -> None:
    assert seconds("en", value) == text.replace("0 ms", "0.0 ms") if value == 0 else text


def test_figures_as_text() -> None:
    assert percent(0.8634) == "86.3"
    assert percent(-0.0001) == "0.0"
    assert (signed(2.04, 1), signed(-2.04, 1), signed(-0.01, 1)) == ("+2.0", "−2.0", "0.0")
    assert written("en", "pages.success@5", 0.5) == "50.0%"
    assert written("en", "answer.length", 12.34) == "12.3"
    assert written("zh", "latency.total", 0.5) == "500 毫秒"


@given(st.text(max_size=120))
def test_a_shortened_text_is_one_short_line_of_the_text(text: str) -> None:
    line = shortened(text, 50)
    assert len(line) <= 52
    assert line == " ".join(line.split())
    assert " ".join(text.split()).startswith(line.removesuffix(" …"))


def test_the_page_tells_the_figures_of_the_run(one: Report) -> None:
    page = Page(as_html(one))
    success = one.run.summary.means["pages.success@5"]
    assert success.n == 11
    assert page.text_of("h1") == "The right page is among the first 5 for 9 of 11 questions"
    assert f"{percent(success.value, 0)}%" in page.text
    row = page.row("Success@5")
    assert row[-2:] == [percent(success.value), f"{percent(success.low, 0)}–{percent(success.high, 0)}"]
    assert "2 documents are not there." in page.text
    assert "q0: The model broke." in page.text
    assert page.row("search.k") == ["search.k", "5"]
    assert page.row("Library") == ["Library", "docs"]


def test_refusals_are_counted(one: Report) -> None:
    sure = one.run.confidences
    assert (len(sure.answerable), len(sure.unanswerable)) == (11, 2), "an error has no confidence"
    assert (sure.coverage, sure.risk) == (pytest.approx(11 / 13), pytest.approx(1 / 11))
    page = Page(as_html(one))
    assert page.row("With an answer") == ["With an answer", "10", "1"]
    assert page.row("Without") == ["Without", "1", "1"]


def test_the_threshold_is_the_runs(one: Report) -> None:
    def shown(**settings: object) -> str:
        run = replace(one.run, manifest=replace(one.run.manifest, settings=settings))
        return Page(as_html(replace(one, run=run))).text

    assert "refused below 0.5" in shown()
    assert "refused below 0.3" in shown(**{"answer.threshold": 0.3})
    assert "refused below" not in shown(**{"answer.threshold": 0.0})


def test_times_stand_in_the_order_of_the_stages(one: Report) -> None:
    rows = [row for row in Page(as_html(one)).rows if len(row) == 4 and row[1].endswith(" ms")]
    assert [row[0] for row in rows] == ["Search", "Write", "Until the first word", "In all"]
    assert rows[0][1:] == ["50 ms", "50 ms", "13"]


def test_a_stage_begins_where_the_median_of_the_last_ends(make: Make) -> None:
    dataset = asked(12)
    slow = [replace(answered(q), timings={"search": 0.1 if n else 0.9, "write": 0.2, "total": 1.0})
            for n, q in enumerate(dataset.questions)]  # fmt: skip
    (stages,) = next(s for s in sections.sections(report(make(dataset, slow)), "en") if s.id == "time").exhibits
    starts = [re.findall(r'<rect[^>]* x="([^"]*)"[^>]* width="([^"]*)"', mark)[0] for mark in stages.marks]
    assert starts == [("0%", "10%"), ("10%", "20%"), ("0%", "100%")]


def test_groups_are_shown_by_tag(one: Report) -> None:
    page = Page(as_html(one))
    found = one.run.summary.by_tag["kind"]["name"]["passages.mrr@10"]
    assert page.row("name")[1] == percent(found.value)


def test_a_question_that_went_wrong_is_told_with_its_places(one: Report) -> None:
    page = Page(as_html(one))
    article = next(text for text in page.articles if "How many litres does pump 1 hold?" in text)
    for told in ("pump1.pdf, page 1", "It holds 1 litres.", "other1.pdf, page 1", "other2.pdf, page 2", "1 litres"):
        assert told in article
    assert article.count("Some words.") == 1, "of the first passage only"
    late = next(text for text in page.articles if "pump 4 hold" in text)
    assert "right page at place 9" in late


def test_of_many_questions_with_one_fault_the_others_are_named(make: Make) -> None:
    dataset = asked(9)
    held = report(make(dataset, [answered(q, place=None) for q in dataset.questions]))
    missed = next(heap for heap in heaps(held, "en") if heap.fault == "missed")
    assert (missed.count, len(missed.cases), len(missed.others)) == (9, 4, 5)
    page = Page(as_html(held))
    assert all(f"pump {i} hold" in page.text for i in range(9))


# -- two runs ----------------------------------------------------------------------------------------------------------


def test_two_runs_are_told_apart(two: Report) -> None:
    assert two.comparison
    leading = [d for d in two.comparison.differences if d.metric in two.headline]
    better, worse = (sum(d.verdict == verdict for d in leading) for verdict in ("better", "worse"))
    assert better > 0
    assert worse == 2, "both latencies"
    page = Page(as_html(two))
    title = f"now against then: {better} measures better, 2 worse, {len(leading) - better - 2} within noise"
    assert page.text_of("h1") == title
    row = page.row("Success@1, passages")
    assert row == ["Success@1, passages", "0.0", "100.0", "+100.0", "+100.0 … +100.0", "better"]
    assert page.row("Until the end")[1:4] == ["150 ms", "300 ms", "+150 ms"]
    assert page.row("Until the end")[-1] == "worse"
    assert page.row("MAP, pages")[-1] == "better", "no leading measure, and no noise"
    assert page.row("better") == ["better", "12"]
    assert page.row("reranker.name") == ["reranker.name", "the default", "keep"]
    assert two.pairs == ((0.2, 1.0),) * 12


def test_what_changed_is_told_with_its_direction(two: Report) -> None:
    page = as_html(two)
    assert page.count('<tr class="up">') == 12
    assert '<tr class="down">' not in page
    assert two.comparison
    changed = tuple(replace(c, before=c.after, after=c.before) for c in two.comparison.changed)
    turned = replace(two, comparison=replace(two.comparison, changed=changed))
    assert as_html(turned).count('<tr class="down">') == 12


def test_the_same_run_twice_is_noise(make: Make) -> None:
    dataset = asked(6)
    runs = [make(dataset, good(dataset), name=name) for name in ("a", "b")]
    page = Page(as_html(report(*runs)))
    assert page.text_of("h1") == "No difference beyond noise between a and b"
    assert page.row("the same") == ["the same", "6"]
    assert "differences" not in page.ids, "what did not move is not shown"


def test_runs_of_different_questions_are_refused(make: Make) -> None:
    one, other = asked(3), asked(4)
    with pytest.raises(ConfigError):
        report(make(one, good(one)), make(other, good(other)))


# -- little or nothing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_run_that_has_just_begun(make: Make, language: Language) -> None:
    dataset = asked(5)
    held = report(make(dataset, [], ended=""))
    page = Page(as_html(held, language=language))
    assert page.text_of("h1") == say(language, "title.empty")
    assert say(language, "warnings.partial", left=7) in page.text
    assert as_markdown(held, language=language)
    json.dumps(as_json(held), allow_nan=False)


def test_a_search_has_no_answers_to_tell_of(make: Make) -> None:
    dataset = asked(5)
    nothing = {"answer": None, "citations": (), "finish_reason": "", "confidence": None, "timings": {"total": 0.1}}
    records = [replace(record, kind="search", **nothing) for record in good(dataset)]
    page = Page(as_html(report(make(dataset, records, kind="search", flow=""))))
    assert page.row("Success@1")
    assert not {"refusal", "confidence", "risk", "measures-answer"} & page.ids
    assert {"measures", "recall", "time", "made"} <= page.ids


def test_without_known_places_answers_are_measured(make: Make) -> None:
    dataset = of_questions("loose", [Question("q", "How many?", answers=("2 litres",))])
    held = report(make(dataset, [answered(dataset.questions[0])]))
    page = Page(as_html(held))
    assert "recall" not in page.ids
    assert held.metric == "answer.f1"
    assert page.text_of("h1").startswith("Token F1: ")


def test_what_does_not_apply_is_counted(one: Report) -> None:
    rows = {(why, count): names.split(", ") for why, count, names in framing.left_out(one, "en").rows}
    assert {"Pages found", "Passages found", "Documents found", "Token F1"} <= set(rows["unanswerable", "2"])
    assert rows["answerable", "11"] == ["Rightly refused"]
    assert all(re.search("[\u4e00-\u9fff]", why) for why, _, _ in framing.left_out(one, "zh").rows)


# -- the page ----------------------------------------------------------------------------------------------------------

VOID = {"meta", "br", "line", "circle", "polyline", "rect", "img", "input", "link"}


class Page(HTMLParser):
    """A page as a reader's program sees it. Raises AssertionError where elements do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.rows: list[list[str]] = []
        self.articles: list[str] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self._open == []

    @property
    def ids(self) -> set[str]:
        return {value for _, name, value in self.attributes if name == "id"}

    def row(self, first: str) -> list[str]:
        return next(row for row in self.rows if row[0] == first)

    def text_of(self, tag: str) -> str:
        return self.texts[tag].strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td") and ("aria-hidden", "true") not in attrs:
            self.rows[-1].append("")
        if tag == "article":
            self.articles.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        for tag in self._open:
            self.texts[tag] = self.texts.get(tag, "") + data
        if "article" in self._open:
            self.articles[-1] += data
        if {"th", "td"} & set(self._open) and "svg" not in self._open:
            self.rows[-1][-1] += data.strip()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_needs_nothing_else(one: Report, two: Report, language: Language) -> None:
    for held in (one, two):
        text = as_html(held, language=language)
        page = Page(text)
        assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
        assert not re.search(r"https?:|@import|url\(|javascript:|//[a-z]", text)
        refers = [value for _, name, value in page.attributes if name in ("href", "src", "srcset", "action")]
        assert all(value.startswith("#") and value[1:] in page.ids for value in refers)
        assert len(refers) >= 5
        assert not [name for _, name, _ in page.attributes if name.startswith("on")]
        assert "default-src 'none'" in text


def test_pictures_are_told_in_words_and_in_figures(one: Report, two: Report) -> None:
    for held in (one, two):
        text = as_html(held)
        page = Page(text)
        ids = [value for _, name, value in page.attributes if name == "id"]
        assert len(ids) == len(set(ids))
        named = [value.split() for tag, name, value in page.attributes if tag == "svg" and name == "aria-labelledby"]
        assert len(named) == text.count('role="img"') >= 4
        assert all(set(pair) <= page.ids for pair in named)
        # Each picture is followed by its figures.
        assert text.count("<details><summary>The figures</summary>") == len(named)
        assert text.count("<svg") == len(named) + text.count('<svg class="mark-row" aria-hidden="true"')


def test_every_row_of_a_table_has_a_cell_for_each_head(one: Report, two: Report) -> None:
    for held in (one, two):
        for section in sections.sections(held, "en"):
            for exhibit in section.exhibits:
                assert {len(row) for row in exhibit.rows} == {len(exhibit.head)} == {len(exhibit.kinds)}
                assert len(exhibit.marks) in (0, len(exhibit.rows))
                assert len(exhibit.sides) in (0, len(exhibit.rows))


BAD = (
    '"><script>alert(1)</script><img src=x onerror=alert(2)> {{7*7}} {n|a|b} {x} | `*_[a](b)_*` <!-- ]]> &amp; \x00\x1b'
)


def test_hostile_texts_stay_texts(make: Make) -> None:
    gold = (Gold(f"{BAD}.pdf", (1,), BAD),)
    asked_so = [Question(f"q{i}", f"{i} {BAD}", gold, (BAD,), tags={"kind": f"{BAD}{i % 2}"}) for i in range(6)]
    dataset = of_questions(BAD, asked_so)
    bad = [
        replace(answered(q, place=None), answer=f"{BAD}\ud800", error=BAD if q.id == "q0" else "",
                timings={BAD: 0.1, "total": 0.2}, hits=(hit(BAD, 1, BAD),),
                citations=(Cite(1, BAD, 1, BAD, "verified", 0, 1),))
        for q in dataset.questions
    ]  # fmt: skip
    facts = {"name": BAD, "library": BAD, "warnings": (BAD,), "settings": {BAD: BAD}, "machine": BAD}
    held = report(make(dataset, bad, **facts), make(dataset, good(dataset), name="b"))
    for language in LANGUAGES:
        text = as_html(held, language=language)
        text.encode("utf-8")
        page = Page(text)
        assert not page.tags & {"script", "img"}
        assert not [name for _, name, _ in page.attributes if name.startswith("on")]
        # Names of tags become no ids; the page's own pictures keep theirs.
        assert all(re.fullmatch(r"[a-z0-9-]+", value) for value in page.ids)
        assert "alert(1)" in page.text
        assert "{{7*7}}" in page.text
        assert not re.search("[\x00-\x08\x1b\ud800-\udfff]", text)


def test_hostile_texts_are_no_markdown(make: Make) -> None:
    dataset = of_questions("set", [Question(f"q{i}", f"{i} {BAD}\n# head", (Gold(BAD, (1,)),)) for i in range(6)])
    bad = [
        replace(answered(q, place=None), answer="a\ud800", hits=(hit(BAD, 1, f"{BAD}\n\n- a\ud800"),))
        for q in dataset.questions
    ]
    other = make(dataset, good(dataset), name="b")
    held = report(make(dataset, bad, settings={BAD: BAD}), other)
    json.dumps(as_json(held), ensure_ascii=False).encode("utf-8")
    text = as_markdown(held)
    text.encode("utf-8")
    assert "<script" not in text.replace("\\<", "")
    assert "# head" not in [line.strip() for line in text.splitlines()]
    width = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert width in (0, cells) or not cells
        width = cells


# -- Markdown and JSON -------------------------------------------------------------------------------------------------


def test_markdown_tells_the_same(two: Report) -> None:
    text = as_markdown(two)
    page = Page(as_html(two))
    assert text.startswith(f"# {page.text_of('h1')}\n")
    assert "| Until the end | 150 ms | 300 ms | +150 ms |" in text
    for heading in ("What changed", "The measures", "Where the time goes", "What went wrong", "How it was made"):
        assert f"\n## {heading}\n" in text
    assert text.endswith("\n")
    assert "\n\n\n" not in text
    assert "<svg" not in text


def test_markdown_tells_what_went_wrong(one: Report) -> None:
    text = as_markdown(one)
    assert "- Should be: pump1.pdf, page 1: “It holds 1 litres.”" in text
    assert "### Nothing right was found (1)" in text
    assert "- q0: The model broke." in text


def test_json_holds_all_figures(two: Report, one: Report) -> None:
    held = json.loads(json.dumps(as_json(two), allow_nan=False))
    assert held["run"]["manifest"]["name"] == "now"
    assert held["other"]["manifest"]["name"] == "then"
    assert held["run"]["summary"]["means"]["passages.success@1"]["value"] == 1.0
    assert held["run"]["scores"]["q0"]["pages.mrr@10"] == 1.0
    assert {d["metric"] for d in held["comparison"]["differences"]} >= {"latency.total", "passages.success@1"}
    lost = json.loads(json.dumps(as_json(one)))["lost"]
    assert [each["fault"] for each in lost] == list(FAULTS)
    assert lost[2]["gold"][0]["document"] == "pump1.pdf"
    assert lost[2]["found"][0] == {"document": "other1.pdf", "page": 1, "score": 0.5}


# -- languages ---------------------------------------------------------------------------------------------------------

_NAMES = string.Formatter()


def _values(text: str) -> set[str]:
    """The names that a text wants values for."""
    chosen = set(re.findall(r"\{(\w+)\|", text))
    plain = re.sub(r"\{\w+\|[^{}]*\}", "", text)
    return chosen | {name for _, name, _, _ in _NAMES.parse(plain) if name}


@pytest.mark.parametrize("key", sorted(captions.WORDS))
def test_every_word_is_there_in_both_languages(key: str) -> None:
    english, chinese = captions.WORDS[key]
    assert english.strip()
    assert chinese.strip()
    assert _values(chinese) <= _values(english)
    # What is the same in both is a sign or a name.
    if english == chinese:
        assert len(re.sub(r"\{\w+\}", "", english)) <= 6
    else:
        assert re.search("[\u3000-\u9fff\uff00-\uffef]", chinese)
        assert not re.search("[\u3000-\u9fff]", english)
    values = dict.fromkeys(_values(english), 1)
    for language in LANGUAGES:
        assert "{" not in say(language, key, **values)


def test_numbers_choose_their_words() -> None:
    assert say("en", "lost.more", n=1) == "One more"
    assert say("en", "lost.more", n=1200) == "1,200 more"
    assert say("zh", "lost.more", n=3) == "另有 3 个"


@cache
def _measured() -> frozenset[str]:
    """Every name that a measure can have."""
    question = Question("q", "Which?", (Gold("b.pdf", (1,), "words"),))
    found = retrieval.scores(question, [replace(hit("b.pdf"), gold=True)], {"passages": 1})
    return frozenset({*found, *answering.NAMES, *measures.HEADLINE})


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_measure_has_a_name_and_a_meaning(language: Language) -> None:
    assert len(_measured()) > 40
    for name in _measured():
        assert measure_label(language, name) != name
        assert "." not in measure_label(language, name, is_long=True)
        assert measure_meaning(language, name)
        assert sections.group_of(name) != "rest"
    assert measure_label(language, "mine.own@3") == "mine.own@3"
    assert measure_meaning(language, "mine.own@3") == ""


def test_every_reason_is_known_in_chinese() -> None:
    source = "".join((ROOT / "eval" / name).read_text("utf-8") for name in ("answering.py", "retrieval.py"))
    bodies = "".join(re.findall(r"def why_not\(.*?\n\n\n", source, re.DOTALL))
    reasons = set(re.findall(r'"([a-z ]{5,})"[,)\n ]', bodies)) - {"answer", "refusal", "latency", "documents", "pages"}
    assert {"unanswerable", "no gold page", "refused"} <= reasons
    assert {why for why in reasons if captions.reason("zh", why) == why} <= {
        "citation",
        "contains",
        "passages",
        "quotes",
        "recall",
    }


def test_every_step_has_a_name() -> None:
    source = "".join((ROOT / "ragapp" / name).read_text("utf-8") for name in ("steps.py", "answerers.py"))
    steps = set(re.findall(r'_step\("(\w+)"|\bStep\("(\w+)"', source))
    names = {one or other for one, other in steps}
    assert {"search", "write", "refuse", "prompt"} <= names
    for name in names:
        assert step_label("en", name) != name
        assert re.search("[\u4e00-\u9fff]", step_label("zh", name))
    assert step_label("en", "my_step") == "my_step"


def test_a_chinese_page_is_chinese(one: Report, two: Report) -> None:
    for held in (one, two):
        # Sentences about the set and the runs come from elsewhere, in English.
        quiet = replace(held, comparison=held.comparison and replace(held.comparison, notes=()))
        text = Page(as_html(quiet, language="zh")).text + as_markdown(quiet, language="zh")
        english = [words for words, chinese in captions.WORDS.values() if words != chinese and "{" not in words]
        assert not [words for words in english if len(words) > 9 and words in text]
        assert 'lang="zh-Hans"' in as_html(held, language="zh")


# -- colours -----------------------------------------------------------------------------------------------------------


def _themes() -> dict[str, dict[str, str]]:
    style = (ROOT / "eval" / "report.html.j2").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return dict(
        zip(("light", "dark", "print"), [dict(re.findall(r"--(\w+): (#\w{6})", b)) for b in blocks], strict=True)
    )


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_letters_and_marks_stand_out(theme: Literal["light", "dark", "print"]) -> None:
    colours = _themes()[theme]
    for name in ("ink", "soft", "main", "worse"):
        assert _contrast(colours[name], colours["paper"]) >= 4.5, name
    assert _contrast(colours["other"], colours["paper"]) >= 3
    for name in ("main", "worse"):
        assert _contrast(colours["on"], colours[name]) >= 4.5, name
    # The number in a grey dot is bold and stands in the paper's colour.
    assert _contrast(colours["paper"], colours["other"]) >= 3


def _deuteranope(colour: str) -> tuple[float, float, float]:
    """How a reader without the green cones sees a colour (Viénot, Brettel & Mollon 1999), in linear light."""
    r, g, b = ((int(colour[n : n + 2], 16) / 255) ** 2.2 for n in (1, 3, 5))
    return 0.29275 * r + 0.70725 * g, 0.29275 * r + 0.70725 * g, -0.02234 * r + 0.02234 * g + b


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_better_and_worse_differ_for_the_colour_blind(theme: str) -> None:
    colours = _themes()[theme]
    better, worse = _deuteranope(colours["main"]), _deuteranope(colours["worse"])
    assert sum((a - b) ** 2 for a, b in zip(better, worse, strict=True)) ** 0.5 > 0.15
