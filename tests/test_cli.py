"""The command line as people and programs use it: output, exit codes, messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragapp.testing import document_of, passage_of
from ragapp.types import Answer, Citation, Done, Event, Token, Waiting
from tests import pdfs
from tests.libraries import child_environment
from tests.tiny_llama import make as make_llama

HASHING = {"RAGAPP_EMBEDDER_NAME": "hashing"}


def ragapp(
    *arguments: str | Path, cwd: Path | None = None, text: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, with the double for an embedder unless ``env`` says otherwise."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "ragapp", *map(str, arguments)],
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**child_environment(), "PYTHONIOENCODING": "utf-8", **(HASHING if env is None else env)},
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good PDFs, one of them with a Chinese name in a folder, and one that is no PDF."""
    root = tmp_path_factory.mktemp("docs")
    pdfs.write(root / "warranty.pdf", ["The warranty lasts 24 months. It covers the pump.", "Claims go to Oslo."])
    pdfs.write(root / "pump.pdf", ["The pump moves 42 litres a minute. It needs oil every May."])
    (root / "手册").mkdir()
    pdfs.write(root / "手册" / "保修.pdf", ["保修期为二十四个月。水泵每年五月加油。"])
    (root / "broken.pdf").write_bytes(b"oops")
    return root


