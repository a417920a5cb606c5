"""The log: a line for each request and for whatever the server has to say, as text or as JSON, on standard error.

A line has the method, the template of the path, the status, the time, the size, the id of the key and that of the
request. It has no question, no text or name of a document, no address of a client and no secret.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

from ragapp.server.observing import Seen, current
from ragapp.types import Event

Mode = Literal["off", "text", "json"]

WRITTEN = ("ragapp", "uvicorn")  # loggers whose lines are written
access = logging.getLogger("ragapp.server.access")


class AccessLog:
    """A line for each request; see observing.Sink."""

    def begun(self, seen: Seen) -> None:
        """Nothing to say yet."""

    def heard(self, seen: Seen, event: Event) -> None:
        """Nothing to say of it."""

    def ended(self, seen: Seen) -> None:
        if not access.isEnabledFor(logging.INFO):
            return
        told = {
            "request": seen.id,
            "method": seen.method,
            "route": seen.route,
            "status": seen.status,
            "ms": round(seen.seconds * 1000, 1),
            "bytes": seen.bytes,
            "key": seen.key,
        }
        if seen.codes:
            told["error"] = seen.codes[-1]
        access.info("%s %s %s", seen.method, seen.route, seen.status, extra={"told": told})


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_told(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Text(logging.Formatter):
    """For people: the same on a line, a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        told = {name: value for name, value in _told(record).items() if name not in ("method", "route", "status")}
        more = "".join(f" {name}={value}" for name, value in told.items() if value != "")
        line = f"{_time(record)} {record.levelname} {_one_line(record.getMessage())}{more}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


@contextmanager
def written(mode: Mode) -> Iterator[None]:
    """Write the log of this process while the block runs; "off" leaves Python's logging as it is."""
    if mode == "off":
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if mode == "json" else Text())
    loggers = [logging.getLogger(name) for name in WRITTEN]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    loggers[0].setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def _told(record: logging.LogRecord) -> dict[str, object]:
    """What a line says besides its message; at least which request it is about, where there is one."""
    told: dict[str, object] | None = getattr(record, "told", None)
    if told is not None:
        return told
    seen = current()
    return {"request": seen.id} if seen is not None else {}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """The text on one line: nobody can forge a second one."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text.replace("\n", " "))
