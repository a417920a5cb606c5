"""Power cuts and full disks, at every write: what was stored is there, wholly, and work goes on.

Everything that a process writes is recorded by a library loaded before libc (faults/record.c), and played back to
every moment (faults/replay.py). Needs Linux and a C compiler; with CI_REQUIRES_FAULTS set their lack is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragapp.catalog import Catalog
from ragapp.errors import LibraryError, NotFound
from ragapp.mending import mend
from tests.faults import replay, work
from tests.faults.small import CONFIG, answers, held
from tests.libraries import child_environment, open_catalog, put

SAMPLE = 20  # states, evenly from all; FAULT_STATES=all looks at every one
FULL = 6


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        if os.environ.get("CI_REQUIRES_FAULTS"):
            pytest.fail("there is no C compiler, and CI_REQUIRES_FAULTS is set")
        pytest.skip("needs Linux and a C compiler")
    made = tmp_path_factory.mktemp("recorder") / "record.so"
    source = Path(__file__).parent / "faults" / "record.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl", "-lpthread"], check=True)
    return made


def run(recorder: Path, root: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Do the work of faults/work.py below ``root`` under the recorder."""
    root.mkdir(exist_ok=True)
    environment = {**child_environment(), "LD_PRELOAD": str(recorder), "FAULT_ROOT": str(root), **settings}
    command = [sys.executable, "-m", "tests.faults.work", str(root / "library"), str(root / "marker")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def refill(library: Path) -> None:
    """What the next ingest does: everything that the last state holds, and nothing else."""
    catalog = open_catalog(library)
    wanted = work.STATES[-1]
    there = {file.name: file for file in catalog.files().values()}
    catalog.drop([file.uri for name, file in there.items() if name not in wanted])
    for name, document in wanted.items():
        put(catalog, document, name)
    work.publish(catalog)
    catalog.close()


def expected(steps: int) -> dict[str, str]:
    return {name: document.text for name, document in work.STATES[steps].items()}


def texts(library: Path) -> dict[str, str]:
    return {name: value[1] for name, value in held(library).items()}


def check(library: Path, ended: int, right: list[Any]) -> None:
    """What stands on a disk after a power cut, when so many steps had ended."""
    allowed = [expected(max(0, ended - 1)), expected(min(ended, len(work.STATES) - 1))]
    if not ended and not (library / "library.sqlite").exists():
        with pytest.raises(NotFound):
            Catalog(library, create=False)
    else:
        assert texts(library) in allowed
        mend(library, CONFIG)
        assert mend(library, CONFIG).well
        assert texts(library) in allowed
    refill(library)
    assert texts(library) == expected(-1)
    assert answers(library) == right
    assert mend(library, CONFIG, check=True).findings == ()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    root = tmp_path_factory.mktemp("undisturbed")
    work.main(root / "library", root / "marker")
    refill(root / "library")
    return answers(root / "library")


def test_a_power_cut_at_any_write(recorder: Path, undisturbed: list[Any], tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = run(recorder, root, FAULT_LOG=str(tmp_path / "log"))
    assert done.returncode == 0, done.stderr
    found = list(replay.states(replay.read_log(tmp_path / "log"), str(root), str(root / "marker")))
    assert len(found) > 500
    step = 1 if os.environ.get("FAULT_STATES") == "all" else len(found) // SAMPLE
    wrong = []
    for number, how, ended, files in found[::step]:
        target = tmp_path / "state"
        replay.lay_out(files, str(root), target)
        try:
            check(target / "library", ended, undisturbed)
        except (AssertionError, LibraryError) as error:
            wrong.append((number, how, ended, repr(error)[:300]))
        shutil.rmtree(target)
    assert wrong == []


UNSYNCED = """
import os, sys
root = sys.argv[1]
with open(root + "/a", "w") as file:
    file.write("hello")
os.rename(root + "/a", root + "/b")
for name in ("", "/b"):
    os.fsync(os.open(root + name, os.O_RDONLY))
"""


def test_the_recorder_sees_a_missing_sync(recorder: Path, tmp_path: Path) -> None:
    """The test of the test: a file that is written and renamed, but not yet synced, may be empty after a cut."""
    root, log = tmp_path / "root", tmp_path / "log"
    root.mkdir()
    environment = {**os.environ, "LD_PRELOAD": str(recorder), "FAULT_ROOT": str(root), "FAULT_LOG": str(log)}
    subprocess.run([sys.executable, "-c", UNSYNCED, str(root)], env=environment, check=True)
    cuts = [files for _, _, _, files in replay.states(replay.read_log(log), str(root), "")]
    assert {f"{root}/a": b""} in cuts
    assert {f"{root}/b": b""} in cuts
    assert {f"{root}/b": b"hello"} in cuts
    assert {} in cuts
    assert {f"{root}/a": b"", f"{root}/b": b"hello"} not in cuts


def test_a_full_disk_at_any_write(recorder: Path, undisturbed: list[Any], tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(recorder, tmp_path / "all", FAULT_LOG=str(log))
    total = sum(op.kind == "W" for op in replay.read_log(log))
    every = 1 if os.environ.get("FAULT_STATES") == "all" else total // FULL
    wrong = []
    for number in range(1, total, every):
        root = tmp_path / "full"
        done = run(recorder, root, FAULT_FULL=str(number))
        ended = len((root / "marker").read_text().split()) if (root / "marker").exists() else 0
        try:
            assert done.returncode == 9, (done.returncode, done.stderr[-300:])
            message, _, _ = done.stdout.partition("|")
            assert "full" in message.lower() or "No space" in message, message
            check(root / "library", ended, undisturbed)
        except (AssertionError, LibraryError) as error:
            wrong.append((number, ended, repr(error)[:300]))
        shutil.rmtree(root)
    assert wrong == []