@pytest.fixture(scope="module")
def library(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lib") / "library"
    done = ragapp("ingest", docs, "--library", folder, "--json")
    assert done.returncode == 3, done.stderr
    return folder


def test_ingest_reports_every_file_and_keeps_what_is_unchanged(docs: Path, tmp_path: Path) -> None:
    first = ragapp("ingest", docs, "--library", tmp_path / "l", "--json")
    report = json.loads(first.stdout)
    assert first.returncode == 3
    assert (report["added"], report["changed"], report["dropped"], report["kept"]) == (3, 0, 0, 0)
    assert [Path(f["path"]).name for f in report["failed"]] == ["broken.pdf"]
    assert "is not a PDF" in report["failed"][0]["error"]
    assert report["pages"] == 4
    assert report["chunks"] >= 3
    assert report["seconds"] > 0
    again = json.loads(ragapp("ingest", docs, "--library", tmp_path / "l", "--json").stdout)
    assert (again["added"], again["kept"], again["pages"], len(again["failed"])) == (0, 3, 0, 1)


def test_ingest_for_people_talks_on_stderr_and_says_what_failed(docs: Path, tmp_path: Path) -> None:
    done = ragapp("ingest", docs, "--library", tmp_path / "l")
    assert done.stdout.startswith("3 added, 0 changed, 0 unchanged, 1 failed; 4 pages in ")
    assert "pages/s" in done.stdout
    assert "error: broken.pdf is not a PDF." in done.stderr
    assert "hint: " in done.stderr


def test_dry_run_changes_nothing(docs: Path, tmp_path: Path) -> None:
    done = ragapp("ingest", docs, "--library", tmp_path / "l", "--dry-run")
    assert done.stdout.startswith("4 to add, 0 to change, 0 unchanged.")
    assert json.loads(ragapp("list", "--library", tmp_path / "l", "--json").stdout) == []


def test_list(library: Path) -> None:
    rows = json.loads(ragapp("list", "--library", library, "--json").stdout)
    assert [row["document"] for row in rows] == ["pump.pdf", "warranty.pdf", "手册/保修.pdf"]
    assert {"document", "title", "pages", "chunks", "bytes", "pages_without_text", "added"} <= set(rows[0])
    assert rows[1]["pages"] == 2
    table = ragapp("list", "--library", library).stdout
    assert "warranty.pdf" in table
    assert "保修.pdf" in table


def test_search_gives_pages_ranks_and_boxes(library: Path) -> None:
    found = json.loads(ragapp("search", "how many litres", "-k", "2", "--library", library, "--json").stdout)
    assert len(found) == 2
    assert (found[0]["document"], found[0]["page"]) == ("pump.pdf", 1)
    assert set(found[0]) == {
        "document", "document_id", "page", "start", "end", "label", "score", "text", "found_by", "boxes"
    }  # fmt: skip
    assert found[0]["found_by"]["lexical"]["rank"] == 1
    assert set(found[0]["boxes"][0]) == {"page", "x0", "y0", "x1", "y1"}


def test_ask_streams_quotes_with_pages(library: Path) -> None:
    done = ragapp("ask", "How many litres does the pump move a minute?", "--library", library)
    assert done.returncode == 0
    assert "“The pump moves 42 litres a minute.” [1]" in done.stdout
    assert "[1] pump.pdf, page 1 (verified)" in done.stdout


def test_a_saved_answer_is_the_same_when_it_is_asked_again(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    first = ragapp("ask", "保修期是多久？", "--library", library, "--save-trace", file, "--json")
    assert json.loads(first.stdout)["answer"] == json.loads(file.read_text("utf-8"))["answer"]["text"]
    again = ragapp("replay", file, "--library", library, "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["same"] is True


def test_why_a_page_is_found_or_not(library: Path) -> None:
    document = json.loads(ragapp("list", "--library", library, "--json").stdout)[0]["document"]
    told = json.loads(ragapp("why", "保修期是多久？", "--page", f"{document}:1", "--library", library, "--json").stdout)
    assert (told["document"], told["page"]) == (document, 1)
    wrong = ragapp("why", "How?", "--page", "nothing", "--library", library)
    assert wrong.returncode == 2
    assert "--page nothing names no page" in wrong.stderr


def test_what_only_a_llama_can_write_is_refused_without_one(library: Path) -> None:
    asked = ragapp("ask", "How long?", "--hyde", "on", "--library", library)
    assert asked.returncode == 2
    assert "needs a language model" in asked.stderr


def test_ask_as_json_has_every_member(library: Path) -> None:
    answer = json.loads(ragapp("ask", "保修期是多久？", "--library", library, "--json").stdout)
    assert set(answer) == {
        "answer", "citations", "passages", "finish_reason", "timings", "usage", "unread", "confidence", "figures",
        "warnings",
    }  # fmt: skip
    first = answer["citations"][0]
    assert set(first) == {
        "marker", "document", "document_id", "page", "start", "end", "label", "quote", "state", "boxes"
    }  # fmt: skip
    assert (first["document"], first["state"]) == ("手册/保修.pdf", "verified")
    assert first["quote"] == "保修期为二十四个月。"
    assert answer["finish_reason"] == "stop"


def test_not_in_your_documents(library: Path) -> None:
    answer = json.loads(ragapp("ask", "Who painted the Mona Lisa?", "--library", library, "--json").stdout)
    assert answer["finish_reason"] == "no_evidence"
    assert answer["answer"] == "This is not in your documents."
    assert answer["citations"] == []


def test_batch_answers_line_by_line_in_order(library: Path, tmp_path: Path) -> None:
    rows = [{"id": "b", "question": "litres"}, {"id": 7, "question": "  "}, {"id": "a", "question": "warranty"}]
    file = tmp_path / "q.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    done = ragapp("search", "--batch", file, "-k", "1", "--library", library)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["id"] for line in lines] == ["b", 7, "a"]
    assert lines[0]["passages"][0]["document"] == "pump.pdf"
    assert "empty" in lines[1]["error"]
    assert done.returncode == 3
    asked = ragapp("ask", "--batch", "-", "--library", library, text=json.dumps(rows[0]))
    assert json.loads(asked.stdout).keys() >= {"id", "answer", "citations", "passages"}


@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"id": 1}',
        "[]",
        '{"id": 1, "question": "x", "history": [{"role": "user"}]}',
        '{"id": 1, "question": null}',
        '{"id": 1, "question": "x", "history": [{"role": "user", "content": null}]}',
    ],
)
def test_a_wrong_batch_line_is_named(library: Path, line: str) -> None:
    done = ragapp("search", "--batch", "-", "--library", library, text=f'{{"id": 1, "question": "x"}}\n{line}\n')
    assert done.returncode == 2
    assert done.stderr.startswith("error: Line 2 of - is not a question")
    assert done.stdout == ""


