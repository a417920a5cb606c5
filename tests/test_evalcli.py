"""The commands that measure, as people and programs use them: output, exit codes, messages, kills."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragapp import cli, evalcli, evalview
from ragapp.config import load
from ragapp.errors import RagappError
from ragapp.eval import demo, runner, synth, tune
from ragapp.eval.benched import Bench
from ragapp.eval.dataset import load as dataset_of
from ragapp.eval.dataset import of_questions
from ragapp.eval.questions import Question
from ragapp.eval.records import RunFolder
from ragapp.eval.stats import Difference
from ragapp.eval.tuned import Tuned
from ragapp.rag import Rag
from ragapp.scripted import ScriptedChat
from tests.libraries import child_environment

TEXTS = {
    "pump.txt": "The pump moves 42 litres a minute. It needs oil every May.",
    "warranty.txt": "The warranty of the pump lasts 24 months. Claims go to Oslo.",
    "手册.txt": "水泵每年五月加油。保修期为二十四个月。",
}
ROWS: Sequence[dict[str, Any]] = (
    {"id": "litres", "question": "How many litres does the pump move?", "answers": ["42"],
     "gold": [{"document": "pump.txt", "pages": [1], "quote": "42 litres"}]},
    {"id": "months", "question": "How long does the warranty last?",
     "gold": [{"document": "warranty.txt", "pages": [1]}]},
    {"id": "加油", "question": "水泵何时加油？", "gold": [{"document": "手册.txt", "pages": [1], "quote": "五月加油"}]},
    {"id": "paris", "question": "Who painted the ceiling in Paris?", "answerable": False},
)  # fmt: skip


class Screen:
    """Runs commands in this process, as ``ragapp`` does: our errors become a sentence, a hint and an exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        """The exit code, what was printed on standard output, and on standard error."""
        self._capsys.readouterr()
        try:
            code = cli.app([str(argument) for argument in arguments], standalone_mode=False) or 0
        except RagappError as error:
            cli.console.error(error.message, error.hint)
            code = error.exit_code
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def ragapp(capsys: pytest.CaptureFixture[str], in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Screen:
    """The command line in an empty folder, with the double for an embedder."""
    monkeypatch.setenv("RAGAPP_EMBEDDER_NAME", "hashing")
    return Screen(capsys)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a library of three documents, a set of four questions, and two runs."""
    root = tmp_path_factory.mktemp("evalcli")
    (root / "docs").mkdir()
    for name, text in TEXTS.items():
        (root / "docs" / name).write_text(text, encoding="utf-8")
    (root / "pumps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    with Rag.open(root / "library", config=load({"embedder.name": "hashing"})) as rag:
        rag.add([root / "docs"])
        dataset = dataset_of(root / "pumps.jsonl")
        runner.run(rag, dataset, name="first", runs=root / "runs", kind="search")
        few = of_questions("few", dataset.questions[:1])
        runner.run(rag, few, name="others", runs=root / "runs", kind="search")
    return root


@pytest.fixture(scope="module")
def slow(ready: Path) -> Path:
    """A folder with a flow of one's own that takes its time."""
    (ready / "slowly.py").write_text(
        "import time\n"
        "from ragapp.types import Answer, Done, Found, Token\n"
        "def flow(tools, query):\n"
        "    yield Found(())\n"
        "    time.sleep(0.1)\n"
        "    yield Token('Said.')\n"
        "    yield Done(Answer('Said.', (), (), 'stop'))\n",
        encoding="utf-8",
    )
    many = [{"id": f"q{n}", "question": f"Which is number {n}?", "answers": ["1"]} for n in range(12)]
    (ready / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many), encoding="utf-8")
    return ready


def slow_run(slow: Path, where: Path) -> subprocess.Popen[str]:
    """``ragapp eval run`` as a process of its own, on the way through a dozen questions."""
    environment = {**child_environment(), "RAGAPP_EMBEDDER_NAME": "hashing", "PYTHONIOENCODING": "utf-8"}
    environment["PYTHONPATH"] += os.pathsep + str(slow)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "ragapp", "eval", "run", str(slow / "many.jsonl"), "--library",
         str(slow / "library"), "--flow", "slowly:flow", "--name", "slow"],
        cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def wait_for(file: Path, lines: int) -> None:
    for _ in range(600):
        if file.is_file() and file.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.05)
    pytest.fail(f"{file} never had {lines} lines.")


