"""What every answer carries: the rules for browsers, and the id of the request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.server.observing import request_id
from tests.server.conftest import PLAY, Running, ServeWith

PATHS = [
    ("GET", "/", 200), ("GET", "/healthz", 200), ("GET", "/openapi.json", 200), ("GET", "/nothing", 404),
    ("PUT", "/v1/search", 405), ("POST", "/v1/search", 400), ("GET", "/v1/collections", 200),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
def test_every_answer_says_what_a_browser_may_do_with_it(real: Running, method: str, path: str, status: int) -> None:
    answer = real.http.request(method, path)
    assert answer.status_code == status
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "microphone=()" in headers["permissions-policy"]
    assert headers["cache-control"] == ("no-cache" if path == "/" else "no-store")
    assert len(headers.get_list("content-security-policy")) == 1
    assert "server" not in headers


def test_refusals_and_bugs_are_no_exceptions(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY)
    for answer in (server.http.get("/healthz", headers={"Host": "x"}), server.ask("breaks_at_once"),
                   server.http.get("/v1/models", headers={"Host": "evil.example"})):  # fmt: skip
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"]


def test_the_id_of_a_request_is_the_clients_own_or_a_new_one(playing: Running) -> None:
    given = playing.http.get("/healthz", headers={"X-Request-Id": "my-id.7"})
    assert given.headers.get_list("x-request-id") == ["my-id.7"]
    made = {playing.http.get("/healthz").headers["x-request-id"] for _ in range(5)}
    assert len(made) == 5
    odd = playing.http.get("/healthz", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"]
    assert odd != "a b\tc"
    with playing.streamed("short") as response:
        assert response.headers["x-request-id"]


@given(st.text() | st.text("abc-._:", max_size=120))
def test_only_sane_ids_are_taken_over(text: str) -> None:
    taken = request_id(text)
    assert 0 < len(taken) <= 100
    assert taken.isascii()
    assert taken.isprintable()
    assert " " not in taken
