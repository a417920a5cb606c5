"""Runs: a record for each question, whatever ends them they go on, and they go on only as they began."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragapp import registry
from ragapp.config import load
from ragapp.errors import ConfigError, LibraryLocked, ModelError, NotFound, RagappError
from ragapp.eval import runner
from ragapp.eval.dataset import Dataset, Gold, Question, of_questions
from ragapp.eval.records import Record, RunFolder
from ragapp.rag import Rag
from ragapp.trace import Trace
from ragapp.types import Answer, Done, Found, Passage, Query, Rank, Step, Token, Turn

TEXTS = {
    "pump.txt": "The pump moves 42 litres a minute. It needs oil every May.",
    "warranty.txt": "The warranty of the pump lasts 24 months. Claims go to Oslo.",
    "手册.txt": "水泵每年五月加油。保修期为二十四个月。",
}
SETTINGS = {"embedder.name": "hashing", "reranker.name": "keep"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of three documents."""
    root = tmp_path_factory.mktemp("runner")
    for name, text in TEXTS.items():
        (root / "docs").mkdir(exist_ok=True)
        (root / "docs" / name).write_text(text, encoding="utf-8")
    with Rag.open(root / "library", config=load(SETTINGS)) as rag:
        rag.add([root / "docs"])
    return root / "library"


@pytest.fixture
def rag(folder: Path) -> Iterator[Rag]:
    with Rag.open(folder, config=load(SETTINGS), create=False) as opened:
        yield opened


QUESTIONS = (
    Question("litres", "How many litres does the pump move?", (Gold("pump.txt", (1,), "42 litres"),), ("42",)),
    Question("months", "How long does the warranty last?", (Gold("warranty.txt", (1,)),)),
    Question("oil", "水泵何时加油？", (Gold("手册.txt", quote="五月加油"),)),
    Question("paris", "Who painted the ceiling in Paris?", answerable=False),
)


def questions(*asked: Question) -> Dataset:
    return of_questions("pumps", asked or QUESTIONS)