def run(ragapp: Screen, ready: Path, *more: str) -> tuple[int, str, str]:
    return ragapp("eval", "run", ready / "pumps.jsonl", "--library", ready / "library", *more)


def test_a_run_prints_measures_with_intervals_and_says_what_comes_next(ragapp: Screen, ready: Path) -> None:
    code, out, err = run(ragapp, ready, "--name", "first")
    assert code == 0
    table = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert table["passages.success@1"][1:] == ["1.000", "1.000", "to", "1.000", "3"]
    assert "p95" in table["step"]
    assert "total" in table
    assert "of 1 question without an answer" in out
    assert "ragapp eval report first" in err
    assert "ragapp eval compare first OTHER" in err
    assert [r.id for r in RunFolder.open(Path("ragapp-runs/first")).records()] == ["litres", "months", "加油", "paris"]


def test_a_run_as_json_is_one_object_without_talk(ragapp: Screen, ready: Path) -> None:
    code, out, err = run(ragapp, ready, "--search", "--json", "--runs", "elsewhere")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert told["run"] == "elsewhere/pumps-search-embedder.name=hashing"
    assert (told["manifest"]["kind"], told["manifest"]["questions"]) == ("search", 4)
    assert told["summary"]["means"]["passages.success@1"]["n"] == 3
    assert told["summary"]["done"] == 4


def test_the_same_command_asks_nothing_twice_and_a_fresh_one_everything(ragapp: Screen, ready: Path) -> None:
    records = Path("ragapp-runs/pumps-search-embedder.name=hashing/records.jsonl")
    run(ragapp, ready, "--search")
    before = records.read_bytes()
    assert run(ragapp, ready, "--search")[0] == 0
    assert records.read_bytes() == before
    run(ragapp, ready, "--search", "--fresh")
    assert records.read_bytes() != before
    assert [path.name for path in Path("ragapp-runs").iterdir()] == [records.parent.name]


def test_other_settings_are_another_run_and_the_two_are_compared(ragapp: Screen, ready: Path) -> None:
    run(ragapp, ready, "--search", "--name", "a")
    run(ragapp, ready, "--search", "--name", "b", "--set", "search.depth=1")
    code, out, err = ragapp("eval", "compare", "a", "b")
    assert code == 0
    assert "A: a\nB: b" in out
    assert "noise" in out
    assert "passages.mrr@10" in out
    assert "passages.map" not in out
    assert "search.depth: the default then, 1 now." in err
    assert "passages.map" in ragapp("eval", "compare", "a", "b", "--all")[1]
    told = json.loads(ragapp("eval", "compare", "a", "b", "--json", "--metric", "pages.mrr@10")[1])
    assert [d["metric"] for d in told["differences"]] == ["pages.mrr@10"]
    assert (told["a"], told["b"], told["questions"]) == ("a", "b", 4)


def test_a_run_goes_on_only_with_the_same_settings(ragapp: Screen, ready: Path) -> None:
    run(ragapp, ready, "--search", "--name", "a")
    code, _, err = run(ragapp, ready, "--search", "--name", "a", "--set", "search.depth=5")
    assert code == 2
    assert "search.depth: the default then, 5 now." in err
    assert "--fresh" in err


def test_one_question_is_shown_with_its_gold_and_what_was_found(ragapp: Screen, ready: Path) -> None:
    run(ragapp, ready, "--name", "first")
    code, out, err = ragapp("eval", "show", "first", "litres")
    assert code == 0
    for part in (
        "litres: How many litres does the pump move?", "gold: pump.txt, page 1: “42 litres”", "right answer: 42",
        "The pump moves 42 litres a minute.", "1.* pump.txt, page 1", "the gold quote", "passages.success@1",
    ):  # fmt: skip
        assert part in out, part
    trace = err.split("All that led to it: ")[1].split(" (")[0]
    assert ragapp("replay", trace, "--library", ready / "library")[0] == 0
    told = json.loads(ragapp("eval", "show", "first", "加油", "--json")[1])
    assert (told["question"]["question"], told["record"]["id"]) == ("水泵何时加油？", "加油")
    assert told["scores"]["passages.success@1"] == 1
    assert "The documents do not answer it." in ragapp("eval", "show", "first", "paris")[1]