class Tells:
    """Stands for a Rag whose answers are these events."""

    def __init__(self, *events: Event) -> None:
        self.events = events

    def stream(self, *_: object, **__: object) -> Iterator[Event]:
        yield from self.events


def test_a_place_in_the_queue_is_said_once_and_a_source_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from ragapp.cli import _print_answer

    document = document_of("Water boils at 100 degrees.", name="a.pdf")
    passage = passage_of(document)
    cited = [Citation(1, passage, quote, "verified", 1, 0, len(quote)) for quote in ("Water", "Water boils")]
    doubtful = replace(cited[0], state="not found")
    answer = Answer("It boils [1].", (*cited, doubtful), (passage,), "stop")
    waits = (Waiting(2), Waiting(2), Waiting(1), Waiting(1), Waiting(0), Waiting(0))
    rag: Any = Tells(*waits, Token(answer.text), Done(answer))
    assert _print_answer(rag, "?", None) == answer.text
    said = capsys.readouterr()
    assert said.err.splitlines() == ["(waiting: 2 before this one)", "(waiting: 1 before this one)"]
    assert said.out.splitlines() == [
        "It boils [1].",
        "",
        "[1] a.pdf, page 1 (verified)",
        "[1] a.pdf, page 1 (not found)",
    ]


def test_remove(docs: Path, tmp_path: Path) -> None:
    ragapp("ingest", docs / "pump.pdf", docs / "warranty.pdf", "--library", tmp_path / "l")
    wrong = ragapp("remove", "pumpe.pdf", "--library", tmp_path / "l")
    assert wrong.returncode == 1
    assert "hint: Did you mean 'pump.pdf'?" in wrong.stderr
    assert "Removed pump.pdf" in ragapp("remove", "pump.pdf", "--library", tmp_path / "l").stdout
    left = json.loads(ragapp("search", "litres", "--library", tmp_path / "l", "--json").stdout)
    assert {passage["document"] for passage in left} == {"warranty.pdf"}


def test_doctor(docs: Path, tmp_path: Path) -> None:
    library = tmp_path / "l"
    ragapp("ingest", docs, "--library", library)
    well = ragapp("doctor", "--offline", "--library", library)
    assert (well.returncode, well.stderr) == (0, "")
    assert "All is well: 3 documents, no connection outside this machine." in well.stdout
    cache = next((library / "cache").glob("vectors-*/*.faiss"))
    cache.write_bytes(cache.read_bytes()[:-1] + b"?")
    ill = ragapp("doctor", "--library", library, "--json")
    assert ill.returncode == 1
    told = json.loads(ill.stdout)
    assert "does not match its checksums" in told["findings"][0]
    assert (told["well"], told["documents"], told["mended"]) == (False, 3, ["The search caches were made again."])
    assert ragapp("doctor", "--library", library).returncode == 0


def test_doctor_opens_what_nothing_else_can(docs: Path, tmp_path: Path) -> None:
    library = tmp_path / "l"
    ragapp("ingest", docs, "--library", library)
    path = library / "library.sqlite"
    path.write_bytes(b"broken" + path.read_bytes()[6:])
    refused = ragapp("search", "litres", "--library", library)
    assert refused.returncode == 1
    assert "ragapp doctor" in refused.stderr
    only_looked = ragapp("doctor", "--check", "--library", library)
    assert (only_looked.returncode, "mended" in only_looked.stdout) == (1, False)
    mended = ragapp("doctor", "--library", library)
    assert mended.returncode == 1
    assert "mended: A fresh library file was made" in mended.stdout
    again = ragapp("doctor", "--library", library)
    assert again.returncode == 0
    assert "note: " in again.stdout
    assert "pump.pdf" in ragapp("search", "litres", "--library", library).stdout


