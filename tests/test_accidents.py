"""Kill an ingest at any moment: the next run finishes it, and the library is the one an undisturbed run makes."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ragapp import Rag
from ragapp.errors import LibraryLocked
from tests import pdfs
from tests.libraries import child_environment, contents

FILES = 15
MOMENTS = 10
LEFT = re.compile("left behind|belong to no chunk|There is no")
CODE = (
    "import sys; from ragapp import Rag\n"
    "with Rag.open(sys.argv[1], embedder__name='hashing') as rag:\n"
    "    print('open', flush=True)\n"
    "    rag.add([sys.argv[2]], progress=lambda p: print(p.files_done, flush=True) if p.stage == 'done' else None)"
)


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pdfs.folder(tmp_path_factory.mktemp("accidents") / "docs", FILES, pages=2)


@pytest.fixture(scope="module")
def undisturbed(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """What the library must hold, and how many seconds a process takes to make it once it is open."""
    library = tmp_path_factory.mktemp("undisturbed")
    with started(library, docs) as child:
        assert child.stdout is not None
        child.stdout.readline()
        begun = time.monotonic()
        child.stdout.read()
    with Rag.open(library, embedder__name="hashing") as rag:
        assert list(rag.doctor()) == []
        return contents(rag.catalog), time.monotonic() - begun


def started(library: Path, docs: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(library), str(docs)],
        stdout=subprocess.PIPE,
        env=child_environment(),
        text=True,
    )


@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.usefixtures("in_folder")
def test_a_killed_ingest_is_finished_by_the_next(
    moment: int, docs: Path, undisturbed: tuple[dict[str, Any], float], tmp_path: Path
) -> None:
    expected, seconds = undisturbed
    with started(tmp_path, docs) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        # A moment in each tenth of the run, from the first reading to the writing of the caches.
        time.sleep(seconds * (moment + random.Random(moment).random()) / MOMENTS)
        child.kill()
    with Rag.open(tmp_path, embedder__name="hashing") as rag:
        left = contents(rag.catalog)
        assert left.items() <= expected.items(), "a document is there that is not whole"
        report = rag.add([docs])
        assert (report.added, report.kept, report.failed) == (FILES - len(left), len(left), [])
        assert list(rag.doctor()) == []
        assert contents(rag.catalog) == expected
        assert rag.search("The subject7x1 has the property number 3")[0].document == "07.pdf"
    remains = [path.name for path in (tmp_path / "cache").iterdir() if path.name.startswith(".making-")]
    assert remains == []


@pytest.mark.usefixtures("in_folder")
def test_a_killed_change_leaves_the_old_or_the_new_document(docs: Path, tmp_path: Path) -> None:
    own = tmp_path / "docs"
    pdfs.folder(own, 6)
    library = tmp_path / "library"
    with Rag.open(library, embedder__name="hashing") as rag:
        rag.add([own])
        old = contents(rag.catalog)
    for n in range(6):
        pdfs.write(own / f"{n:02}.pdf", [pdfs.prose(f"changed{n}", 9)])
    with started(library, own) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.readline()
        child.kill()
    with Rag.open(library, embedder__name="hashing") as rag:
        middle = contents(rag.catalog)
        # What was on its way is still there, for the next run to go on from, and nothing is damaged.
        assert [line for line in rag.doctor() if not LEFT.search(line)] == []
        assert middle.keys() == old.keys()
        rag.add([own])
        new = contents(rag.catalog)
        assert all(middle[name] in (old[name], new[name]) for name in middle)
        assert all("changed" in value[1] for value in new.values())
        assert list(rag.doctor()) == []


@pytest.mark.usefixtures("in_folder")
def test_the_lock_is_free_after_a_kill_and_held_before(docs: Path, tmp_path: Path) -> None:
    with started(tmp_path, docs) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.readline()  # a document is done, so the lock is held
        with Rag.open(tmp_path, embedder__name="hashing") as rag:
            with pytest.raises(LibraryLocked):
                rag.add([docs])
            assert rag.search("The subject0x0 has the property")  # readers go on
        child.kill()
        child.wait()
        with Rag.open(tmp_path, embedder__name="hashing") as rag:
            assert rag.add([docs]).failed == []
