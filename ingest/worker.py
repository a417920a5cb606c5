"""The reading process: `python -m ragapp.ingest.worker`. One file a line in, frames out, all JSON.

In: ``{"path", "passwords"}``. Out, each as a length line and a body: ``{"page", "of"}`` after every page, then
``{"document"}`` or ``{"error", "hint"}``. It ends when its input ends, so it never outlives who started it.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from ragapp.errors import ReadError
from ragapp.ingest.readers.pdf import PdfReader


def main() -> None:
    """Serve until standard input ends. The first argument is the memory limit in MB."""
    out = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not fall into the frames.
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    _limit_memory(int(sys.argv[1]))
    for line in sys.stdin.buffer:
        order = json.loads(line)
        try:
            reader = PdfReader(lambda done, total: _send(out, {"page": done, "of": total}))
            document = reader.read_any(Path(order["path"]), order["passwords"])
            _send(out, {"document": asdict(document)})
        except ReadError as error:
            _send(out, {"error": error.message, "hint": error.hint})
        except MemoryError:
            _send(out, {"error": f"{Path(order['path']).name} needs more memory than it may take.",
                        "hint": "Raise [ingest] memory_mb."})  # fmt: skip
        except RecursionError:
            _send(out, {"error": f"{Path(order['path']).name} is nested without end.", "hint": ""})


def _send(out: BinaryIO, frame: dict[str, Any]) -> None:
    body = json.dumps(frame, ensure_ascii=True).encode()
    out.write(b"%d\n" % len(body) + body)
    out.flush()


def _limit_memory(megabytes: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    with suppress(ValueError, OSError):
        # A system that refuses the limit (macOS does for address space) still has the time limit.
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


if __name__ == "__main__":
    main()
