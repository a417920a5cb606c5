"""Export and import: one checksummed file, the same answers after, and nothing at all when anything is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragapp import Rag
from ragapp.catalog import Catalog
from ragapp.errors import ConfigError, LibraryError, LibraryLocked, LibraryNewer, NotFound
from ragapp.mending import mend
from ragapp.parcel import MANIFEST, pack, unpack
from ragapp.store import locked
from ragapp.testing import document_of
from tests.faults.small import CONFIG, DOCUMENTS, answers, build, held
from tests.libraries import child_environment, open_catalog, put


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parcel") / "library"
    build(folder)
    return folder


@pytest.fixture(scope="module")
def parcel(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("out") / "library.ragapp"
    with Rag.open(library, config=CONFIG) as rag:
        rag.export(file)
    return file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_same_answers_after(library: Path, parcel: Path, tmp_path: Path) -> None:
    manifest = Rag.import_from(parcel, tmp_path / "new")
    assert (manifest.documents, manifest.files) == (len(DOCUMENTS), len(DOCUMENTS))
    assert held(tmp_path / "new") == held(library)
    assert answers(tmp_path / "new") == answers(library)
    assert mend(tmp_path / "new", CONFIG).well


def test_into_a_library_that_is_empty(library: Path, parcel: Path, tmp_path: Path) -> None:
    open_catalog(tmp_path).close()
    unpack(parcel, tmp_path)
    assert held(tmp_path) == held(library)


def test_not_into_a_library_that_is_not_empty(parcel: Path, tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    put(catalog, document_of("Mine.", name="mine.pdf"), "mine.pdf")
    catalog.close()
    before = held(tmp_path)
    with pytest.raises(LibraryError, match="not empty"):
        unpack(parcel, tmp_path)
    assert held(tmp_path) == before


def test_a_file_that_is_there_is_not_overwritten(library: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.write_text("precious")
    catalog = Catalog(library)
    with pytest.raises(ConfigError, match="exists already"):
        pack(catalog, target)
    assert target.read_text() == "precious"
    pack(catalog, target, force=True)
    catalog.close()
    assert zipfile.is_zipfile(target)
    assert names(tmp_path) == ["there"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_to = Catalog.copy_to

    def slow(self: Catalog, target: Path) -> tuple[int, int, int]:
        (tmp_path / "there").write_text("precious")
        return copy_to(self, target)

    monkeypatch.setattr(Catalog, "copy_to", slow)
    catalog = Catalog(library)
    with pytest.raises(ConfigError, match="exists already"):
        pack(catalog, tmp_path / "there")
    catalog.close()
    assert (tmp_path / "there").read_text() == "precious"
    assert names(tmp_path) == ["there"]


def test_where_nothing_can_be_written(library: Path, tmp_path: Path) -> None:
    catalog = Catalog(library)
    with pytest.raises(LibraryError, match="cannot be written"):
        pack(catalog, tmp_path / "no" / "folder")
    catalog.close()


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        unpack(tmp_path / "none", tmp_path / "library")
    assert names(tmp_path) == []


def rewritten(parcel: Path, target: Path, change: Callable[[dict[str, Any], zipfile.ZipFile], None]) -> Path:
    """The parcel again with another manifest, or with more in it."""
    with zipfile.ZipFile(parcel) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        manifest = json.loads(old.read(MANIFEST))
        change(manifest, new)
        new.writestr(MANIFEST, json.dumps(manifest))
        new.writestr("library.sqlite", old.read("library.sqlite"))
    return target


WRONG: dict[str, tuple[Callable[[dict[str, Any], zipfile.ZipFile], None], type[LibraryError]]] = {
    "newer": (lambda m, z: m.update(version=2), LibraryNewer),
    "newer library": (lambda m, z: m.update(library_format=99), LibraryNewer),
    "another checksum": (lambda m, z: m.update(sha256="0" * 64), LibraryError),
    "another size": (lambda m, z: m.update(bytes=m["bytes"] - 1), LibraryError),
    "another count": (lambda m, z: m.update(documents=1), LibraryError),
    "another kind": (lambda m, z: m.update(kind="recipes"), LibraryError),
    "no kind": (lambda m, z: m.pop("kind"), LibraryError),
    "no checksum": (lambda m, z: m.pop("sha256"), LibraryError),
    "text for a number": (lambda m, z: m.update(version="1"), LibraryError),
    "a way out": (lambda m, z: z.writestr("../../evil", "x"), LibraryError),
    "a root": (lambda m, z: z.writestr("/evil", "x"), LibraryError),
    "one more file": (lambda m, z: z.writestr("more", "x"), LibraryError),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_parcel_that_is_wrong_is_refused_and_leaves_nothing(kind: str, parcel: Path, tmp_path: Path) -> None:
    change, error = WRONG[kind]
    wrong = rewritten(parcel, tmp_path / "wrong", change)
    with pytest.raises(error) as caught:
        unpack(wrong, tmp_path / "deep" / "library")
    assert type(caught.value) is error
    assert not (tmp_path / "deep" / "library").exists()
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06" + b"\0" * 18, b"PK\x03\x04" + b"x" * 4000])
def test_what_is_no_parcel_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(LibraryError, match="damaged or not made by"):
        unpack(tmp_path / "file", tmp_path / "library")
    assert names(tmp_path) == ["file"]


def test_a_library_of_somebody_else_in_a_right_wrapping(parcel: Path, tmp_path: Path) -> None:
    body = b"SQLite format 3\0" + b"\0" * 8192
    with zipfile.ZipFile(tmp_path / "wrong", "w") as new, zipfile.ZipFile(parcel) as old:
        manifest = json.loads(old.read(MANIFEST))
        manifest.update(bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
        new.writestr(MANIFEST, json.dumps(manifest))
        new.writestr("library.sqlite", body)
    with pytest.raises(LibraryError):
        unpack(tmp_path / "wrong", tmp_path / "library")
    assert names(tmp_path) == ["wrong"]


def test_every_part_of_the_file_is_guarded(library: Path, parcel: Path, tmp_path: Path) -> None:
    """A flipped byte anywhere is refused, or harmless: the library that comes out is the one that went in."""
    whole, expected = parcel.read_bytes(), held(library)
    refused = 0
    places = [*range(0, len(whole), max(1, len(whole) // 40)), *range(len(whole) - 100, len(whole), 3)]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 0x10
        (tmp_path / "flipped").write_bytes(data)
        try:
            unpack(tmp_path / "flipped", tmp_path / "library")
        except LibraryError:
            refused += 1
            assert names(tmp_path) == ["flipped"]
            continue
        assert held(tmp_path / "library") == expected
        shutil.rmtree(tmp_path / "library")
    assert refused > 30


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(part: float, parcel: Path, tmp_path: Path) -> None:
    data = parcel.read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(LibraryError):
        unpack(tmp_path / "cut", tmp_path / "library")
    assert names(tmp_path) == ["cut"]


def test_an_export_while_others_write_is_one_state(tmp_path: Path) -> None:
    """Documents come in pairs, so a copy that saw half of a transaction, or two states, would hold an odd one."""
    catalog = open_catalog(tmp_path / "library")
    stop = threading.Event()

    def work() -> None:
        other = Catalog(tmp_path / "library")
        n = 0
        while not stop.is_set():
            # One document replaces another under the same name, in one transaction.
            put(other, document_of(f"State {n}. " + "filler " * 500, name="a.pdf"), "a.pdf")
            n += 1
        other.close()

    put(catalog, document_of("State.", name="a.pdf"), "a.pdf")
    thread = threading.Thread(target=work)
    thread.start()
    try:
        for n in range(5):
            manifest = pack(catalog, tmp_path / f"{n}")
            assert (manifest.documents, manifest.files) == (1, 1)
            unpack(tmp_path / f"{n}", tmp_path / f"library{n}")
            assert mend(tmp_path / f"library{n}", CONFIG, check=True).findings[:1] in (
                (), ("There is no vectors cache; every search makes its own.",)
            )  # fmt: skip
    finally:
        stop.set()
        thread.join()
        catalog.close()


def test_an_import_waits_for_nobody(parcel: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("library").mkdir()
    with locked(tmp_path / "library"), pytest.raises(LibraryLocked):
        unpack(parcel, tmp_path / "library")


def test_a_killed_import_leaves_all_or_nothing(library: Path, parcel: Path, tmp_path: Path) -> None:
    """The process dies in the middle of unpacking; the next import, and the doctor, are not in its way."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom ragapp import parcel\n"
        "parcel.os.fsync = lambda handle: os.kill(os.getpid(), 9)\n"
        "parcel.unpack(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    folder = tmp_path / "library"
    done = subprocess.run([sys.executable, "-c", code, str(parcel), str(folder)], env=child_environment(), check=False)
    assert done.returncode == -9
    assert not (folder / "library.sqlite").exists()
    with pytest.raises(NotFound):
        answers(folder)
    unpack(parcel, folder)
    assert any("was left behind" in line for line in mend(folder, CONFIG).findings)
    assert mend(folder, CONFIG).well
    assert answers(folder) == answers(library)


def test_the_file_holds_nothing_that_was_removed(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path / "library")
    put(catalog, document_of("Zanzibarquartz is a secret.", name="secret.pdf"), "secret.pdf")
    catalog.keep_draft("d", 1, b"Zanzibarquartz in a draft")
    catalog.drop(["file:///docs/secret.pdf"])
    pack(catalog, tmp_path / "parcel")
    catalog.close()
    with zipfile.ZipFile(tmp_path / "parcel") as made:
        assert b"Zanzibarquartz" not in made.read("library.sqlite")
    assert names(tmp_path) == ["library", "parcel"]


def test_only_its_owner_may_read_what_is_being_packed(library: Path, tmp_path: Path, monkeypatch: Any) -> None:
    seen: list[int] = []
    copy_to = Catalog.copy_to

    def watched(self: Catalog, target: Path) -> tuple[int, int, int]:
        seen.append(os.stat(target.parent).st_mode & 0o077)
        return copy_to(self, target)

    monkeypatch.setattr(Catalog, "copy_to", watched)
    catalog = Catalog(library)
    pack(catalog, tmp_path / "parcel")
    catalog.close()
    assert seen == [0]
