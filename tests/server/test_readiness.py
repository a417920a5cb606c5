"""Ready: only when an answer can be given."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragapp.errors import LibraryError
from ragapp.rag import Rag
from ragapp.server.errors import ErrorTable
from ragapp.server.house import House
from ragapp.server.readiness import Warmth
from tests.server.conftest import Running, until


def test_it_is_ready_when_everything_is_loaded(real: Running) -> None:
    until(lambda: real.http.get("/readyz").status_code == 200)
    assert real.http.get("/readyz").json() == {"status": "ready", "reason": ""}


def test_each_reason_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Rag.open(folder, embedder__name="hashing") as rag:
        house = House([rag], ErrorTable([str(folder)]))
        warmth = Warmth(house)
        assert warmth.look().status == "warming"
        rag.warm()
        assert warmth.look().status == "ready"

        def broken() -> None:
            raise LibraryError(f"The disk of {folder} is gone.")

        with monkeypatch.context() as patch:
            patch.setattr(rag.catalog, "generation", broken)
            told = warmth.look()
            assert told.status == "library_unreadable"
            assert str(folder) not in told.reason
            assert "gone" in told.reason
        warmth.close()
        assert warmth.look().status == "shutting_down"
        house.close()


def test_another_model_must_be_loaded_first(folder: Path) -> None:
    with Rag.open(folder, embedder__name="hashing") as rag:
        house = House([rag], ErrorTable())
        rag.warm()
        rag.use_model("tests.server.flows:scripted")
        assert Warmth(house).look().status == "warming"
        house.close()
