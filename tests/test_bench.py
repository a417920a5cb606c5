"""The benchmark: fake stacks in processes of their own, the real ragapp on a few pages; nothing reaches a network."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragapp import minilm
from ragapp.errors import ConfigError, ModelError, NotFound
from ragapp.eval import bench as benching
from ragapp.eval import benchtable, contenders, dataset, madeup, peers
from ragapp.eval.contenders import Arena, Contender
from ragapp.eval.machine import machine
from ragapp.eval.questions import Gold, Question, of_questions
from ragapp.eval.stacks import harness
from ragapp.eval.watched import Cancelled, memory_mb, watch
from tests import pdfs

FAKE = """
import json, time
from pathlib import Path

print("a stack prints what it likes")

class Stack:
    modes = ("dense", "hybrid")
    one_index = {one_index}
    window = {window}

    def __init__(self, mode):
        print("and again")
        self.mode = mode

    def ingest(self, docs, files, index, mark):
        {ingest}
        mark("read")
        texts = ["one two three four five six seven eight", "one"]
        (index / "store.json").write_text(json.dumps({{"mode": self.mode, "files": [file.name for file in files]}}))
        mark("save")
        return 2, texts, ["broken.pdf: nothing"]

    def open(self, index):
        self.store = json.loads((index / "store.json").read_text())
        assert self.one_index or self.store["mode"] == self.mode, self.store

    def search(self, question, k):
        {search}
        assert k == 10
        pages = (2, 1) if self.mode == "dense" else (1, 2)
        return [(str(Path("elsewhere") / name), page) for name in self.store["files"] for page in pages]
