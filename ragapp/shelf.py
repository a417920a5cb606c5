"""Published caches: folders that appear whole or not at all, and are believed only with their checksums.

A cache of generation 12 lies in ``<name>-12-<stamp>/`` with a ``mark.json`` that names its version and the size and
sha256 of every file. It is made under another name and renamed, so a kill leaves either the old one or the new one.
Anything that does not fit its mark is ignored, and swept away by the next writer.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ragapp.rows import Generation
from ragapp.store import sync_folder

MAKING = ".making-"


class Shelf:
    """The published caches of one kind in one library. ``version`` says how they are made; another one is not read."""

    def __init__(self, folder: Path, name: str, version: str) -> None:
        self.folder = folder
        self.name = name
        self.version = version

    def newest(self) -> tuple[Generation, Path] | None:
        """The youngest cache that is whole, or None."""
        marked = sorted(self._folders(), key=lambda pair: pair[0].number, reverse=True)
        return next((pair for pair in marked if self._is_intact(pair[1])), None)

    def publish(self, generation: Generation, fill: Callable[[Path], None]) -> Path:
        """Make a cache with ``fill(folder)`` and put it in the place of the older ones. Needs the write lock.

        Raises OSError, with nothing left behind, when it cannot be written.
        """
        if not self.folder.is_dir():
            self.folder.mkdir(exist_ok=True)
            sync_folder(self.folder.parent)
        self.sweep()
        made = Path(tempfile.mkdtemp(prefix=f"{MAKING}{self.name}-", dir=self.folder))
        fill(made)
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in made.iterdir()
            if not path.name.endswith(".lock")
        }
        mark = {"version": self.version, "files": files}
        (made / "mark.json").write_text(json.dumps(mark), encoding="utf-8")
        # A power cut must not leave the name of a cache whose files are not yet on the disk.
        for name in (*files, "mark.json"):
            _sync(made / name)
        sync_folder(made)
        final = self.folder / f"{self.name}-{generation.number}-{generation.stamp}"
        shutil.rmtree(final, ignore_errors=True)
        made.rename(final)
        sync_folder(self.folder)
        for _, path in self._folders():
            if path != final:
                shutil.rmtree(path, ignore_errors=True)
        return final

    def clear(self) -> None:
        """Remove all that was published. Needs the write lock."""
        self.sweep()
        for path in self.folder.glob(f"{self.name}-*"):
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a killed process left behind."""
        for path in self.folder.glob(f"{MAKING}{self.name}-*"):
            shutil.rmtree(path, ignore_errors=True)

    def damaged(self) -> list[Path]:
        """Caches that do not fit their mark, and what is no cache though its name begins like one."""
        whole = {path for _, path in self._folders() if self._is_intact(path)}
        return sorted(path for path in self.folder.glob(f"{self.name}-*") if path not in whole)

    def _folders(self) -> list[tuple[Generation, Path]]:
        found = []
        for path in self.folder.glob(f"{self.name}-*"):
            parts = path.name.removeprefix(f"{self.name}-").split("-")
            if len(parts) == 2 and parts[0].isdigit():
                found.append((Generation(int(parts[0]), parts[1]), path))
        return found

    def _is_intact(self, path: Path) -> bool:
        try:
            mark = json.loads((path / "mark.json").read_text(encoding="utf-8"))
            held = {part.name for part in path.iterdir() if not part.name.endswith(".lock")}
            return (
                mark["version"] == self.version
                and held == {"mark.json", *mark["files"]}
                and all(
                    (path / name).stat().st_size == facts["bytes"] and _sha256(path / name) == facts["sha256"]
                    for name, facts in mark["files"].items()
                )
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