def test_runs_are_listed_with_what_is_done(ragapp: Screen, ready: Path) -> None:
    assert "There are no runs" in ragapp("eval", "list")[2]
    run(ragapp, ready, "--search", "--name", "first")
    _, out, _ = ragapp("eval", "list")
    assert "4 of 4" in out
    assert [(row["name"], row["done"]) for row in json.loads(ragapp("eval", "list", "--json")[1])] == [("first", 4)]


def test_a_search_whose_reranker_failed_says_so(ragapp: Screen, ready: Path) -> None:
    options = ("--library", ready / "library", "--set", "reranker.name=tests.test_runner:Failing")
    for more in ((), ("--json",)):
        code, out, err = ragapp("search", "How many litres?", *options, *more)
        assert (code, "pump.txt" in out) == (0, True)
        assert "note: The model is gone. The passages stand in the order of the search." in err


def talker() -> ScriptedChat:
    """A model that answers two questions, and judges the answers."""
    return ScriptedChat(replies=["It moves 42 litres [1].", "YES\nThe same.", "It moves 42 litres [1].", "NO\nOther."])


def test_the_llama_judges_and_what_it_said_is_kept(ragapp: Screen, ready: Path) -> None:
    row = {**ROWS[0], "must_contain": ["42"]}
    Path("one.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    options = ("one.jsonl", "--library", ready / "library", "--llm", "tests.test_evalcli:talker", "--name", "said")
    code, out, err = ragapp("eval", "run", *options, "--judge")
    assert (code, "With answer.contains, else answer.holds it agrees on 1." in out) == (0, True), err
    assert "tests.test_evalcli:talker judged 1 answer, 0 of them without a verdict." in out
    # Nothing is judged twice: the model would say NO now.
    told = json.loads(ragapp("eval", "run", *options, "--judge", "--json")[1])
    assert told["summary"]["disagreements"]["agreed"] == 1
    assert json.loads(ragapp("eval", "run", *options, "--json")[1])["summary"]["disagreements"] is None
    ragapp("eval", "report", "said", "--out", "page.json")
    found = json.loads(Path("page.json").read_text(encoding="utf-8"))
    assert found["run"]["summary"]["disagreements"]["judged"] == 1


def test_a_judge_that_is_stopped_leaves_the_run_whole(
    ragapp: Screen, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("one.jsonl").write_text(json.dumps(ROWS[0]) + "\n", encoding="utf-8")
    monkeypatch.setattr(evalcli, "_stoppable", lambda: nullcontext(lambda: True))
    options = ("--llm", "tests.test_evalcli:talker", "--judge", "--name", "said")
    code, out, _ = ragapp("eval", "run", "one.jsonl", "--library", ready / "library", *options)
    assert (code, "passages.success@1" in out, " judged " in out) == (130, True, False)
    assert RunFolder.open(Path("ragapp-runs/said")).manifest.ended


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--search", "--judge"), "--search asks for none"),
        (("--search", "--ragas", "Faithfulness"), "--search asks for none"),
        (("--judge",), "No model is set that could judge"),
        (("--judge", "--llm", "tests.test_evalcli:talker"), "none can be judged"),
    ],
)
def test_a_judge_that_cannot_judge_is_told_before_the_work(
    ragapp: Screen, ready: Path, more: tuple[str, ...], says: str
) -> None:
    Path("one.jsonl").write_text(json.dumps(ROWS[1]) + "\n", encoding="utf-8")
    code, _, err = ragapp("eval", "run", "one.jsonl", "--library", ready / "library", *more)
    assert (code, says in err, Path("ragapp-runs").exists()) == (2, True, False), err


