"""Files that were handed to the library itself, by an upload: they lie in ``files/`` of its folder, under their names.

What is still on its way lies in ``files/.incoming``, a folder for each job; see server/inbox.py. A document that is
forgotten takes its original with it. Files that were ingested from elsewhere are their owner's, and nothing here
touches them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

FILES = "files"
INCOMING = ".incoming"


class Originals:
    """The originals of one library. ``root`` is their folder as the system knows it, whether or not it is there."""

    def __init__(self, folder: Path) -> None:
        self.root = Path(os.path.realpath(folder / FILES))

    def holds(self, path: Path) -> bool:
        """Whether a file, given as the system knows it, lies among the originals."""
        return path != self.root and path.is_relative_to(self.root)

    def remove(self, paths: Iterable[Path]) -> None:
        """Delete those files that are originals, with the folders that are empty then. Raises OSError."""
        for path in paths:
            if self.holds(path):
                path.unlink(missing_ok=True)
                self._prune(path.parent)

    def _prune(self, folder: Path) -> None:
        with suppress(OSError):  # it is not empty, or somebody else was faster
            while self.holds(folder):
                folder.rmdir()
                folder = folder.parent
