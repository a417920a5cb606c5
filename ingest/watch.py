"""Following folders: waits until something changes in them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

QUIET_MS = 800  # a file that is still being copied changes again and again: wait until it is quiet


def changes(
    folders: Sequence[Path], stop: threading.Event | None = None, *, ignored: Sequence[Path] = ()
) -> Iterator[int]:
    """Yields once as soon as the folders are watched, 0 if nothing has changed yet; then, after every burst of changes,
    how many files it touched. Ends when ``stop`` is set or on Ctrl-C.

    What happens while the consumer works is not lost: it comes with the next burst. Hidden files and folders, the lock
    files of office programs and what lies in ``ignored`` folders (a library that is written to) are passed over.
    """
    import watchfiles

    logging.getLogger("watchfiles").setLevel(logging.CRITICAL)  # it comments on Ctrl-C
    watched = [Path(os.path.realpath(folder)) for folder in folders]
    unseen = [Path(os.path.realpath(folder)) for folder in ignored]
    is_on = False
    for burst in watchfiles.watch(
        *watched,
        watch_filter=lambda _, path: _concerns(Path(path), watched, unseen),
        debounce=10 * QUIET_MS,
        step=QUIET_MS,
        stop_event=stop,
        rust_timeout=QUIET_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    ):
        if burst or not is_on:
            is_on = True
            yield len({path for _, path in burst})


def _concerns(path: Path, watched: Sequence[Path], ignored: Sequence[Path]) -> bool:
    """Whether a change of this path may change what a scan of the watched folders finds."""
    if path.name.startswith("~$") or any(path.is_relative_to(folder) for folder in ignored):
        return False
    below = [path.relative_to(folder).parts for folder in watched if path.is_relative_to(folder)]
    return any(not any(part.startswith(".") for part in parts) for parts in below)
