"""Figures for Prometheus."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server import flows
from tests.server.conftest import PLAY, Running, ServeWith, copied, served, until


def figures(server: Running, **headers: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = server.http.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def figure(server: Running, name: str, **labels: str) -> float:
    return figures(server).get((name, frozenset(labels.items())), 0.0)


def test_requests_are_counted_by_route_and_status(serve_with: ServeWith) -> None:
    server = serve_with()
    for question in ("pump", ""):
        server.http.post("/v1/search", json={"question": question})
    server.http.get("/v1/documents/secret.pdf/pages")
    server.http.get("/secret")
    server.http.request("BREW", "/healthz")
    assert figure(server, "ragapp_requests_total", method="POST", route="/v1/search", status="200") == 1
    assert figure(server, "ragapp_requests_total", method="POST", route="/v1/search", status="400") == 1
    assert figure(server, "ragapp_requests_total", method="GET", route="(none)", status="404") == 1
    assert figure(server, "ragapp_requests_total", method="other", route="/healthz", status="405") == 1
    assert figure(server, "ragapp_request_seconds_count", route="/v1/search") == 2
    assert figure(server, "ragapp_errors_total", code="invalid_question") == 1
    assert figure(server, "ragapp_errors_total", code="not_found") == 1
    assert "secret" not in server.http.get("/metrics").text


def test_answers_are_counted_with_their_steps_and_tokens(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY)
    server.ask("short")
    server.ask("short", stream=True)
    server.http.post("/v1/ask", json={"question": "short"})
    assert figure(server, "ragapp_step_seconds_count", step="search") == 3
    assert figure(server, "ragapp_step_seconds_sum", step="search") == pytest.approx(0.03)
    assert figure(server, "ragapp_first_token_seconds_count") == 3
    assert figure(server, "ragapp_tokens_total", kind="prompt") == 9
    assert figure(server, "ragapp_tokens_total", kind="completion") == 6
    assert figure(server, "ragapp_answers_total", finish_reason="length") == 3


def test_seats_and_the_queue_are_what_they_are_now(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY, server__seats=1, server__queue=3)
    with server.streamed("held"), server.streamed("short"):
        held = figures(server)
        told = [
            held[f"ragapp_{name}", frozenset()] for name in ("seats", "seats_taken", "queue_places", "queue_length")
        ]
        assert told == [1, 1, 3, 1]
        assert held["ragapp_requests_open", frozenset()] == 3
        flows.RELEASE.set()
    until(lambda: figure(server, "ragapp_seats_taken") == 0)


def test_the_library_and_its_ingests_are_counted(folder: Path, tmp_path: Path) -> None:
    copied(folder, tmp_path / "library")
    with served(tmp_path / "library") as server:
        name = server.http.get("/v1/collections").json()["data"][0]["name"]
        assert figure(server, "ragapp_library_documents", collection=name) == 1
        assert figure(server, "ragapp_library_pages", collection=name) == 2
        files = [("file", ("a.txt", b"The valve is made of brass.")), ("file", ("b.txt", b"The hose is red."))]
        assert server.http.post("/v1/documents", files=files).status_code == 202
        until(lambda: figure(server, "ragapp_jobs", collection=name, kind="ingest", state="done") == 1, 20)
        for _ in range(2):  # looking does not count again
            assert figure(server, "ragapp_ingest_files_total", collection=name, outcome="done") == 2
            assert figure(server, "ragapp_ingest_pages_total", collection=name) == 2
        until(lambda: figure(server, "ragapp_library_documents", collection=name) == 3)
    with served(tmp_path / "library") as server:  # what an earlier server did is not this one's
        assert figure(server, "ragapp_ingest_files_total", collection=name, outcome="done") == 0
        assert figure(server, "ragapp_jobs", collection=name, kind="ingest", state="done") == 1


def test_apps_share_nothing(serve_with: ServeWith) -> None:
    one, other = serve_with(), serve_with()
    one.http.get("/v1/models")
    assert figure(one, "ragapp_requests_total", method="GET", route="/v1/models", status="200") == 1
    assert figure(other, "ragapp_requests_total", method="GET", route="/v1/models", status="200") == 0


def test_a_key_is_needed_where_there_are_keys(serve_with: ServeWith) -> None:
    server = serve_with(server__api_key="secret")
    assert server.http.get("/metrics").status_code == 401
    assert figures(server, Authorization="Bearer secret")


def test_every_name_is_a_good_one(real: Running) -> None:
    text = real.http.get("/metrics").text
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert {"ragapp_build_info", "process_open_fds"} <= names
    assert all(re.fullmatch(r"(ragapp|process)_[a-z_]+", name) for name in names)