def test_export_and_import(docs: Path, tmp_path: Path) -> None:
    ragapp("ingest", docs, "--library", tmp_path / "l")
    out = ragapp("export", tmp_path / "file", "--library", tmp_path / "l")
    assert (out.returncode, out.stdout.startswith("Exported 3 documents")) == (0, True)
    assert ragapp("export", tmp_path / "file", "--library", tmp_path / "l").returncode == 2
    assert ragapp("export", tmp_path / "file", "--force", "--library", tmp_path / "l").returncode == 0
    back = ragapp("import", tmp_path / "file", "--library", tmp_path / "m", "--json")
    assert json.loads(back.stdout)["documents"] == 3
    question = ("search", "How many litres?", "--json", "--library")
    assert ragapp(*question, tmp_path / "m").stdout == ragapp(*question, tmp_path / "l").stdout
    assert ragapp("import", tmp_path / "file", "--library", tmp_path / "m").returncode == 1


def test_chat_goes_on_after_a_wrong_question(library: Path) -> None:
    done = ragapp("chat", "--library", library, text="?\nHow many litres does the pump move?\n\n")
    assert done.returncode == 0
    assert "error: The question is empty." in done.stderr
    assert "42 litres" in done.stdout


def test_config_shows_values_and_sources(in_folder: Path) -> None:
    (in_folder / "ragapp.toml").write_text("[search]\nk = 5\n", encoding="utf-8")
    done = ragapp(
        "config", "--set", "answer.quotes=1", "--json", cwd=in_folder, env={"RAGAPP_SERVER_API_KEY": "s3cret"}
    )
    rows = {row["key"]: (row["value"], row["source"]) for row in json.loads(done.stdout)}
    assert rows["search.k"] == ("5", "ragapp.toml")
    assert rows["answer.quotes"] == ("1", "flag")
    assert rows["server.api_key"] == ("(set)", "$RAGAPP_SERVER_API_KEY")
    assert rows["chat.model"] == ("", "default")
    assert "s3cret" not in done.stdout


WRONG = {
    "a path that does not exist": (["ingest", "nowhere"], 1, "nowhere does not exist"),
    "an empty folder": (["ingest", "empty"], 1, "There is nothing to ingest in empty"),
    "no library": (["search", "x", "--library", "none"], 1, "There is no library in none"),
    "an empty question": (["ask", " "], 2, "The question is empty"),
    "a long question": (["ask", "long " * 20_000], 2, "The question has 100,000 characters"),
    "an unknown setting": (["config", "--set", "serch.k=3"], 2, "Unknown setting serch.k"),
    "an unknown flow": (["ask", "x", "--flow", "liner"], 2, "There is no flow named 'liner'"),
    "no question": (["ask"], 2, "Give either a question or --batch FILE"),
    "a missing model": (["ask", "x", "--llm", "./no-model"], 4, "no-model"),
    "a folder without a model": (["ingest", "some", "--set", "chat.model=./empty"], 4, "empty"),
    "an open address": (["serve", "--host", "0.0.0.0"], 2, "0.0.0.0"),
    "a missing settings file": (["config", "--config", "none.toml"], 2, "none.toml does not exist"),
    "a name too long": (["ingest", "x" * 300], 1, "cannot be opened: File name too long"),
    "a folder's name too long": (["sync", "x" * 300], 1, "is not a folder"),
    "a missing password file": (["ingest", "some", "--password-file", "none"], 2, "The password file none"),
}


@pytest.fixture(scope="module")
def wrong_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "empty").mkdir()
    pdfs.folder(folder / "some", 1)
    ragapp("ingest", "some", cwd=folder)
    return folder


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_a_sentence_and_an_exit_code(wrong_folder: Path, case: str) -> None:
    arguments, code, said = WRONG[case]
    done = ragapp(*arguments, cwd=wrong_folder)
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_another_embedder_is_refused_with_both_names(library: Path) -> None:
    done = ragapp("search", "x", "--library", library, "--set", "embedder.name=builtin", env={})
    assert done.returncode == 2
    assert "hashing:256" in done.stderr
    assert "all-MiniLM-L6-v2" in done.stderr