def test_metrics_of_ragas_stand_beside_the_others(ragapp: Screen, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def found(names: Sequence[str], dataset: Any, records: Sequence[Any], **_: Any) -> dict[str, dict[str, float]]:
        asked.append((list(names), len(records)))
        return {record.id: {"ragas.faithfulness": 0.5} for record in records}

    monkeypatch.setattr("ragapp.eval.judging.ragas_scores", found)
    code, out, _ = run(ragapp, ready, "--ragas", "Faithfulness")
    assert (code, asked) == (0, [(["Faithfulness"], 0), (["Faithfulness"], 4)])
    (line,) = (line.split() for line in out.splitlines() if "ragas.faithfulness" in line)
    assert (line[1], line[-1]) == ("0.500", "4")


def test_a_damaged_run_hides_no_other(ragapp: Screen, ready: Path) -> None:
    run(ragapp, ready, "--search", "--name", "first")
    run(ragapp, ready, "--search", "--name", "second")
    with Path("ragapp-runs/first/records.jsonl").open("a") as file:
        file.write("oh\n")
    code, out, err = ragapp("eval", "list")
    assert (code, "damaged, of 4" in out, "4 of 4" in out) == (0, True, True)
    assert "records.jsonl:5 is no record" in err
    assert [row["done"] for row in json.loads(ragapp("eval", "list", "--json")[1])] == [None, 4]


@pytest.mark.parametrize(("ending", "begins"), [(".html", "<!doctype html>"), (".md", "#"), (".json", "{")])
def test_a_report_is_written_in_the_form_of_its_ending(ragapp: Screen, ready: Path, ending: str, begins: str) -> None:
    run(ragapp, ready, "--search", "--name", "first")
    code, out, _ = ragapp("eval", "report", "first", "--out", f"page{ending}")
    assert (code, out) == (0, f"page{ending}\n")
    text = Path(f"page{ending}").read_text(encoding="utf-8")
    assert text.lower().lstrip().startswith(begins)
    assert "first" in text


def test_a_report_of_two_runs_lies_in_the_first_one_s_folder(ragapp: Screen, ready: Path) -> None:
    run(ragapp, ready, "--search", "--name", "a")
    run(ragapp, ready, "--search", "--name", "b", "--set", "search.depth=1")
    code, out, _ = ragapp("eval", "report", "b", "a", "--language", "zh", "--json")
    assert (code, json.loads(out)) == (0, {"file": "ragapp-runs/b/report.html"})
    assert 'lang="zh' in Path("ragapp-runs/b/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "missing.jsonl", "--library", "LIBRARY"], 3, "missing.jsonl"),
        (["run", "SET", "--library", "nowhere"], 1, "There is no library in nowhere"),
        (["run", "SET", "--library", "LIBRARY", "--search", "--flow", "looping"], 2, "--search asks for none"),
        (["run", "SET", "--library", "LIBRARY", "--name", "../out"], 2, "is no name for a run"),
        (["run", "SET", "--library", "LIBRARY", "--set", "search.depht=3"], 2, "Did you mean search.depth?"),
        (["run", "SET", "--library", "LIBRARY", "--flow", "loping"], 2, "loping"),
        (["run", "OTHER", "--library", "LIBRARY"], 2, "none of the documents"),
        (["run", "WRONG", "--library", "LIBRARY"], 3, "wrong.jsonl:2"),
        (["show", "frist", "q"], 1, "Did you mean 'first'?"),
        (["show", "first", "liters"], 1, "Did you mean 'litres'?"),
        (["show", "../first", "litres"], 1, "There is no run"),
        (["compare", "first", "second"], 1, "There is no run 'second'"),
        (["compare", "first", "others"], 2, "asked different questions"),
        (["compare", "first", "first", "--metric", "pages.mmr@10"], 2, "Did you mean pages.mrr@10?"),
        (["report", "nothing"], 1, "There is no run 'nothing'"),
        (["report", "first", "--out", "page.pdf"], 2, "page.pdf says by its ending"),
        (["report", "first", "--out", "none/page.md"], 2, "cannot be written"),
        (["import", "missing.csv", "out.jsonl"], 3, "missing.csv"),
        (["import", "SET", "SET"], 2, "is there already"),
        (["import", "SET", "out.jsonl", "--documents", "texts"], 2, "documents"),
        (["make", "SET", "--library", "LIBRARY"], 2, "is there already"),
        (["make", "out.jsonl", "--library", "nowhere"], 1, "There is no library"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_code(
    ragapp: Screen, ready: Path, arguments: list[str], code: int, says: str
) -> None:
    Path("wrong.jsonl").write_text(json.dumps(ROWS[0]) + "\n{\n", encoding="utf-8")
    other = {"id": "q", "question": "What?", "gold": [{"document": "elsewhere.pdf", "pages": [1]}]}
    Path("other.jsonl").write_text(json.dumps(other) + "\n", encoding="utf-8")
    before = sorted(path.name for path in Path().iterdir())
    places = {
        "SET": ready / "pumps.jsonl", "LIBRARY": ready / "library", "WRONG": "wrong.jsonl", "OTHER": "other.jsonl",
    }  # fmt: skip
    runs = ["--runs", str(ready / "runs")] if arguments[0] in ("show", "compare", "report") else []
    found, out, err = ragapp("eval", *(places.get(part, part) for part in arguments), *runs)
    assert (found, out) == (code, ""), err
    assert says in err
    assert "error: " in err
    assert sorted(path.name for path in Path().iterdir()) == before


def test_a_question_that_fails_gives_another_code_and_the_run_goes_on(
    ragapp: Screen, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Rag.search

    def fails(self: Rag, question: Any, k: int | None = None, **told: Any) -> Any:
        if "warranty" in question.text:
            raise RagappError("The disk is on fire.")
        return search(self, question, k, **told)

    with monkeypatch.context() as patched:
        patched.setattr(Rag, "search", fails)
        code, _, err = run(ragapp, ready, "--search", "--name", "first")
    assert code == 3
    assert "1 question failed, the first of them months: The disk is on fire." in err
    assert "It failed: The disk is on fire." in ragapp("eval", "show", "first", "months")[1]
    assert run(ragapp, ready, "--search", "--name", "first")[0] == 0


def test_a_killed_run_goes_on_where_it_was(slow: Path, ragapp: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    first = slow_run(slow, Path.cwd())
    records = Path("ragapp-runs/slow/records.jsonl")
    wait_for(records, 3)
    first.kill()
    first.communicate()
    before = records.read_bytes()
    whole = before[: before.rfind(b"\n") + 1]
    with records.open("ab") as file:
        file.write(b'{"id": "torn')
    assert 3 <= whole.count(b"\n") < 12
    second = slow_run(slow, Path.cwd())
    _, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    after = records.read_bytes()
    assert after.startswith(whole)
    assert after.count(b"\n") == 12
    assert len(RunFolder.open(records.parent).records()) == 12
    assert RunFolder.open(records.parent).manifest.ended


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(slow: Path, ragapp: Screen) -> None:
    first = slow_run(slow, Path.cwd())
    wait_for(Path("ragapp-runs/slow/records.jsonl"), 2)
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=60)
    assert (first.returncode, out) == (130, "")
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert 2 <= len(RunFolder.open(Path("ragapp-runs/slow")).records()) < 12


def test_a_spreadsheet_becomes_a_set(ragapp: Screen, ready: Path) -> None:
    with Path("questions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["问题", "文档", "页"], ["水泵何时加油？", "手册.txt", "1"]])
    code, out, _ = ragapp("eval", "import", "questions.csv", "out.jsonl")
    assert (code, out) == (0, "1 question written to out.jsonl.\n")
    told = json.loads(ragapp("eval", "import", "questions.csv", "out.jsonl", "--force", "--json")[1])
    assert (told["questions"], told["documents"]) == (1, 0)
    assert ragapp("eval", "run", "out.jsonl", "--library", ready / "library", "--search")[0] == 0


def test_paraphrases_take_their_gold_from_their_originals(ragapp: Screen, ready: Path) -> None:
    rows = [{"id": "p1", "of": "litres", "question": "What does the pump move?"},
            {"id": "p2", "of": "gone", "question": "Which one?"}]  # fmt: skip
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, _, err = ragapp("eval", "import", "p.jsonl", "out.jsonl", "--originals", ready / "pumps.jsonl")
    assert code == 0
    assert "warning: 1 question left without an original" in err
    first, second = dataset_of(Path("out.jsonl")).questions
    assert (first.gold, first.answers) == (dataset_of(ready / "pumps.jsonl").questions[0].gold, ("42",))
    assert (second.gold, first.text) == ((), "What does the pump move?")
    code, _, err = ragapp("eval", "import", "p.jsonl", "none.jsonl", "--originals", "p.jsonl")
    assert (code, Path("none.jsonl").exists()) == (2, False)
    assert "names one of the originals" in err


def test_a_set_with_texts_of_its_own_brings_a_folder_to_ingest(ragapp: Screen) -> None:
    Path("beir/qrels").mkdir(parents=True)
    Path("beir/corpus.jsonl").write_text('{"_id": "d1", "title": "Pumps", "text": "It moves 42 litres."}\n')
    Path("beir/queries.jsonl").write_text('{"_id": "q1", "text": "How many litres?"}\n')
    Path("beir/qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    code, out, err = ragapp("eval", "import", "beir", "out.jsonl", "--documents", "texts", "--split", "dev")
    assert code == 0, err
    assert "1 document written to texts." in out
    assert "ragapp ingest texts" in err
    assert ragapp("ingest", "texts", "--library", "l")[0] == 0
    told = json.loads(ragapp("eval", "run", "out.jsonl", "--library", "l", "--search", "--json")[1])
    assert told["summary"]["means"]["documents.success@1"]["value"] == 1


def test_questions_are_made_of_the_library_s_documents(
    ragapp: Screen, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def make(rag: Rag, **options: Any) -> Any:
        asked.append(options)
        options["progress"](1, 1)
        return of_questions("made", [Question("q1", "What is a pump?", answers=("a machine",))], ["2 were left out."])

    monkeypatch.setattr(synth, "make", make)
    code, out, err = ragapp(
        "eval", "make", "out.jsonl", "--library", ready / "library", "--count", "7", "--seed", "3", "--language", "zh",
        "--no-variants", "--kind", "cloze",
    )  # fmt: skip
    assert (code, out) == (0, "1 question written to out.jsonl.\n")
    assert "warning: 2 were left out." in err
    (options,) = asked
    assert {key: options[key] for key in ("count", "seed", "kinds", "language", "variants")} == {
        "count": 7, "seed": 3, "kinds": ["cloze"], "language": "zh", "variants": False
    }  # fmt: skip
    assert json.loads(Path("out.jsonl").read_text("utf-8"))["question"] == "What is a pump?"


def test_the_demo_s_set_has_a_library_of_its_own_that_is_made_once(
    ragapp: Screen, monkeypatch: pytest.MonkeyPatch, in_folder: Path
) -> None:
    monkeypatch.setenv("RAGAPP_CACHE", str(in_folder / "cache"))
    code, out, _ = ragapp("eval", "run", "demo", "--search", "--json")
    assert code == 0
    assert json.loads(out)["manifest"]["set"] == "demo"
    assert json.loads(out)["summary"]["done"] == len(demo.questions().questions)
    (library,) = (in_folder / "cache").glob("demo-*")
    state = (library / "library.sqlite").read_bytes()
    assert ragapp("eval", "run", "demo", "--search", "--json")[0] == 0
    assert (library / "library.sqlite").read_bytes() == state
    assert ragapp("eval", "run", "demo", "--search", "--library", "nowhere")[0] == 1
    assert not Path(".ragapp").exists()


TUNED = Tuned(
    metric="pages.mrr@10", settings={"search.depth": 80},
    gain=Difference("pages.mrr@10", 20, 0.5, 0.75, 0.25, 0.1, 0.4, 0.01, "better"), others=(), fitted=(0.5, 0.8),
    folds=(), effects=(), questions=20, groups=20, set="pumps", library="docs", trials=9, pruned=1, indexes=(),
    left_out=(), seed=0, budget=5.0, seconds=4.0,
)  # fmt: skip


@pytest.mark.parametrize("verdict", ["better", "noise"])
def test_tune_writes_settings_only_where_the_gain_is_more_than_noise(
    ragapp: Screen, ready: Path, monkeypatch: pytest.MonkeyPatch, verdict: Any
) -> None:
    asked: list[dict[str, Any]] = []

    def search(rag: Rag, dataset: Any, **options: Any) -> Tuned:
        asked.append(options)
        options["progress"](tune.State("trials", "depth", 3, 1.0, 5.0, 0.5, 0.75))
        return replace(TUNED, gain=replace(TUNED.gain, verdict=verdict))

    monkeypatch.setattr(tune, "tune", search)
    arguments = ("tune", ready / "pumps.jsonl", "--library", ready / "library", "--seconds", "5", "--folds", "3")
    code, out, err = ragapp(*arguments)
    assert (code, out.startswith("# ")) == (0, True)
    assert (asked[0]["seconds"], asked[0]["folds"], asked[0]["metric"]) == (5.0, 3, "pages.mrr@10")
    assert Path("ragapp.toml").exists() == (verdict == "better")
    if verdict == "better":
        assert "depth = 80" in Path("ragapp.toml").read_text("utf-8")
        assert "Written: ragapp.toml" in err
    else:
        assert "Nothing was written." in err
    told = json.loads(ragapp(*arguments, "--json", "--dry-run", "--out", "other.toml")[1])
    assert (told["significant"], told["written"]) == (verdict == "better", [])
    assert not Path("other.toml").exists()


def test_bench_says_what_it_measured_and_checks_its_file_first(ragapp: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragapp.eval import bench

    asked: list[dict[str, Any]] = []

    def measure(docs: Any, **options: Any) -> Bench:
        asked.append(options)
        return Bench(options["command"], "2026", 1.0, "2 cores", "docs", 1, 1, 0, ())

    monkeypatch.setattr(bench, "bench", measure)
    code, out, _ = ragapp("bench", "--peers", "langchain, txtai", "--growth", "500,5_000", "--out", "table.md")
    assert code == 0
    assert Path("table.md").is_file()
    assert out.strip()
    assert (asked[0]["peers"], asked[0]["growth"]) == (["langchain", "txtai"], [500, 5000])
    ragapp("bench", "--peers", "none")
    ragapp("bench")
    assert (asked[1]["peers"], asked[2]["peers"]) == ([], bench.PEERS)
    assert ragapp("bench", "--out", "table.pdf")[0] == 2
    assert ragapp("bench", "--growth", "many")[0] == 2
    assert len(asked) == 3


PRESSED_TWICE = """
import os, signal
from ragapp import evalcli
before = signal.getsignal(signal.SIGINT)
try:
    with evalcli._stoppable() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
        os.kill(os.getpid(), signal.SIGINT)
        print("went on")
except KeyboardInterrupt:
    print("ended")
assert signal.getsignal(signal.SIGINT) is before
"""


def test_ctrl_c_is_heard_once_and_then_ends_at_once() -> None:
    # In a process of its own: the tests' process has threads of many libraries, which a signal may find as well.
    done = subprocess.run([sys.executable, "-c", PRESSED_TWICE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ended\n"
    assert "what is done is kept" in done.stderr


def test_measures_that_do_not_apply_are_told_by_their_reason() -> None:
    counts = {"passages.mrr@10": {"no gold": 2}, "passages.success@1": {"no gold": 3}, "passages.map": {"odd": 9}}
    assert evalview.reasons(counts) == {"no gold": (["passages.success@1", "passages.mrr@10"], 3)}


def test_a_set_without_gold_has_no_measure_and_says_so(ragapp: Screen, ready: Path) -> None:
    Path("bare.jsonl").write_text('{"id": "q", "question": "How many litres?", "answers": ["42"]}\n', encoding="utf-8")
    code, _, err = ragapp("eval", "run", "bare.jsonl", "--library", ready / "library", "--search")
    assert code == 0
    assert "No measure applies" in err


def test_the_time_left_counts_only_what_this_command_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(evalview.time, "monotonic", lambda: now[0])
    clock = evalview._Clock()
    now[0] = 110.0
    assert clock.left(91, 100) == "90 s left"
    now[0] = 120.0
    assert clock.left(92, 100) == "80 s left"
    assert clock.left(100, 100) == ""


def test_seconds_are_said_as_people_say_them() -> None:
    assert [evalview.duration(seconds) for seconds in (5, 99, 600, 7200)] == ["5 s", "99 s", "10 min", "2.0 h"]


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "optuna", "jinja2", "ir_measures")
    script = f"import sys, ragapp.cli\nprint([name for name in {heavy!r} if name in sys.modules])"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=child_environment(), timeout=60
    )
    assert said.stdout == "[]\n"


@pytest.mark.parametrize(("model", "at_once"), [("http://127.0.0.1:9/v1", 4), ("", 1)])
def test_several_questions_are_asked_at_once_only_where_somebody_else_writes(
    ready: Path, model: str, at_once: int
) -> None:
    config = load({"embedder.name": "hashing", "chat.model": model})
    with Rag.open(ready / "library", config=config, create=False) as rag:
        assert evalcli._helpful(rag, search=False) == at_once
        assert evalcli._helpful(rag, search=True) == 1
