"""Following folders: waits until something changes in them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

QUIET_MS = 800  # a file that is still being copied changes again and again: wait until it is quiet


def changes(folders: Sequence[Path], stop: threading.Event | None = None) -> Iterator[int]:
    """Yields, after every burst of changes, how many files it touched; ends when ``stop`` is set or on Ctrl-C.

    What happens while the consumer works is not lost: it comes with the next burst. Hidden files and the lock files of
    office programs are passed over.
    """
    import watchfiles

    for burst in watchfiles.watch(
        *folders,
        watch_filter=lambda _, path: not Path(path).name.startswith((".", "~$")),
        debounce=10 * QUIET_MS,
        step=QUIET_MS,
        stop_event=stop,
        raise_interrupt=False,
        ignore_permission_denied=True,
    ):
        yield len({path for _, path in burst})
