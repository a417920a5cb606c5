"""The drawing process: `python -m ragapp.ingest.drawer`. One order a line in, one answer out.

Orders are JSON: ``{"do", "path", "bytes", "mtime_ns", …}``. An answer is a line with two lengths, a JSON object and
raw bytes: ``{"refused", "reason"}``, or what was asked for. It never asks for passwords: the library keeps none. It
ends when its input ends, in the middle of a page if need be, and when nobody has asked for a while.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.boxes import PageSpan
from ragapp.ingest.readers import pictures
from ragapp.ingest.readers.pdfium import Unreadable, boxes_by_span, opened, shown_words

KEPT = 2  # documents that stay open: who turns pages asks for the same one again
KEPT_BYTES = 128 << 20  # of them together; a larger one is opened for each page
Answer = tuple[dict[str, Any], bytes]


class Refused(Exception):
    """An order that cannot be carried out: ``kind`` is "gone", "changed", "encrypted" or "damaged"."""

    def __init__(self, kind: str, reason: str = "") -> None:
        super().__init__(reason)
        self.kind = kind


def main() -> None:
    """Serve until standard input ends. The arguments are megabytes that may be taken, and seconds without an order
    after which to end."""
    out = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not fall into the answers.
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    _be_modest(int(sys.argv[1]))
    table = Table()
    for order in _orders(float(sys.argv[2])):
        head, body = answer(table, order)
        said = json.dumps(head, separators=(",", ":")).encode()
        out.write(b"%d %d\n" % (len(said), len(body)) + said + body)
        out.flush()


def answer(table: Table, order: dict[str, Any]) -> Answer:
    """The answer to an order; what cannot be done is refused in it."""
    try:
        return DO[order["do"]](table.document(order), order)
    except Refused as refused:
        return {"refused": refused.kind, "reason": str(refused)}, b""
    except Unreadable as reason:
        return {"refused": "damaged", "reason": str(reason)}, b""
    except MemoryError:
        return {"refused": "damaged", "reason": "it needs more memory than it may take"}, b""


class Table:
    """The documents that lie open."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, int, int], Any] = OrderedDict()

    def document(self, order: dict[str, Any]) -> Any:
        """pdfium's document for an order's file. Raises Refused when that is not what was ingested, and Unreadable."""
        key = (order["path"], order["bytes"], order["mtime_ns"])
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        data = _read(*key)
        while self._open and (len(self._open) >= KEPT or len(data) + sum(k[1] for k in self._open) > KEPT_BYTES):
            self._open.popitem(last=False)[1].close()
        try:
            pdf, _ = opened(Path(key[0]).name, data, ())
        except ReadError as error:
            raise Refused("encrypted") from error
        pictures.with_forms(pdf)
        self._open[key] = pdf
        return pdf


def _read(path: str, size: int, mtime_ns: int) -> bytes:
    try:
        with open(path, "rb") as file:
            stat = os.fstat(file.fileno())
            if (stat.st_size, stat.st_mtime_ns) != (size, mtime_ns):
                raise Refused("changed")
            return file.read()
    except OSError as error:
        raise Refused("gone") from error


def _draw(pdf: Any, order: dict[str, Any]) -> Answer:
    pixels = pictures.draw(pdf, order["page"], order["width"])
    return {"width": pixels.shape[1], "height": pixels.shape[0]}, pictures.png(pixels)


def _sizes(pdf: Any, _: dict[str, Any]) -> Answer:
    return {"sizes": pictures.sizes(pdf)}, b""


def _words(pdf: Any, order: dict[str, Any]) -> Answer:
    found = shown_words(pdf, order["page"], order["text"], _runs(order["runs"]))
    return {"size": pictures.size(pdf, order["page"]), "words": found}, b""


def _boxes(pdf: Any, order: dict[str, Any]) -> Answer:
    spans = [PageSpan(**{**span, "runs": _runs(span["runs"])}) for span in order["spans"]]
    return {"boxes": [[asdict(box) for box in found] for found in boxes_by_span(pdf, spans)]}, b""


DO = {"draw": _draw, "sizes": _sizes, "words": _words, "boxes": _boxes}


def _runs(runs: list[list[int]] | None) -> tuple[tuple[int, int, int], ...] | None:
    return None if runs is None else tuple((offset, source, length) for offset, source, length in runs)


def _orders(idle: float) -> Iterator[dict[str, Any]]:
    """The lines of standard input as they come; their end ends this process at once, whatever it is doing."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            line = waiting.get(timeout=idle)
        except queue.Empty:
            os._exit(0)  # the thread that listens is inside a read, which would hold up a tidier end
        yield json.loads(line)


def _be_modest(megabytes: int) -> None:
    """Answers and searches come first, and a page that is a bomb takes no more than its share."""
    if sys.platform == "win32":
        return
    import resource

    os.nice(5)
    with suppress(ValueError, OSError):
        # A system that refuses the limit (macOS does for address space) still has the time limit.
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


if __name__ == "__main__":
    main()
