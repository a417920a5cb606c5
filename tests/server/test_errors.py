"""The table of errors."""

from __future__ import annotations

import pytest

from ragapp import errors
from ragapp.errors import Overloaded, RagappError
from ragapp.server.errors import TABLE, ErrorTable
from tests.server.conftest import Running


def _all(kind: type[RagappError]) -> list[type[RagappError]]:
    return [kind, *(child for sub in kind.__subclasses__() for child in _all(sub))]


def test_every_error_has_a_row() -> None:
    assert {kind for kind in _all(RagappError) if kind.__module__ == errors.__name__} == set(TABLE)


@pytest.mark.parametrize("kind", list(TABLE), ids=lambda kind: kind.__name__)
def test_the_answer_carries_status_and_hint(kind: type[RagappError]) -> None:
    answer = ErrorTable().response(kind("What happened.", "What to do."))
    assert answer.status_code == kind.status
    error = ErrorTable().body(kind("What happened.", "What to do."))["error"]
    assert (error["message"], error["hint"], error["type"], error["code"]) == (
        "What happened.", "What to do.", *TABLE[kind],
    )  # fmt: skip


def test_retry_after() -> None:
    assert ErrorTable().response(Overloaded("Full.", retry_after=7)).headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The library /home/jane doe/docs/.ragapp is newer.", "The library .ragapp is newer."),
        ("(/etc/ssl/key.pem)", "(key.pem)"),
        ("'C:\\Users\\jane\\llama' failed", "'llama' failed"),
        ("~/llama, ./models/llama and ../x/llama failed", "llama, llama and llama failed"),
        ("file:///srv/llama is gone", "llama is gone"),
        (
            "meta-llama/Llama-3 and/or http://127.0.0.1/v1 with 3/4",
            "meta-llama/Llama-3 and/or http://127.0.0.1/v1 with 3/4",
        ),
    ],
)
def test_no_path_is_shown(text: str, shown: str) -> None:
    assert ErrorTable(["/home/jane doe/docs/.ragapp", "/home/jane doe"]).without_paths(text) == shown


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/v1/search", 405), ("GET", "/docs", 404)]
)
def test_what_the_framework_refuses_has_the_same_shape(real: Running, method: str, path: str, status: int) -> None:
    refused = real.http.request(method, path)
    assert refused.status_code == status
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert refused.headers.get("allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize("content", [b"{", b'{"question": "\xff"}', b""])
def test_what_is_not_json(real: Running, content: bytes) -> None:
    refused = real.http.post("/v1/search", content=content, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "invalid_request_error"


def test_the_servers_own_addresses_stay_in_a_hint() -> None:
    assert ErrorTable().without_paths("GET /v1/conversations lists them.") == "GET /v1/conversations lists them."
    assert ErrorTable().without_paths("in /srv/v1/secret/a.pdf") == "in a.pdf"
