"""Runs on the disk: what is appended stays, what a kill tears is dropped, and names lead nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.errors import ConfigError, LibraryLocked, NotFound, RagappError, ReadError
from ragapp.eval.dataset import Dataset, Gold, Question, of_questions
from ragapp.eval.records import (
    Cite,
    Hit,
    Manifest,
    Record,
    RunFolder,
    find_run,
    record_of,
    run_path,
    runs_in,
    slug,
    unlike,
)
from ragapp.trace import plain
from ragapp.types import Rank
from tests.libraries import child_environment

MANIFEST = Manifest(
    name="first", set="pumps", fingerprint="f1", questions=3, kind="search", flow="", k=20, seed=0,
    settings={"search.k": 5}, library="docs", generation=3, stamp="abc", embedder="hashing", model="", version="0.1",
    started="2026-01-02T03:04:05+00:00", warnings=("2 documents are not there.",),
)  # fmt: skip
HIT = Hit("泵.pdf", 2, 7, 10, 20, 0.5, "水泵 ﬁne\nline", {"dense": Rank(1, 0.25)}, True)
CITE = Cite(1, "泵.pdf", 2, "水泵", "verified", 10, 12, False)
RECORD = Record(
    "q1", "ask", (HIT,), "Yes [1].", (CITE,), "stop", 0.75, {"total": 0.5}, 10, 3, {"passages": 2},
    ({"name": "search", "seconds": 0.1, "detail": {"found": 3}},), "traces/00001-q1.json",
)  # fmt: skip


def questions() -> Dataset:
    asked = (
        Question("q1", "How many litres?", (Gold("pump.pdf", (1,), "42 litres"),)),
        Question("q2", "水泵何时加油？", (Gold("泵.pdf", (1,)),)),
        Question("q3", "Who pays?", answerable=False),
    )
    return of_questions("pumps", asked)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.create(tmp_path / "runs" / "first", MANIFEST, questions()) as made:
        yield made


def test_a_record_is_read_back_as_it_was(run: RunFolder) -> None:
    run.append(RECORD)
    run.append(Record("q2", "ask", error="It failed."))
    run.close()
    assert RunFolder.open(run.path).records() == [RECORD, Record("q2", "ask", error="It failed.")]


def test_the_manifest_and_the_questions_are_read_back_as_they_were(run: RunFolder) -> None:
    run.close()
    held = RunFolder.open(run.path)
    assert held.manifest == MANIFEST
    assert held.dataset().questions == questions().questions
    assert (held.dataset().name, held.dataset().fingerprint) == ("pumps", "f1")
    assert held.dataset().warnings == ("2 documents are not there.",)


def test_records_come_in_the_order_of_the_questions_and_the_last_one_of_a_question_counts(run: RunFolder) -> None:
    for record in (Record("q3", "search"), Record("q1", "search", error="Busy."), Record("q1", "search", (HIT,))):
        run.append(record)
    assert [(record.id, record.error) for record in run.records()] == [("q1", ""), ("q3", "")]


def test_a_record_is_on_the_disk_before_the_next_one(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    run.append(RECORD)
    assert synced == [(run.path / "records.jsonl").stat().st_size]
    assert json.loads((run.path / "records.jsonl").read_text("utf-8"))["id"] == "q1"


def test_half_of_a_character_pair_does_not_end_a_run(run: RunFolder) -> None:
    run.append(replace(RECORD, answer="broken \ud83d here"))
    assert run.records()[0].answer == "broken \ud83d here"


def test_numbers_that_are_none_are_kept_as_none(run: RunFolder) -> None:
    run.append(replace(RECORD, confidence=float("nan")))
    assert run.records()[0].confidence is None


@pytest.mark.parametrize("torn", ['{"id": "q2", "kind"', '{"id": "q2", "kind": "ask"}', "\0\0\0"])
def test_a_line_without_its_end_is_dropped_and_written_anew(run: RunFolder, torn: str) -> None:
    run.append(RECORD)
    run.close()
    with (run.path / "records.jsonl").open("a", encoding="utf-8") as file:
        file.write(torn)
    assert [record.id for record in RunFolder.open(run.path).records()] == ["q1"]
    with RunFolder.resume(run.path) as again:
        again.append(Record("q2", "search", (HIT,)))
    assert [(r.id, r.kind) for r in RunFolder.open(run.path).records()] == [("q1", "ask"), ("q2", "search")]


@pytest.mark.parametrize("line", ["no JSON", "[]", '{"id": 1, "kind": "ask"}', '{"id": "q1"}', '{"id":"a","kind":"b"}'])
def test_a_damaged_line_is_named_with_its_number(run: RunFolder, line: str) -> None:
    run.append(RECORD)
    run.close()
    with (run.path / "records.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(ReadError, match=r"records\.jsonl:2 is no record"):
        RunFolder.open(run.path).records()


def test_only_one_process_writes_a_run_and_others_may_read_it(run: RunFolder) -> None:
    run.append(RECORD)
    script = (
        "import sys; from pathlib import Path; from ragapp.eval.records import RunFolder\n"
        "from ragapp.errors import LibraryLocked\n"
        "path = Path(sys.argv[1])\n"
        "print(len(RunFolder.open(path).records()))\n"
        "try:\n    RunFolder.resume(path)\n"
        "except LibraryLocked as error:\n    print(error.message)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(run.path)], capture_output=True, text=True, check=True,
        env=child_environment(), timeout=60,
    )  # fmt: skip
    assert said.stdout.splitlines() == ["1", "Another process is working on the run first."]
    run.close()
    with RunFolder.resume(run.path) as again:
        assert [record.id for record in again.records()] == ["q1"]


def test_a_run_that_is_open_to_be_read_takes_no_record(run: RunFolder) -> None:
    run.close()
    with pytest.raises(RagappError, match="to be read only"):
        RunFolder.open(run.path).append(RECORD)


def test_finish_says_when_and_lets_go(run: RunFolder) -> None:
    run.finish("2026-01-02T03:05:00+00:00")
    assert RunFolder.open(run.path).manifest == replace(MANIFEST, ended="2026-01-02T03:05:00+00:00")
    RunFolder.resume(run.path).close()


def test_what_is_there_is_not_overwritten(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir()
    for name in ("first", "mine"):
        with pytest.raises(ConfigError, match="is there already"):
            RunFolder.create(tmp_path / "runs" / name, MANIFEST, questions())
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["first", "mine"]


def test_a_run_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RagappError, match="cannot be written"):
        RunFolder.create(tmp_path / "runs" / "first", MANIFEST, questions())
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_removing_a_run_takes_all_of_it_and_nothing_else(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder.create(tmp_path / "runs" / "other", replace(MANIFEST, name="other"), questions())
    other.close()
    with pytest.raises(LibraryLocked):
        RunFolder.open(run.path).remove()
    run.close()
    RunFolder.open(run.path).remove()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]


def test_only_traces_of_the_run_itself_are_found(run: RunFolder) -> None:
    (run.path / "traces" / "00001-q1.json").write_text("{}")
    (run.path / "traces" / "deep").mkdir()
    (run.path / "traces" / "deep" / "x.json").write_text("{}")
    assert run.trace_path("traces/00001-q1.json").is_file()
    for wrong in ("", "traces/2.json", "run.json", "../first/run.json", "traces/../run.json", "traces/deep/x.json"):
        with pytest.raises(NotFound, match="has no trace"):
            run.trace_path(wrong)


def test_traces_that_never_got_their_names_are_swept_away(run: RunFolder) -> None:
    run.close()
    (run.path / "traces" / ".00001-q1.json-x7").write_text("half")
    (run.path / "traces" / "00001-q1.json").write_text("{}")
    RunFolder.resume(run.path).close()
    assert [path.name for path in (run.path / "traces").iterdir()] == ["00001-q1.json"]


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("{", ConfigError, "is damaged"),
        ("[]", ConfigError, "is damaged"),
        ('{"format": "other"}', ConfigError, "no manifest"),
        ('{"format": "ragapp-run", "version_of_format": 1}', ConfigError, "is damaged"),
        ('{"format": "ragapp-run"}', ConfigError, "is damaged"),
    ],
)
def test_a_manifest_that_is_none_is_an_error(run: RunFolder, text: str, error: type[Exception], says: str) -> None:
    run.close()
    (run.path / "run.json").write_text(text)
    with pytest.raises(error, match=says):
        RunFolder.open(run.path)


def test_a_run_of_a_newer_ragapp_is_not_read(run: RunFolder) -> None:
    run.close()
    file = run.path / "run.json"
    file.write_text(file.read_text("utf-8").replace('"version_of_format": 1', '"version_of_format": 2'), "utf-8")
    with pytest.raises(ConfigError, match="newer ragapp"):
        RunFolder.open(run.path)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../out", "a/b", "a\\b", ".hidden", "-x", "a b", "x" * 101, "泵" * 40, "a\0"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a run"):
        run_path(tmp_path, name)


def test_runs_are_found_by_name_or_folder_and_near_names_are_told(run: RunFolder, tmp_path: Path) -> None:
    run.close()
    runs = tmp_path / "runs"
    assert find_run(runs, "first").path == run.path
    assert find_run(tmp_path, str(run.path)).manifest == MANIFEST
    with pytest.raises(NotFound) as found:
        find_run(runs, "frist")
    assert found.value.hint == "Did you mean 'first'?"
    for wrong in ("../runs/nothing", "", "nothing"):
        with pytest.raises(NotFound, match="There is no run"):
            find_run(tmp_path / "none", wrong)


def test_runs_are_listed_the_oldest_first_without_what_is_none(run: RunFolder, tmp_path: Path) -> None:
    run.close()
    runs = tmp_path / "runs"
    RunFolder.create(runs / "earlier", replace(MANIFEST, name="earlier", started="2025"), questions()).close()
    (runs / "no-run").mkdir()
    (runs / "damaged").mkdir()
    (runs / "damaged" / "run.json").write_text("{")
    assert [held.name for held in runs_in(runs)] == ["earlier", "first"]
    assert list(runs_in(tmp_path / "none")) == []


def test_what_makes_a_run_another_one_is_told_in_sentences() -> None:
    assert unlike(MANIFEST, replace(MANIFEST, started="later", ended="now", machine="m", workers=4, warnings=())) == []
    changed = {
        "kind": "ask", "flow": "looping", "k": 30, "seed": 1, "embedder": "other", "model": "m", "version": "0.2",
        "generation": 4, "stamp": "def", "fingerprint": "f2",
    }  # fmt: skip
    for key, value in changed.items():
        assert len(unlike(MANIFEST, replace(MANIFEST, **{key: value}))) == 1, key
    said = unlike(MANIFEST, replace(MANIFEST, settings={"search.depth": 60}))
    assert said == ["search.depth: the default then, 60 now.", "search.k: 5 then, the default now."]


@given(st.text())
def test_a_slug_is_a_name_or_nothing(text: str) -> None:
    made = slug(text)
    assert len(made.encode("utf-8")) <= 60
    assert not made or run_path(Path("runs"), made).parent == Path("runs")


records = st.builds(
    Record,
    id=st.text(min_size=1),
    kind=st.sampled_from(["search", "ask"]),
    hits=st.lists(
        st.builds(
            Hit, st.text(), st.integers(1), st.integers(0), st.integers(0), st.integers(0),
            st.floats(allow_nan=False, allow_infinity=False), st.text(),
            st.dictionaries(st.text(), st.builds(Rank, st.integers(1), st.floats(-1, 1))),
            st.sampled_from([None, True, False]),
        ),
        max_size=3,
    ).map(tuple),
    answer=st.none() | st.text(),
    timings=st.dictionaries(st.text(), st.floats(0, 100)),
    relevant=st.dictionaries(st.text(), st.integers(0)),
    error=st.text(),
)  # fmt: skip


@given(records)
def test_every_record_survives_json(record: Record) -> None:
    assert record_of(json.loads(json.dumps(plain(record), ensure_ascii=False))) == record


@settings(max_examples=30)
@given(st.lists(st.text(alphabet="ab水\u2028\x85", min_size=1), min_size=1, max_size=6), st.data())
def test_whatever_a_kill_leaves_of_the_file_begins_like_it(ids: list[str], data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        asked = tuple(Question(f"q{key}q", "Which?", answerable=False) for key in dict.fromkeys(ids))
        run = RunFolder.create(Path(folder) / "r", replace(MANIFEST, name="r"), of_questions("s", asked))
        for question in asked:
            run.append(Record(question.id, "search", (HIT,)))
        run.close()
        file = run.path / "records.jsonl"
        whole = file.read_bytes()
        left = data.draw(st.integers(0, len(whole)))
        os.truncate(file, left)
        with RunFolder.resume(run.path) as again:
            done = [record.id for record in again.records()]
        assert done == [question.id for question in asked][: whole[:left].count(b"\n")]
