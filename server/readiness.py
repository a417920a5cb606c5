"""Whether an answer can be given: what it needs is loaded, the library can be read, and the server is not ending.

A full house is ready: who asks then waits, or is told when to come back.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from ragapp.errors import RagappError

if TYPE_CHECKING:
    from ragapp.server.house import House

log = logging.getLogger("ragapp.server")

RETRY_S = 5.0  # between two tries to load what an answer needs

Status = Literal["ready", "warming", "library_unreadable", "shutting_down"]


class Readiness(BaseModel):
    """``reason`` says what is missing; empty when nothing is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready", "reason": ""}]})

    status: Status
    reason: str = ""


class Warmth:
    """Loads in the background what an answer needs, and knows whether one can be given."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._closed = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="ragapp-warm", daemon=True).start()

    def close(self) -> None:
        """The server ends: it is not ready any more."""
        self._closed.set()

    def look(self) -> Readiness:
        """Reads from every library, so it belongs into a thread."""
        if self._closed.is_set():
            return Readiness(status="shutting_down", reason="The server is shutting down.")
        for name, collection in self._house.collections.items():
            try:
                collection.rag.catalog.generation()
            except RagappError as error:
                why = self._house.table.without_paths(error.message)
                return Readiness(status="library_unreadable", reason=f"The collection {name} cannot be read: {why}")
        if not self._house.default.rag.is_warm:
            return Readiness(status="warming", reason="What an answer needs is not loaded yet.")
        return Readiness(status="ready")

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._house.default.rag.warm()
            except Exception:  # a server that is not ready says so, and tries again
                log.exception("What an answer needs could not be loaded.")
                self._closed.wait(RETRY_S)
            else:
                return
