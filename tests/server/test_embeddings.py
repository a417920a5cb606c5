"""/v1/embeddings, by OpenAI's client and by hand."""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

import numpy as np
import openai
import pytest

from ragapp.embedders import HashingEmbedder
from tests.server.conftest import Running


def test_the_client_reads_the_vectors(real: Running) -> None:
    """It asks for base64 by itself, and decodes it."""
    texts = ["How long is the warranty?", "保修期多长？", "x"]
    got = real.openai.embeddings.create(model="ragapp", input=texts)
    assert [each.index for each in got.data] == [0, 1, 2]
    wanted = HashingEmbedder().embed_documents(texts)
    assert np.allclose([each.embedding for each in got.data], wanted)
    counted = sum(len(HashingEmbedder().spans(text)) for text in texts)
    assert (got.model, got.usage.prompt_tokens, got.usage.total_tokens) == ("ragapp", counted, counted)


def test_numbers_and_bytes_are_the_same(real: Running) -> None:
    def vectors(encoding: str | None) -> Any:
        body = {"model": "ragapp", "input": "a pump", **({"encoding_format": encoding} if encoding else {})}
        return real.http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]

    numbers, data = vectors("float"), vectors("base64")
    assert vectors(None) == numbers
    assert np.allclose(np.frombuffer(base64.b64decode(data), dtype="<f4"), numbers)
    assert np.linalg.norm(numbers) == pytest.approx(1, abs=1e-6)


def test_the_order_stays_over_many_batches(real: Running) -> None:
    texts = [f"word{n}" for n in range(200)]
    got = real.openai.embeddings.create(model="ragapp", input=texts)
    assert np.allclose([each.embedding for each in got.data], HashingEmbedder().embed_documents(texts))


def test_the_embedder_may_be_named_by_its_fingerprint(real: Running) -> None:
    name = HashingEmbedder().fingerprint
    assert real.openai.embeddings.create(model=name, input="x", dimensions=256).model == name


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", " "]}, "input"),
        ({"input": []}, None),
        ({"input": ["x"] * 2049}, None),
        ({"input": "x" * 100_001}, "input"),
        ({"input": None}, None),
        ({"dimensions": 128}, None),
        ({"dimensions": 0}, None),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_what_cannot_be_embedded(real: Running, change: dict[str, Any], param: str | None) -> None:
    body = {"model": "ragapp", "input": "x", **change}
    with pytest.raises(openai.BadRequestError) as caught:
        real.openai.post("/embeddings", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    if param:
        assert (caught.value.param or "").startswith(param)


def test_tokens_are_refused_with_the_reason(real: Running) -> None:
    refused = real.http.post("/v1/embeddings", json={"model": "ragapp", "input": [[1, 2]]})
    assert "texts, not tokens" in refused.json()["error"]["message"]


def test_an_unknown_model(real: Running) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        real.openai.embeddings.create(model="text-embedding-3-small", input="x")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_half_a_character_is_no_reason_to_fail(real: Running) -> None:
    raw = b'{"model": "ragapp", "input": "last \\ud83d"}'
    assert real.http.post("/v1/embeddings", content=raw, headers={"Content-Type": "application/json"}).is_success


def test_no_seat_is_taken_and_others_are_answered_meanwhile(real: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(self: HashingEmbedder, texts: list[str]) -> Any:
        begun.set()
        assert go_on.wait(5)
        return np.ones((len(texts), 256), dtype=np.float32)

    monkeypatch.setattr(HashingEmbedder, "embed_documents", slow)
    body = {"model": "ragapp", "input": ["a"] * 200}
    asking = threading.Thread(target=lambda: real.http.post("/v1/embeddings", json=body))
    asking.start()
    assert begun.wait(5)
    started = time.monotonic()
    assert real.http.get("/v1/models").is_success
    assert time.monotonic() - started < 1
    assert real.gate.taken == 0
    go_on.set()
    asking.join(5)


def test_one_request_is_computed_at_a_time(real: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several would take the cores from the answers."""
    at_work, most = 0, 0
    counting = threading.Lock()

    def slow(self: HashingEmbedder, texts: list[str]) -> Any:
        nonlocal at_work, most
        with counting:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.05)
        with counting:
            at_work -= 1
        return np.ones((len(texts), 256), dtype=np.float32)

    monkeypatch.setattr(HashingEmbedder, "embed_documents", slow)
    body = {"model": "ragapp", "input": "x"}
    asking = [threading.Thread(target=lambda: real.http.post("/v1/embeddings", json=body)) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(5)
    assert most == 1
