"""Headers of GGUF files: what they say, which file a name means, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragapp import ggufs
from ragapp.errors import ModelError
from tests import tiny_gguf

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(0, 2**64 - 1)
SCALARS = st.one_of(st.booleans(), NUMBERS, st.floats(allow_nan=False), TEXT)
LISTS = st.one_of(st.lists(NUMBERS, max_size=5), st.lists(TEXT, max_size=5))
ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def test_a_header_is_read(tmp_path: Path) -> None:
    header = ggufs.check(tiny_gguf.write(tmp_path / "m.gguf"))
    assert (header.architecture, header.window, header.chat_template) == ("llama", 512, tiny_gguf.TEMPLATE)
    assert (header.weights, header.numbers) == (2560 + 20 * 34, 1280)
    assert header.cache_numbers() == 2 * 2 * (16 + 16)  # layers, heads of keys, width of keys and of values
    assert header.metadata["tokenizer.ggml.tokens"] == tuple(tiny_gguf.TOKENS)


def test_figures_that_differ_by_layer_count_at_their_largest(tmp_path: Path) -> None:
    metadata = {**tiny_gguf.METADATA, "llama.attention.head_count_kv": [1, 4], "llama.attention.key_length": 32}
    header = ggufs.read(tiny_gguf.write(tmp_path / "m.gguf", metadata))
    assert header.cache_numbers() == 2 * 4 * (32 + 32)


@ANY
@given(metadata=st.dictionaries(TEXT, SCALARS | LISTS, max_size=6))
def test_what_was_written_is_read(tmp_path: Path, metadata: dict[str, Any]) -> None:
    metadata.pop("general.alignment", None)
    ggufs._remembered.cache_clear()  # the file system's clock may stand still between two examples
    header = ggufs.read(tiny_gguf.write(tmp_path / "m.gguf", metadata))
    assert dict(header.metadata) == {k: tuple(v) if isinstance(v, list) else v for k, v in metadata.items()}
    assert header.numbers == 1280


def test_long_lists_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(5000)]
    file = tiny_gguf.write(tmp_path / "m.gguf", {"a.words": words, "a.kinds": list(range(5000)), "last": "x"})
    about = ggufs.read(file).metadata
    assert about == {"a.words.length": 5000, "a.kinds.length": 5000, "last": "x"}
    assert ggufs.read(file, ["a.words"]).metadata["a.words"] == tuple(words)


@ANY
@given(cut=st.integers(0, 3000), junk=st.binary(max_size=12), at=st.integers(0, 3000))
def test_damage_is_an_error_or_nothing(tmp_path: Path, cut: int, junk: bytes, at: int) -> None:
    whole = tiny_gguf.write(tmp_path / "whole.gguf").read_bytes()
    for name, content in (("cut", whole[:cut]), ("junk", whole[:at] + junk + whole[at + len(junk) :])):
        file = tmp_path / f"{name}.gguf"
        file.write_bytes(content)
        ggufs._remembered.cache_clear()
        try:
            header = ggufs.read(file)
        except ModelError:
            continue
        assert name == "junk" or cut >= len(content)
        assert header.weights <= len(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1", "does not begin with GGUF"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 0, 0), "its version is 1"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 2**60, 0), "not a GGUF file"),
        (struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**62), "a length of"),
        (struct.pack("<4sIQQQ1sI", b"GGUF", 3, 0, 1, 1, b"k", 99), "the unknown type 99"),
        (struct.pack("<4sIQQQ1sIIQQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 8, 5000, 2**64 - 1) + bytes(5000), "not a GGUF"),
    ],
)
def test_what_is_no_gguf_file(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        ggufs.read(file)


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    file = tiny_gguf.write(tmp_path / "m.gguf", {"a": 1})
    assert dict(ggufs.read(file).metadata) == {"a": 1}
    assert dict(ggufs.read(tiny_gguf.write(file, {"a": 1, "b": 2})).metadata) == {"a": 1, "b": 2}


def test_weights_that_are_cut_short(tmp_path: Path) -> None:
    file = tiny_gguf.write(tmp_path / "m.gguf")
    ggufs.read(file)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ModelError, match="are cut short"):
        ggufs.read(file)
    tiny_gguf.write(file, tensors={"a": ((64,), 77)})
    with pytest.raises(ModelError, match="the tensor a has the unknown type 77"):
        ggufs.read(file)


@pytest.mark.parametrize(
    ("key", "message"), [("llama.context_length", "no language model"), ("tokenizer.chat_template", "no chat template")]
)
def test_models_that_cannot_answer(tmp_path: Path, key: str, message: str) -> None:
    metadata = {name: value for name, value in tiny_gguf.METADATA.items() if name != key}
    with pytest.raises(ModelError, match=message):
        ggufs.check(tiny_gguf.write(tmp_path / "m.gguf", metadata))


def test_which_file_is_meant(tmp_path: Path) -> None:
    file = tiny_gguf.write(tmp_path / "one" / "m.GGUF")
    assert ggufs.find(str(file)) == ggufs.find(str(file.parent)) == file
    assert ggufs.find(str(tmp_path)) is ggufs.find("org/name") is None
    tiny_gguf.write(file.parent / "mmproj-m.gguf")
    assert ggufs.find(str(file.parent)) == file
    tiny_gguf.write(file.parent / "other.gguf")
    with pytest.raises(ModelError, match=r"several GGUF files: m\.GGUF, other\.gguf"):
        ggufs.find(str(file.parent))
    (file.parent / "config.json").write_text("{}")
    assert ggufs.find(str(file.parent)) is None
    with pytest.raises(ModelError, match="There is no GGUF file"):
        ggufs.find(str(tmp_path / "absent.gguf"))


def test_a_model_in_parts(tmp_path: Path) -> None:
    first = tiny_gguf.write(tmp_path / "m-00001-of-00002.gguf")
    with pytest.raises(ModelError, match=r"lacks its part m-00002-of-00002\.gguf"):
        ggufs.read(first)
    second = tiny_gguf.write(tmp_path / "m-00002-of-00002.gguf", {})
    assert ggufs.find(str(tmp_path)) == ggufs.find(str(first)) == ggufs.find(str(second)) == first
    header = ggufs.read(first)
    assert (header.numbers, header.window) == (2 * 1280, 512)


def test_sizes_of_blocks_are_those_of_the_format() -> None:
    theirs = pytest.importorskip("gguf").GGML_QUANT_SIZES
    assert {int(kind): size for kind, size in theirs.items() if int(kind) in ggufs._BLOCKS} == dict(ggufs._BLOCKS)
