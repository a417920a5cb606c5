"""The roofline and the Llama path: what is counted, and small runs of the real thing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ragapp.eval import roofline
from tests import tiny_llama


@given(st.integers(1, 256))
def test_operations_are_those_of_the_products(tokens: int) -> None:
    def product(rows: int, inner: int, columns: int) -> int:
        return 2 * rows * inner * columns

    layer = (
        4 * product(tokens, 384, 384)
        + product(tokens, 384, 1536)
        + product(tokens, 1536, 384)
        + 12 * (product(tokens, 32, tokens) + product(tokens, tokens, 32))
    )
    assert roofline.operations(tokens) == 6 * layer


def test_the_embedder_has_a_roof() -> None:
    facts = roofline.embedding(1, 8, 0.05)
    assert facts["dtype"] in ("bfloat16", "float32")
    (roof,) = roofline.roofs_of({"embedding": facts})
    assert (roof.what, roof.unit) == ("embedding", "operations")
    assert roof.share > 0  # no more is sure: a busy machine disturbs the limit's measurement
    assert roofline.writing_of({"embedding": facts}) is None


def test_the_llama_is_measured_beside_transformers(tmp_path: Path) -> None:
    facts = roofline.writing(str(tiny_llama.make(tmp_path / "my-llama")), 2, 24, 6, 8)
    assert facts["model"] == "my-llama"
    found = roofline.writing_of({"writing": facts})
    assert found is not None
    for figures in (found.first_s, found.tokens_per_s):
        assert list(figures) == ["ragapp", "transformers"]
        assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in figures.values())
    assert list(found.lookup) == ["copying", "random"]
    assert all(len(ratios) == 2 for ratios in found.lookup.values())
    assert float(str(facts["limit"])) > 1e8


def test_roofs_take_the_best_of_both() -> None:
    events: Mapping[str, Any] = {
        "embedding": {
            "tokens_per_s": [50.0, 100.0, 80.0], "operations_a_token": 2e6, "limit": 4e8, "dtype": "float32",
            "tokens_a_text": 140.2,
        },
        "writing": {
            "tokens_per_s": {"ragapp": [5.0, 10.0], "transformers": [20.0, 20.0]}, "weights": 3_000_000,
            "limit": 6e7, "model": "m", "dtype": "bfloat16",
        },
    }  # fmt: skip
    decodes, embeds = roofline.roofs_of(events)
    assert (decodes.what, decodes.share) == ("decoding", 0.5)
    assert (embeds.what, embeds.share) == ("embedding", 0.5)