"""


def fake(folder: Path, name: str = "fake", *, one_index: bool = True, window: int = 0, **lines: str) -> Contender:
    """A contender whose stack does nothing but what ``ingest`` and ``search`` say."""
    script = folder / f"{name}.py"
    script.write_text(
        FAKE.format(
            one_index=one_index, window=window, ingest=lines.get("ingest", "pass"), search=lines.get("search", "pass")
        ),
        encoding="utf-8",
    )
    return Contender(name, script, (sys.executable, "-I"), {name: "1.0"})


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    """One PDF of two pages with a Chinese name, and two questions about its first."""
    docs, work = tmp_path / "docs", tmp_path / "work"
    pdfs.write(docs / "手册.pdf", ["The warranty of the pump is 24 months long.", "Nothing else."])
    work.mkdir()
    gold = (Gold("手册.pdf", (1,)),)
    asked = (Question("a", "How long is the warranty?", gold), Question("b", "保修期多长？", gold))
    told: list[str] = []
    made = Arena(docs, asked, work, told.append)
    object.__setattr__(made, "tell", told.append)
    return made


def told_of(arena: Arena) -> list[str]:
    found: list[str] = arena.tell.__self__  # type: ignore[attr-defined]
    return found


# -- a process seen from outside -------------------------------------------------------------------------------------


def watched(tmp_path: Path, code: str, limit_s: float = 30, cancelled: Callable[[], bool] = lambda: False) -> Any:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return watch(command, environment=os.environ, log=tmp_path / "log", limit_s=limit_s, cancelled=cancelled)


def is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_events_have_their_moment_and_the_memory_of_children(tmp_path: Path) -> None:
    seen = watched(
        tmp_path,
        """
        import json, subprocess, sys, time
        hold = "x = bytearray(90 << 20); import time; time.sleep(0.7)"
        print(json.dumps({"event": "first", "n": 1}), flush=True)
        subprocess.run([sys.executable, "-c", hold])
        print(json.dumps({"event": "second"}), flush=True)
        time.sleep(0.3)
        """,
    )
    assert seen.events == {"first": {"n": 1}, "second": {}}
    assert 0 < seen.at["first"] < seen.at["second"] - 0.6
    assert seen.seconds > seen.at["second"] + 0.25
    if Path("/proc/self/task").is_dir():
        assert seen.peaks["second"] > seen.peaks["first"] + 80
        assert seen.peaks["first"] < 80


def test_what_the_process_says_of_its_peak_counts_where_it_is_more(tmp_path: Path) -> None:
    seen = watched(tmp_path, """print('{"event": "done", "peak_mb": 12345.5}')""")
    assert seen.peaks["done"] == 12345.5


def test_a_failure_carries_the_last_line_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="exit code 3: 这是原因"):
        watched(tmp_path, "import sys; print('before\\n这是原因\\n', file=sys.stderr); sys.exit(3)")


def test_a_line_that_is_no_event_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no event"):
        watched(tmp_path, "print('hello')")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("way", ["limit", "cancel"])
def test_what_is_ended_is_ended_with_all_its_children(tmp_path: Path, way: str) -> None:
    code = f"""
        import subprocess, sys, pathlib
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
        child.wait()
        """
    if way == "limit":
        with pytest.raises(ModelError, match="too long"):
            watched(tmp_path, code, limit_s=1.5)
    else:
        with pytest.raises(Cancelled):
            watched(tmp_path, code, cancelled=(tmp_path / "pid").exists)
    told = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""  # a busy machine may be late
    assert not told or is_gone(int(told))


def test_nobody_has_no_memory() -> None:
    assert memory_mb(2**22 + 1) == 0


# -- sides -----------------------------------------------------------------------------------------------------------


def test_a_stack_is_measured_in_every_mode(arena: Arena, tmp_path: Path) -> None:
    (side,) = contenders.compare([fake(tmp_path, window=7)], arena, 2)
    assert side.error == ""
    assert side.versions == {"fake": "1.0"}
    assert list(side.asked) == ["dense", "hybrid"]
    assert [len(asked) for asked in side.asked.values()] == [2, 2]
    one = side.ingested[1]
    assert (one.pages, one.texts, one.failed, list(one.parts)) == (2, 2, ("broken.pdf: nothing",), ["read", "save"])
    # Eight words and one; of seven places two are the special tokens'.
    assert (one.tokens, one.unread, one.cut) == (9, 3, 1)
    assert (one.unread_share, one.cut_share) == (3 / 9, 1 / 2)
    assert one.tokens_per_s == pytest.approx(6 / one.ingest_s)
    assert 0 < one.ingest_s < one.process_s
    assert 1 < one.peak_mb < 500
    assert 0 < one.index_mb < 0.01
    for asked in side.asked["dense"]:
        assert asked.cold_s > 0.01
        assert 0 < asked.warm_ms < 1000
        assert asked.p95_ms >= asked.warm_ms
    assert (side.hits["dense"].at_1, side.hits["dense"].near_mrr, side.hits["dense"].mrr) == (0, 1, 0.5)
    assert side.hits["hybrid"].at_1 == 1


def test_an_embedder_without_a_window_leaves_nothing_unread(arena: Arena, tmp_path: Path) -> None:
    measured, _ = contenders.ingest(fake(tmp_path), arena)
    assert (measured.tokens, measured.unread, measured.cut) == (9, 0, 0)


def test_sides_take_turns_and_another_one_begins_each_round(arena: Arena, tmp_path: Path) -> None:
    sides = contenders.compare([fake(tmp_path, name) for name in "abc"], replace(arena, questions=()), 2)
    assert [line.split(": ")[1] for line in told_of(arena)] == ["a", "b", "c", "b", "c", "a"]
    assert [side.name for side in sides] == ["a", "b", "c"]
    assert all(side.asked == {} and len(side.ingested) == 2 for side in sides)


def test_a_mode_with_an_index_of_its_own_gets_one(arena: Arena, tmp_path: Path) -> None:
    (side,) = contenders.compare([fake(tmp_path, one_index=False)], arena, 1)
    assert side.error == ""
    assert len(side.ingested) == 1  # the second index is made, and not counted
    assert list(side.hits) == ["dense", "hybrid"]


def test_a_side_that_fails_stops_nobody_else(arena: Arena, tmp_path: Path) -> None:
    broken = fake(tmp_path, "broken", search="raise RuntimeError('no such operator')")
    sound = fake(tmp_path, "sound")
    first, second = contenders.compare([broken, sound], arena, 2)
    assert "no such operator" in first.error
    assert len(first.ingested) == 1  # no second round
    assert second.error == ""
    assert len(second.ingested) == 2


def test_an_index_is_made_anew_in_every_round(arena: Arena, tmp_path: Path) -> None:
    side = fake(tmp_path, ingest="assert not list(index.iterdir())")
    assert contenders.compare([side], arena, 2)[0].error == ""


def test_stopping_keeps_what_is_there(arena: Arena, tmp_path: Path) -> None:
    done = tmp_path / "second"
    slow = fake(tmp_path, "slow", ingest=f"Path({str(done)!r}).touch(); time.sleep(60)")
    started = time.perf_counter()
    first, second = contenders.compare([fake(tmp_path), slow], replace(arena, cancelled=done.exists), 1)
    assert time.perf_counter() - started < 30
    assert len(first.ingested) == 1
    assert second.ingested == ()


def test_peers_see_a_home_of_their_own_and_nobody_asks_a_hub(
    arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGAPP_SEARCH_K", "3")
    monkeypatch.setenv("LANGSMITH_API_KEY", "secret")
    peer = contenders.environment_of(fake(tmp_path), tmp_path / "home")
    ours = contenders.environment_of(contenders.ours(), tmp_path / "home")
    assert peer["HOME"] == str(tmp_path / "home")
    assert (tmp_path / "home").is_dir()
    assert ours["HOME"] == os.environ["HOME"]
    assert ours["RAGAPP_CACHE"] == os.environ["RAGAPP_CACHE"]
    assert "RAGAPP_CACHE" not in peer
    for environment in (peer, ours):
        assert not {"RAGAPP_SEARCH_K", "LANGSMITH_API_KEY"} & set(environment)
        assert environment["HF_HUB_OFFLINE"] == "1"


def test_a_stack_cannot_import_what_lies_beside_it(arena: Arena, tmp_path: Path) -> None:
    (tmp_path / "secretly.py").write_text("x = 1")
    side = fake(tmp_path, ingest="import secretly")
    assert "No module named 'secretly'" in contenders.compare([side], arena, 1)[0].error


# -- growth ----------------------------------------------------------------------------------------------------------


def test_growth_leaves_out_what_would_take_too_long(arena: Arena, tmp_path: Path) -> None:
    quick, slow = fake(tmp_path, "quick"), fake(tmp_path, "slow", ingest="time.sleep(1.5)")
    grown = contenders.grow([quick, slow], lambda _: arena, [8, 2, 8, 100], 5.5)
    assert [(one.pages, one.side) for one in grown] == [
        (pages, name) for pages in (2, 8, 100) for name in ("quick", "slow")
    ]
    assert grown[1].ingested is not None
    assert grown[1].asked is not None
    assert "minutes expected" in grown[3].skipped
    assert grown[3].ingested is None
    assert grown[5].skipped == grown[3].skipped


def test_pages_that_nobody_reads_are_not_made(arena: Arena, tmp_path: Path) -> None:
    made: list[int] = []

    def arena_of(pages: int) -> Arena:
        made.append(pages)
        return arena

    slow = fake(tmp_path, "slow", ingest="time.sleep(1)")
    grown = contenders.grow([slow], arena_of, [1, 90_000], 60)
    assert made == [1]
    # A second a page; what the process takes to begin is not multiplied.
    minutes = int(grown[1].skipped.removeprefix("about ").partition(" ")[0].replace(",", ""))
    assert minutes < 1.01 * 90_000 / 60 * (grown[0].ingested.ingest_s if grown[0].ingested else 0)


def test_growth_goes_on_without_a_side_that_fails(arena: Arena, tmp_path: Path) -> None:
    broken = fake(tmp_path, "broken", ingest="raise MemoryError('too much')")
    grown = contenders.grow([broken, fake(tmp_path)], lambda _: arena, [2, 3], 900)
    assert ["too much" in one.skipped for one in grown] == [True, False, True, False]


# -- the peers' environments -----------------------------------------------------------------------------------------


def test_every_peer_has_a_script_and_pinned_requirements() -> None:
    assert set(peers.names()) == set(benching.PEERS)
    shared = peers._lines(peers.STACKS / "constraints.txt")
    assert "torch==2.13.0" in shared
    for name in peers.names():
        assert (peers.STACKS / f"{name}.py").is_file()
        for line in peers._lines(peers.requirements(name)):
            pinned = line if "==" in line else next(one for one in shared if one.startswith(f"{line}=="))
            assert pinned.count("==") == 1


def test_an_unknown_peer_is_an_error_that_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        peers.prepare("ragflow", tmp_path)
    assert "haystack, langchain, llamaindex, txtai" in caught.value.hint


def stacks_in(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> Path:
    folder.mkdir()
    for name, text in {"constraints": "torch==2.13.0\n", **files}.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(peers, "STACKS", folder)
    return folder


def test_an_environment_is_made_once_and_knows_its_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks_in(tmp_path / "stacks", monkeypatch, empty="# nothing\npip\n")
    told: list[str] = []
    first = peers.prepare("empty", tmp_path / "cache", told.append)
    assert len(told) == 1
    again = peers.prepare("empty", tmp_path / "cache", told.append)
    assert len(told) == 1
    assert first == again
    assert list(first.named) == ["pip"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.python.parents[1].name]
    where = subprocess.run(
        [first.python, "-I", "-c", "import sys; print(sys.prefix)"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert Path(where) == first.python.parents[1]
    assert peers._key("empty") in where
    (peers.STACKS / "constraints.txt").write_text("torch==3\n", encoding="utf-8")
    assert peers._key("empty") not in where


def test_what_cannot_be_installed_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks_in(tmp_path / "stacks", monkeypatch, broken="./nowhere\n")
    monkeypatch.chdir(tmp_path)
    # It makes environments of two lines, whose pip is that of these tests and has nothing to install.
    quick = tmp_path / "python"
    lines = f'exec "{sys.executable}" "$@"'
    script = f"#!/bin/sh\nmkdir -p $3/bin && printf '#!/bin/sh\\n{lines}\\n' > $3/bin/python"
    quick.write_text(script + " && chmod +x $3/bin/python\n", encoding="utf-8")
    quick.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(quick))
    with pytest.raises(ModelError, match=r"broken cannot be installed: .*nowhere"):
        peers.prepare("broken", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_python_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks_in(tmp_path / "stacks", monkeypatch, some="pip\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ModelError, match="cannot be run"):
        peers.prepare("some", tmp_path / "cache")


# -- all of it -------------------------------------------------------------------------------------------------------


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    pdfs.write(docs / "sub" / "handbook.pdf", ["The warranty of the pump is 24 months long.", "The hall is green."])
    pdfs.write(docs / "手册.PDF", ["保修期为二十四个月。"])
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing")
    return docs


def set_of(tmp_path: Path, *asked: Question) -> Path:
    file = tmp_path / "questions.jsonl"
    dataset.save(of_questions("made", asked), file)
    return file


def test_ragapp_is_measured_in_english_and_chinese(handbook: Path, tmp_path: Path) -> None:
    asked = set_of(
        tmp_path,
        Question("en", "How long is the warranty?", (Gold("sub/handbook.pdf", (1,)),)),
        Question("zh", "保修期多长？", (Gold("手册.PDF", (1,)),)),
        Question("in", "And of the hall?", (Gold("sub/handbook.pdf", (2,)),), where=("sub/*",)),
    )
    told: list[str] = []
    found = benching.bench(
        handbook, questions=asked, peers=(), llm="none", rounds=1, cache=tmp_path / "cache", progress=told.append
    )
    (side,) = found.sides
    assert (side.name, side.error) == ("ragapp", "")
    assert (found.files, found.questions, found.docs) == (3, 2, "docs")
    assert any(note.startswith("1 of 3 questions") for note in found.notes)
    assert (side.ingested[0].pages, side.ingested[0].unread) == (3, 0)
    assert side.ingested[0].tokens > 10
    assert len(side.ingested[0].failed) == 1
    assert side.hits["hybrid"].at_1 == 1
    assert told == ["Round 1 of 1: ragapp"]
    assert list((tmp_path / "cache").iterdir()) == []  # its work is gone
    assert "broken" not in benchtable.as_markdown(found)
    assert "ragapp could not read 1 file." in benchtable.as_markdown(found)


def test_a_peer_that_cannot_be_had_is_a_note(handbook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, cache: Path, tell: object) -> Contender:
        raise ModelError(f"{name} cannot be installed: no index")

    monkeypatch.setattr(contenders, "peer", refuse)
    monkeypatch.setattr(contenders, "compare", lambda there, arena, rounds: ())
    found = benching.bench(handbook, peers=("txtai",), llm="none", cache=tmp_path / "cache")
    assert "txtai is missing. txtai cannot be installed: no index" in found.notes
    assert any("Nothing was asked" in note for note in found.notes)


def test_stopped_at_once_it_says_so(tmp_path: Path) -> None:
    found = benching.bench(peers=("txtai",), growth=(10,), cache=tmp_path / "cache", cancelled=lambda: True)
    assert found.sides == ()
    assert found.notes == (benching.MADE_UP, benching.STOPPED)
    assert found.files == benching.PAGES // madeup.A_DOCUMENT


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"peers": ("ragflow",)}, "no peer 'ragflow'"),
        ({"peers": ("txtai", "txtai")}, "named twice"),
        ({"rounds": 0}, "0 rounds"),
        ({"limit_s": 0}, "limit of 0"),
        ({"growth": (500, 0)}, "cannot be made up"),
        ({"llm": "no/such/folder"}, "no model"),
        ({"questions": Path("q.jsonl")}, "no documents that they belong to"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_made(wrong: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        benching.bench(cache=tmp_path / "cache", **wrong)
    assert not (tmp_path / "cache").exists()


def test_a_folder_without_pdfs_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not a folder"):
        benching.bench(tmp_path / "nowhere", cache=tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="no PDF"):
        benching.bench(tmp_path / "empty", cache=tmp_path / "cache")


def test_only_questions_that_lean_on_others_cannot_be_asked(handbook: Path, tmp_path: Path) -> None:
    asked = set_of(tmp_path, Question("in", "And there?", (Gold("sub/handbook.pdf", (2,)),), where=("sub/*",)))
    with pytest.raises(ConfigError, match="No question"):
        benching.bench(handbook, questions=asked, cache=tmp_path / "cache")


def test_what_killed_runs_left_is_swept(handbook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "compare", lambda there, arena, rounds: ())
    old, new, kept = (tmp_path / "cache" / name for name in (".work-old", ".work-new", "txtai-1"))
    for folder in (old, new, kept):
        folder.mkdir(parents=True)
    for folder in (old, kept):
        os.utime(folder, (1, 1))
    benching.bench(handbook, peers=(), llm="none", rounds=1, cache=tmp_path / "cache")
    assert not old.exists()
    assert new.is_dir()
    assert kept.is_dir()


# -- the ground -----------------------------------------------------------------------------------------------------


def test_the_machine_is_named() -> None:
    assert machine().startswith(f"{os.cpu_count()} core")


def test_the_harness_counts_as_the_model_does() -> None:
    tokenizer = minilm.checked_file("tokenizer.json", minilm.TOKENIZER_SHA256)
    texts = ["a b c", "", "保修期"]
    assert harness.counted(iter(texts), tokenizer, 4) == {"texts": 3, "tokens": 6, "unread": 2, "cut": 2}
    assert harness.counted([], tokenizer, 4) == {"texts": 0, "tokens": 0, "unread": 0, "cut": 0}