class Scripted:
    """A flow that does as it is told for each question, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Query] = []
        self.does: dict[str, Any] = {}
        self.detail: dict[str, str] = {}  # of the step that searched
        self.long: set[str] = set()  # questions whose answers take five seconds
        self.ended: list[str] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def __call__(self, tools: Any, query: Query) -> Iterator[Any]:
        with self._lock:
            self.asked.append(query)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield Step("search", 0.25, {"found": 1, **self.detail})
            yield Found(())
            does = self.does.get(query.text)
            if isinstance(does, Exception):
                raise does
            if does is not None:
                does()
            for _ in range(100 if query.text in self.long else 0):
                time.sleep(0.05)
                yield Step("thinking", 0.05)
            self.ended.append(query.text)
            yield Token("Said.")
            yield Done(Answer("Said.", (), (), "stop", confidence=0.5))
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    made = Scripted()
    resolve = registry.resolve

    def found(kind: str, name: str) -> Any:
        return made if (kind, name) == ("flow", "scripted") else resolve(kind, name)

    monkeypatch.setattr(registry, "resolve", found)
    return made


def ask(rag: Rag, runs: Path, dataset: Dataset | None = None, **options: Any) -> RunFolder:
    return runner.run(rag, dataset or questions(), name=options.pop("name", "first"), runs=runs, **options)


def test_a_search_records_hits_best_first_with_their_gold(rag: Rag, tmp_path: Path) -> None:
    run = ask(rag, tmp_path, kind="search")
    records = {record.id: record for record in run.records()}
    assert list(records) == ["litres", "months", "oil", "paris"]
    found = rag.search("How many litres does the pump move?", 20)
    assert [(hit.chunk, hit.start, hit.end) for hit in records["litres"].hits] == [
        (p.chunk.id, p.chunk.start, p.chunk.end) for p in found
    ]
    assert [(hit.document, hit.gold) for hit in records["litres"].hits][:1] == [("pump.txt", True)]
    assert all(hit.gold is False for hit in records["litres"].hits[1:])
    assert {hit.gold for hit in records["months"].hits} == {None}
    assert records["litres"].relevant == {"passages": 1, "pages": 1, "documents": 1, "quotes": 1}
    assert records["oil"].relevant == {"passages": 1, "documents": 1, "quotes": 1}
    assert records["paris"].relevant == {}
    assert records["litres"].answer is None
    assert records["litres"].trace == ""
    assert 0 < records["litres"].timings["total"] < 60
    assert list((run.path / "traces").iterdir()) == []


def test_an_answer_records_what_was_said_how_and_a_trace(rag: Rag, tmp_path: Path) -> None:
    run = ask(rag, tmp_path)
    record = run.records()[0]
    answer = rag.ask("How many litres does the pump move?")
    assert (record.kind, record.answer, record.finish_reason) == ("ask", answer.text, "stop")
    assert record.confidence == answer.confidence
    assert [(c.document, c.page, c.quote, c.state) for c in record.citations] == [
        (c.passage.document, c.page, c.quote, c.state) for c in answer.citations
    ]
    assert [cite.gold for cite in record.citations][:1] == [True]
    assert {"search", "total", "first_token"} <= record.timings.keys()
    assert [step["name"] for step in record.steps][:1] == ["search"]
    assert len(record.hits) == len(rag.search("How many litres does the pump move?", 20))
    trace = Trace.load(run.trace_path(record.trace))
    assert trace.answer is not None
    assert trace.answer["text"] == record.answer
    assert len({r.trace for r in run.records()}) == 4


def test_the_manifest_says_how_the_run_was_made(rag: Rag, tmp_path: Path) -> None:
    manifest = ask(rag, tmp_path, kind="search", k=30, seed=7, workers=2).manifest
    now = rag.catalog.generation()
    assert (manifest.set, manifest.questions, manifest.kind, manifest.k, manifest.seed) == ("pumps", 4, "search", 30, 7)
    assert manifest.fingerprint == questions().fingerprint
    assert (manifest.generation, manifest.stamp) == (now.number, now.stamp)
    assert dict(manifest.settings) == SETTINGS
    assert manifest.embedder == rag.catalog.embedder()
    assert (manifest.library, manifest.documents, manifest.workers) == ("library", 3, 2)
    assert manifest.started <= manifest.ended
    assert "cores" in manifest.machine


def test_at_least_twenty_hits_are_recorded(rag: Rag, tmp_path: Path) -> None:
    assert ask(rag, tmp_path, kind="search", k=1).manifest.k == 20


def test_no_trace_is_kept_where_none_is_wanted(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    run = ask(rag, tmp_path, flow="scripted", traces=False)
    assert {record.trace for record in run.records()} == {""}
    assert list((run.path / "traces").iterdir()) == []


def test_a_question_is_asked_with_its_history_its_scope_and_the_seed(
    rag: Rag, tmp_path: Path, scripted: Scripted
) -> None:
    turn = Turn("user", "Tell me of the pump.")
    asked = Question("q", "Does it need oil?", (Gold("pump.txt"),), history=(turn,), where=("pump*",))
    run = ask(rag, tmp_path, questions(asked), flow="scripted", seed=5)
    (query,) = scripted.asked
    assert (query.history, query.where, query.seed) == ((turn,), ("pump*",), 5)
    assert {hit.document for hit in run.records()[0].hits} == {"pump.txt"}


def test_the_search_beside_an_answer_is_not_in_its_times(
    rag: Rag, tmp_path: Path, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Rag.search

    def slow(self: Rag, *arguments: Any) -> list[Passage]:
        time.sleep(0.3)
        return search(self, *arguments)

    monkeypatch.setattr(Rag, "search", slow)
    record = ask(rag, tmp_path, questions(QUESTIONS[0]), flow="scripted").records()[0]
    assert record.timings["total"] < 0.3
    assert record.timings["search"] == 0.25
    assert record.hits


def test_a_file_that_is_there_twice_is_called_as_the_question_calls_it(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("copy.txt", "pump.txt"):
        (tmp_path / "docs" / name).write_text(TEXTS["pump.txt"], encoding="utf-8")
    copy, own = (Question(n, "How many litres?", (Gold(n, quote="42 litres"),)) for n in ("copy.txt", "pump.txt"))
    with Rag.open(tmp_path / "library", config=load(SETTINGS)) as rag:
        rag.add([tmp_path / "docs"])
        run = ask(rag, tmp_path / "runs", questions(copy, own))
    for record in run.records():
        assert [hit.document for hit in record.hits] == [record.id]
        assert {cite.document for cite in record.citations} == {record.id}


def test_progress_tells_of_every_record_in_turn(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    told: list[tuple[int, int, str]] = []
    ask(rag, tmp_path, flow="scripted", progress=lambda done, total, record: told.append((done, total, record.id)))
    assert told == [(1, 4, "litres"), (2, 4, "months"), (3, 4, "oil"), (4, 4, "paris")]


MANY = tuple(Question(f"q{n}", f"Which is number {n}?", (Gold("pump.txt"),)) for n in range(30))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stopped_run_goes_on_and_asks_nothing_twice(
    rag: Rag, tmp_path: Path, scripted: Scripted, workers: int
) -> None:
    done: list[str] = []
    stopped = ask(
        rag, tmp_path, questions(*MANY), flow="scripted", workers=workers, cancelled=lambda: len(done) >= 2,
        progress=lambda _done, _total, record: done.append(record.id),
    )  # fmt: skip
    assert stopped.manifest.ended == ""
    assert 2 <= len(stopped.records()) < 12
    before = {record.id: record for record in stopped.records()}
    scripted.asked.clear()
    told: list[int] = []
    went_on = ask(
        rag, tmp_path, questions(*MANY), flow="scripted", workers=workers, progress=lambda n, _t, _r: told.append(n)
    )
    assert went_on.manifest.ended
    assert told == list(range(len(before) + 1, 31))
    assert len(scripted.asked) == 30 - len(before)
    after = {record.id: record for record in went_on.records()}
    assert list(after) == [question.id for question in MANY]
    assert {key: after[key] for key in before} == before


def test_a_cancelled_answer_leaves_no_record(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    is_over = threading.Event()
    scripted.does = {QUESTIONS[1].text: is_over.set}
    run = ask(rag, tmp_path, flow="scripted", cancelled=is_over.is_set)
    assert [record.id for record in run.records()] == ["litres"]


@pytest.mark.parametrize("workers", [1, 3])
def test_ctrl_c_keeps_what_was_done(rag: Rag, tmp_path: Path, scripted: Scripted, workers: int) -> None:
    def interrupt(done: int, _total: int, _record: Record) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(rag, tmp_path, flow="scripted", workers=workers, progress=interrupt)
    assert len(RunFolder.open(tmp_path / "first").records()) == 2
    assert len(ask(rag, tmp_path, flow="scripted", workers=workers).records()) == 4


def test_a_stop_reaches_the_answers_in_the_making(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    scripted.long = {QUESTIONS[1].text}
    with pytest.raises(KeyboardInterrupt):
        ask(rag, tmp_path, flow="scripted", workers=2, progress=interrupt)
    assert QUESTIONS[1].text not in scripted.ended


def test_several_questions_are_asked_at_once_and_read_back_in_order(
    rag: Rag, tmp_path: Path, scripted: Scripted
) -> None:
    barrier = threading.Barrier(2, timeout=20)
    scripted.does = {question.text: barrier.wait for question in QUESTIONS}
    run = ask(rag, tmp_path, flow="scripted", workers=2)
    assert [record.id for record in run.records()] == ["litres", "months", "oil", "paris"]
    assert scripted.most_at_once == 2


def test_a_finished_run_is_not_asked_again(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    first = ask(rag, tmp_path, flow="scripted")
    scripted.asked.clear()
    again = ask(rag, tmp_path, flow="scripted")
    assert scripted.asked == []
    assert (again.manifest, again.records()) == (first.manifest, first.records())


def test_a_question_that_fails_is_recorded_and_asked_again(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    scripted.does = {QUESTIONS[1].text: ModelError("The model is gone."), QUESTIONS[2].text: ZeroDivisionError("oh")}
    run = ask(rag, tmp_path, flow="scripted")
    assert {record.id: record.error for record in run.records() if record.error} == {
        "months": "The model is gone.", "oil": "ZeroDivisionError: oh"
    }  # fmt: skip
    assert run.records()[1] == Record("months", "ask", error="The model is gone.")
    scripted.does, scripted.asked = {}, []
    again = ask(rag, tmp_path, flow="scripted")
    assert [query.text for query in scripted.asked] == [QUESTIONS[1].text, QUESTIONS[2].text]
    assert not any(record.error for record in again.records())


@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_of_which_nothing_works_is_given_up(rag: Rag, tmp_path: Path, scripted: Scripted, workers: int) -> None:
    many = MANY
    scripted.does = {question.text: ModelError("The model is gone.") for question in many}
    with pytest.raises(ModelError, match="The model is gone"):
        ask(rag, tmp_path, questions(*many), flow="scripted", workers=workers)
    assert len(scripted.asked) < 12
    scripted.does, scripted.asked = {}, []
    assert len(ask(rag, tmp_path, questions(*many), flow="scripted", workers=workers).records()) == 30
    assert len(scripted.asked) == 30


def test_some_errors_after_an_answer_do_not_end_a_run(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    many = MANY[:9]
    scripted.does = {question.text: ModelError("Busy.") for question in many[1:]}
    run = ask(rag, tmp_path, questions(*many), flow="scripted")
    assert sum(bool(record.error) for record in run.records()) == 8
    assert run.manifest.ended


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "ask"}, "Kind of run: search then, ask now"),
        ({"k": 50}, "Hits: 20 then, 50 now"),
        ({"seed": 3}, "Seed"),
        ({"dataset": questions(*QUESTIONS[:2])}, "questions are not the same"),
    ],
)
def test_a_run_goes_on_only_as_it_began(rag: Rag, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    ask(rag, tmp_path, kind="search")
    with pytest.raises(ConfigError, match=says) as told:
        ask(rag, tmp_path, **{"kind": "search", **options})
    assert "--fresh" in told.value.hint
    assert "first was begun otherwise" in told.value.message


def test_other_settings_or_another_library_are_another_run(folder: Path, rag: Rag, tmp_path: Path) -> None:
    ask(rag, tmp_path, kind="search")
    with (
        Rag.open(folder, config=load({**SETTINGS, "search.depth": 9}), create=False) as other,
        pytest.raises(ConfigError, match=r"search\.depth: the default then, 9 now"),
    ):
        ask(other, tmp_path, kind="search")
    (tmp_path / "pump.txt").write_text("Another pump moves 9 litres.", encoding="utf-8")
    with Rag.open(tmp_path / "library", config=load(SETTINGS)) as other:
        other.add([tmp_path / "pump.txt"])
        with pytest.raises(ConfigError, match="The library is another one"):
            ask(other, tmp_path, kind="search")


def test_settings_that_change_no_answer_do_not_make_another_run(folder: Path, rag: Rag, tmp_path: Path) -> None:
    ask(rag, tmp_path, kind="search")
    same = {**SETTINGS, "server.port": 0, "search.k": 10, "ingest.workers": 1}
    with Rag.open(folder, config=load(same), create=False) as other:
        ask(other, tmp_path, kind="search")


def test_a_fresh_run_takes_the_place_of_the_old_one(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    ask(rag, tmp_path, flow="scripted", seed=1)
    run = ask(rag, tmp_path, flow="scripted", seed=2, resume=False)
    assert run.manifest.seed == 2
    assert len(scripted.asked) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_what_is_no_run_is_never_deleted(rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "mine.txt").write_text("mine")
    with pytest.raises(NotFound):
        ask(rag, tmp_path, kind="search", resume=False)
    with pytest.raises(RagappError):
        ask(rag, tmp_path, kind="search")
    assert (tmp_path / "first" / "mine.txt").read_text() == "mine"


def test_two_at_a_time_do_not_write_the_same_run(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    def nested() -> None:
        with pytest.raises(LibraryLocked):
            ask(rag, tmp_path, flow="scripted")

    scripted.does = {QUESTIONS[0].text: nested}
    assert len(ask(rag, tmp_path, flow="scripted").records()) == 4


@pytest.mark.parametrize("numbers", [{"k": 0}, {"workers": 0}])
def test_numbers_below_one_are_refused(rag: Rag, tmp_path: Path, numbers: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ask(rag, tmp_path, **numbers)
    assert list(tmp_path.iterdir()) == []


def test_a_set_about_other_documents_is_refused_before_anything_is_made(rag: Rag, tmp_path: Path) -> None:
    other = Question("q", "What is it?", (Gold("elsewhere.pdf", (1,)),))
    with pytest.raises(ConfigError, match="none of the documents"):
        ask(rag, tmp_path / "runs", questions(other))
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_counted_in_warnings(folder: Path, tmp_path: Path) -> None:
    lost = Question("lost", "How many?", (Gold("pump.txt", quote="Nobody said this."),))
    gone = Question("gone", "Where?", (Gold("gone.pdf"),))
    beyond = Question("beyond", "Where else?", (Gold("pump.txt", (1, 9)), Gold("手册.txt", (7,))))
    config = load({**SETTINGS, "chunker.tokens": 64})
    with Rag.open(folder, config=config, create=False) as rag:
        run = ask(rag, tmp_path, questions(*QUESTIONS, lost, gone, beyond), kind="search")
        again = ask(rag, tmp_path, questions(*QUESTIONS, lost, gone, beyond), kind="search")
    warnings = "\n".join(run.manifest.warnings)
    assert "Gold pages that their documents do not have: 2, like page 9 of pump.txt." in warnings
    assert "1 of 3 gold quotes do not stand in their documents" in warnings
    assert "another chunker" in warnings
    assert "gone.pdf" in warnings
    assert run.manifest.questions == 6
    assert again.manifest.warnings == run.manifest.warnings
    assert {record.id: {hit.gold for hit in record.hits} for record in run.records()}["lost"] == {None}


def test_what_went_less_well_with_answers_is_counted(rag: Rag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Rag.search

    def found(self: Rag, query: Any, *more: Any, **told: Any) -> list[Passage]:
        passages = search(self, query, *more, **told)
        is_read = not query.text.startswith("水")
        return [replace(p, found_by={**p.found_by, **({"late": Rank(1, 1.0)} if is_read else {})}) for p in passages]

    def flow(tools: Any, query: Query) -> Iterator[Any]:
        yield Step("rerank", 0.1, {"warning": "The reranker was late."} if "the" in query.text else {})
        yield Step("rerank", 0.1, {"warning": "The reranker was late."})
        yield Found(())
        yield Done(Answer("", (), (), "stop"))

    resolve = registry.resolve
    monkeypatch.setattr(registry, "resolve", lambda kind, name: flow if name == "mine" else resolve(kind, name))
    monkeypatch.setattr(Rag, "search", found)
    run = ask(rag, tmp_path, questions(*QUESTIONS[:3]), flow="mine")
    assert run.manifest.warnings == (
        "The reranker was late. 3 questions.",
        "The reranker gave up, or does not read the language, and the fused order was kept: 1 of 3 searches.",
    )


class Failing:
    """A reranker whose model is gone."""

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        raise ModelError("The model is gone")


def test_a_search_that_kept_its_order_says_why(folder: Path, tmp_path: Path) -> None:
    config = load({**SETTINGS, "reranker.name": "tests.test_runner:Failing"})
    told: list[Any] = []
    with Rag.open(folder, config=config, create=False) as rag:
        assert rag.search(QUESTIONS[0].text, told=told.append)
        run = ask(rag, tmp_path, questions(*QUESTIONS[:2]), kind="search")
    said = "The model is gone. The passages stand in the order of the search."
    assert [step.detail.get("warning") for step in told if step.name == "rerank"] == [said]
    assert run.manifest.warnings == (f"{said} 2 questions.",)


def test_a_run_that_goes_on_tells_only_what_still_holds(rag: Rag, tmp_path: Path, scripted: Scripted) -> None:
    scripted.detail = {"warning": "Too late."}
    scripted.does = {QUESTIONS[1].text: ModelError("The model is gone.")}
    run = ask(rag, tmp_path, questions(*QUESTIONS[:2]), flow="scripted")
    assert run.manifest.warnings == ("Too late. 1 question.",)
    scripted.does = {}
    again = ask(rag, tmp_path, questions(*QUESTIONS[:2]), flow="scripted")
    assert again.manifest.warnings == ("Too late. 2 questions.",)
    scripted.asked = []
    last = ask(rag, tmp_path, questions(*QUESTIONS[:2]), flow="scripted")
    assert (last.manifest.warnings, last.manifest.ended) == (again.manifest.warnings, again.manifest.ended)
    assert scripted.asked == []


def test_a_flow_that_is_not_there_is_told_before_anything_is_asked(rag: Rag, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loping"):
        ask(rag, tmp_path, flow="loping")
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_changes_meanwhile_is_told(tmp_path: Path, scripted: Scripted) -> None:
    (tmp_path / "pump.txt").write_text(TEXTS["pump.txt"], encoding="utf-8")
    (tmp_path / "more.txt").write_text("More is there now.", encoding="utf-8")
    with Rag.open(tmp_path / "library", config=load(SETTINGS)) as rag:
        rag.add([tmp_path / "pump.txt"])
        scripted.does = {QUESTIONS[0].text: lambda: rag.add([tmp_path / "more.txt"])}
        run = ask(rag, tmp_path / "runs", questions(QUESTIONS[0]), flow="scripted")
    assert any("was changed while" in warning for warning in run.manifest.warnings)


def test_the_same_command_has_the_same_name_and_another_one_another(folder: Path, rag: Rag, tmp_path: Path) -> None:
    planned = replace(runner.planned(rag, questions(), kind="search"), name="")
    name = runner.free_name(tmp_path, planned)
    assert name == "pumps-search-embedder.name=hashing-reranker.name=keep"
    ask(rag, tmp_path, kind="search", name=name)
    assert runner.free_name(tmp_path, planned) == name
    assert runner.free_name(tmp_path, replace(planned, seed=4)) == f"{name}-2"
    (tmp_path / name / "run.json").write_text("{")
    assert runner.free_name(tmp_path, planned) == f"{name}-2"
    chosen = replace(planned, set="问题 集", kind="ask", flow="looping", settings={"search.k": 5})
    assert runner.free_name(tmp_path, chosen) == "问题-集-ask-looping-search.k=5"
    assert runner.free_name(tmp_path, replace(chosen, set="…", flow="linear", settings={})) == "ask"
