"""Search."""

from __future__ import annotations

import pytest

from tests.server.conftest import Running, ServeWith
from tests.server.slow import TORN


@pytest.mark.parametrize("name", ["question", "query"])
def test_search(real: Running, name: str) -> None:
    found = real.http.post("/v1/search", json={name: "How long is the warranty?", "k": 1}).json()
    assert found["warnings"] == []
    found = found["passages"]
    assert len(found) == 1
    first = found[0]
    assert set(first) == {
        "document", "document_id", "page", "start", "end", "label", "score", "text", "found_by", "boxes"
    }  # fmt: skip
    assert (first["document"], first["page"]) == ("pump.pdf", 2)
    assert "24 months" in first["text"]
    assert first["found_by"]["lexical"]["rank"] == 1
    assert first["boxes"][0]["x0"] == pytest.approx(72, abs=2)


def test_what_went_less_well_is_said(serve_with: ServeWith) -> None:
    server = serve_with(reranker__name=TORN)
    found = server.http.post("/v1/search", json={"question": "How long is the warranty?"}).json()
    assert found["passages"]
    (warning,) = found["warnings"]
    assert "weights.bin is damaged. The passages stand in the order of the search." in warning
    assert "/srv" not in warning


@pytest.mark.parametrize(("where", "found"), [(["pump*"], True), ("pump*", True), (["other*"], False), (None, True)])
def test_search_in_some_documents(real: Running, where: object, found: bool) -> None:
    answer = real.http.post("/v1/search", json={"question": "warranty", "where": where})
    assert bool(answer.json()["passages"]) == found


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_value"), ({"question": "x", "k": 0}, "invalid_value"), ({"question": ""}, "invalid_question"),
        ({"question": "x" * 9000}, "invalid_question"), ([], "invalid_value"),
    ],
)  # fmt: skip
def test_wrong_searches(real: Running, body: object, code: str) -> None:
    refused = real.http.post("/v1/search", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)
