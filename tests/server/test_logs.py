"""The log: what its lines say, and what they never say."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.keyring import AuditLog
from ragapp.server import logs
from ragapp.server.logs import Json, Text, written
from tests.server.conftest import PLAY, Running, ServeWith, copied, served, until

SECRET_WORDS = "zirconium pelican"


class Lines:
    """What is written to standard error."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        return

    def of(self, request: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.text.splitlines()) if line.get("request") == request]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    caught = Lines()
    monkeypatch.setattr(sys, "stderr", caught)
    with written("json"):
        yield caught


def _logged(lines: Lines, server: Running, method: str, path: str, request: str, **more: Any) -> dict[str, Any]:
    server.http.request(method, path, headers={"X-Request-Id": request}, **more)
    until(lambda: lines.of(request))
    return lines.of(request)[-1]


def test_a_line_says_what_was_asked_and_how_it_ended(lines: Lines, real: Running) -> None:
    line = _logged(lines, real, "POST", "/v1/search", "r1", json={"question": SECRET_WORDS})
    assert (line["method"], line["route"], line["status"], line["key"]) == ("POST", "/v1/search", 200, "")
    assert line["bytes"] > 10
    assert 0 < line["ms"] < 10_000
    line = _logged(lines, real, "GET", "/v1/documents/zirconium.pdf/pages", "r2")
    assert (line["route"], line["status"], line["error"]) == ("/v1/documents/{id:path}/pages", 404, "not_found")
    line = _logged(lines, real, "GET", "/zirconium?pelican=1", "r3")
    assert (line["route"], line["status"]) == ("(none)", 404)
    for word in SECRET_WORDS.split():
        assert word not in lines.text


def test_no_line_holds_a_secret_or_a_text(lines: Lines, serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY, server__api_key="sesame")
    _logged(lines, server, "GET", "/v1/models", "r1")
    headers = {"Authorization": "Bearer sesame", "X-Request-Id": "r2"}
    body = {"messages": [{"role": "user", "content": SECRET_WORDS}]}
    assert server.http.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    until(lambda: lines.of("r2"))
    for word in ("sesame", "Bearer", *SECRET_WORDS.split(), "pump.pdf"):
        assert word not in lines.text


def test_what_is_said_during_a_request_names_it_also_in_the_flows_thread(lines: Lines, playing: Running) -> None:
    playing.http.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "breaks_at_once"}]},
        headers={"X-Request-Id": "bug"},
    )
    until(lambda: len(lines.of("bug")) == 2)
    error, access = lines.of("bug")
    assert error["level"] == "error"
    assert "OSError" in error["traceback"]
    assert (access["status"], access["error"]) == (500, "internal_error")


def test_a_client_that_left_is_said_to_have_left(lines: Lines, playing: Running) -> None:
    with playing.http.stream(
        "POST", "/v1/chat/completions", headers={"X-Request-Id": "gone"},
        json={"stream": True, "messages": [{"role": "user", "content": "held"}]},
    ) as response:  # fmt: skip
        next(response.iter_raw())
    until(lambda: lines.of("gone"))
    assert lines.of("gone")[0]["status"] == 200


def test_a_change_is_noted_with_the_id_of_its_request(folder: Path, tmp_path: Path) -> None:
    copied(folder, tmp_path / "library")
    with served(tmp_path / "library") as server:
        files = {"file": ("zirconium.txt", b"A pelican.")}
        headers = {"X-Request-Id": "change-1"}
        assert server.http.post("/v1/documents", files=files, headers=headers).status_code == 202
        server.http.get("/v1/jobs", headers={"X-Request-Id": "look-1"})
        server.http.delete("/v1/jobs/nothing", headers={"X-Request-Id": "failed-1"})
        house = server.server.config.app.state.house  # type: ignore[union-attr]
        (line,) = AuditLog(house.default.desk).lines()
    assert (line.request, line.action) == ("change-1", "POST /v1/documents")
    assert "zirconium" not in line.what


def test_nothing_is_written_when_it_is_off(playing: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    caught = Lines()
    monkeypatch.setattr(sys, "stderr", caught)
    with written("off"):
        playing.http.get("/healthz")
    assert caught.text == ""


def test_the_loggers_are_as_they_were_afterwards() -> None:
    def state() -> list[tuple[int, bool, int]]:
        return [(log.level, log.propagate, len(log.handlers)) for log in map(logging.getLogger, logs.WRITTEN)]

    before = state()
    with written("text"):
        assert state() != before
    assert state() == before


def _record(message: str) -> logging.LogRecord:
    return logging.LogRecord("ragapp.server", logging.WARNING, "x.py", 1, message, None, None)


@given(st.text())
def test_every_message_is_one_line(message: str) -> None:
    assert len(Json().format(_record(message)).encode("utf-8", "replace").decode().split("\n")) == 1
    assert json.loads(Json().format(_record(message)))["message"] == message
    assert len(Text().format(_record(message)).splitlines()) == 1