def test_a_library_that_another_process_writes_is_locked(library: Path, docs: Path) -> None:
    from filelock import FileLock

    with FileLock(library / "lock"):
        done = ragapp("ingest", docs, "--library", library)
        asked = ragapp("search", "litres", "--library", library)
    assert done.returncode == 5
    assert "Another process is writing" in done.stderr
    assert asked.returncode == 0


def test_passwords(tmp_path: Path) -> None:
    pdfs.write(tmp_path / "secret.pdf", ["The code is 1234."], password="open sesame")
    for content, code in (("wrong\n", 3), ("wrong\nopen sesame\n", 0)):
        (tmp_path / "passwords").write_text(content, encoding="utf-8")
        arguments = ("ingest", tmp_path / "secret.pdf", "--library", tmp_path / "l")
        done = ragapp(*arguments, "--password-file", tmp_path / "passwords")
        assert done.returncode == code, done.stderr
    assert "needs a password" in ragapp("ingest", tmp_path / "secret.pdf", "--library", tmp_path / "m").stderr


def test_a_llama_answers_when_it_is_named(library: Path, tmp_path: Path) -> None:
    model = make_llama(tmp_path / "llama", window=4096)
    done = ragapp(
        "ask", "How many litres?", "--llm", model, "--json", "--library", library, "--set", "chat.max_new_tokens=8"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["finish_reason"] in ("stop", "length")
    assert 1 <= answer["usage"]["completion_tokens"] <= 8
    assert answer["usage"]["prompt_tokens"] > 50


def test_help_imports_neither_torch_nor_langchain() -> None:
    code = (
        "import sys; sys.argv = ['ragapp', '--help']\n"
        "from ragapp.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'langchain_core', 'transformers', 'openvino', 'faiss', 'pydantic', 'numpy'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=child_environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ingest" in done.stdout


def test_a_reader_that_leaves_is_no_error(library: Path) -> None:
    command = f"{sys.executable} -W error -m ragapp config | head -1"
    env = {**child_environment(), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, check=False)
    assert done.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="POSIX encodings")
def test_a_terminal_without_chinese_shows_what_it_can(library: Path) -> None:
    done = ragapp("list", "--library", library, env={**HASHING, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "warranty.pdf" in done.stdout


def test_separators_of_unicode_do_not_cut_a_batch_line(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('\ufeff{"id": 1, "question": "how many\u2028litres"}\n', encoding="utf-8")
    done = ragapp("search", "--batch", file, "-k", "1", "--library", library)
    assert json.loads(done.stdout)["passages"][0]["document"] == "pump.pdf"


def test_a_mistyped_path_leaves_no_library_behind(tmp_path: Path) -> None:
    assert ragapp("ingest", tmp_path / "nope", "--library", tmp_path / "l").returncode == 1
    assert ragapp("serve", "--library", tmp_path / "l").returncode == 1
    assert not (tmp_path / "l").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")
def test_an_interrupted_ingest_says_that_nothing_is_lost(tmp_path: Path) -> None:
    pdfs.folder(tmp_path / "docs", 150)
    command = [sys.executable, "-m", "ragapp", "ingest", "docs"]
    environment = {**child_environment(), **HASHING}
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment) as running:
        while running.poll() is None and not list((tmp_path / ".ragapp").glob("library.sqlite-wal")):
            time.sleep(0.01)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        said = running.stderr.read() if running.stderr else ""
    assert running.returncode == 130, said
    assert "What was ingested is kept" in said
    assert ragapp("ingest", "docs", cwd=tmp_path).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")
@pytest.mark.parametrize("redirect", ["<&-", ">&-", "2>&-", "| true"])
def test_streams_that_are_closed_are_no_bug(library: Path, redirect: str) -> None:
    command = f"{sys.executable} -m ragapp ask litres --library {library} {redirect}; echo ${{PIPESTATUS[0]}} >&3"
    script = f"exec 3>&1; {command}"
    environment = {**child_environment(), **HASHING}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.splitlines()[-1] in ("0", "141")
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
