"""From a model's name to a network: what headers tell first, what it needs, where it goes, what is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import loading, modelfiles
from ragapp.errors import ConfigError, ModelError
from ragapp.loading import Files, Need, Place
from tests import tiny_gguf, tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.make(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def sharded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model in several files."""
    from transformers import AutoModelForCausalLM

    where = Path(shutil.copytree(folder, tmp_path_factory.mktemp("sharded") / "model"))
    (where / "model.safetensors").unlink()
    with loading.quietly("The model cannot be split"):
        AutoModelForCausalLM.from_pretrained(folder).save_pretrained(where, max_shard_size="200KB")
    return where


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def configure(folder: Path, **more: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))


# -- what is loaded --------------------------------------------------------------------------------------------------


def test_a_folder_is_loaded(folder: Path) -> None:
    loaded = loading.load(str(folder), device="cpu", dtype="float32")
    assert (loaded.device, loaded.dtype, loaded.kind, loaded.folder) == ("cpu", "float32", "safetensors", folder)
    assert (loaded.quantized, loaded.spread) == ("", False)
    assert str(loaded.network.dtype) == "torch.float32"
    assert not loaded.network.training
    assert loaded.tokenizer.chat_template == tiny_llama.CHAT_TEMPLATE
    assert loading.window_of(str(folder)) == 512


def test_a_model_in_several_files_is_the_same_model(folder: Path, sharded: Path) -> None:
    import torch

    assert len(modelfiles.shards(sharded)) > 2
    loading.check(str(sharded))
    one, many = (loading.load(str(f), dtype="float32").network.state_dict() for f in (folder, sharded))
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    assert loading.need(Files(folder), "float32") == loading.need(Files(sharded), "float32")


def test_files_of_two_versions_are_noticed(sharded: Path, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(sharded, tmp_path / "mixed"))
    first, second, *_ = modelfiles.shards(mixed)
    shutil.copy(second, first)
    with pytest.raises(ModelError, match=rf"{first.name} does not hold .*, which the index says"):
        loading.check(str(mixed))


@pytest.mark.parametrize("named", [{}, {"a": "../elsewhere.safetensors"}, ["a"], {"a": 5}])
def test_an_index_that_is_none(copy: Path, named: Any) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    with pytest.raises(ModelError, match=r"names no weights|outside its folder"):
        loading.check(str(copy))


def test_code_that_comes_with_a_model_is_not_run(copy: Path) -> None:
    (copy / "evil.py").write_text("raise SystemExit('it ran')")
    configure(copy, model_type="evil", auto_map={"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Config"})
    with pytest.raises(ModelError, match="cannot be loaded"):
        loading.load(str(copy))


def test_advice_for_writing_that_a_folder_brings_is_left_aside(folder: Path, copy: Path) -> None:
    advice = {"repetition_penalty": 9.0, "num_beams": 2, "no_repeat_ngram_size": 1, "do_sample": True, "top_k": 3}
    (copy / "generation_config.json").write_text(json.dumps({**advice, "temperature": 4.0, "eos_token_id": [2, 7]}))
    written, ends = [], []
    for each in (folder, copy):
        loaded = loading.load(str(each), device="cpu", dtype="float32")
        prompt = loaded.tokenizer("What is it?", return_tensors="pt").input_ids
        written.append(loaded.network.generate(prompt, max_new_tokens=30, eos_token_id=None, pad_token_id=0).tolist())
        ends.append(loaded.network.generation_config.eos_token_id)
    assert written[0] == written[1]
    assert ends[1] == [2, 7] != ends[0]


def test_a_device_that_is_not_there_is_told_before_anything_is_loaded(folder: Path) -> None:
    with pytest.raises(ModelError, match="has no device cuda:99"):
        loading.load(str(folder), device="cuda:99")
    with pytest.raises(ConfigError, match="'grafics' is no device"):
        loading.load(str(folder), device="grafics")


def test_a_tensor_that_is_not_there_is_no_noise(copy: Path) -> None:
    configure(copy, num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"lack 9 tensors, model\.layers\.2"):
        loading.load(str(copy))


def test_the_library_is_quiet_again_afterwards(folder: Path) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with pytest.raises(ModelError, match=r"^It failed: out of memory"), loading.quietly("It failed"):
        raise MemoryError
    with pytest.raises(ModelError, match=r"^It failed: no module") as caught, loading.quietly("It failed"):
        raise ImportError("no module kernels")
    assert "Install" in caught.value.hint
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# -- quantised checkpoints -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("about", "method", "package"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq", "gptqmodel"),
        ({"quant_method": "AWQ", "bits": 4}, "awq", "gptqmodel"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", "bitsandbytes"),
        ({"load_in_8bit": True}, "bitsandbytes", "bitsandbytes"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors", "compressed-tensors"),
        ({"quant_method": "of-tomorrow"}, "of-tomorrow", "accelerate"),
    ],
)
def test_a_quantised_checkpoint_says_what_it_wants_before_it_is_loaded(
    copy: Path, about: dict[str, Any], method: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(copy, quantization_config=about)
    assert loading.quantization(copy) == method
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=f"quantised with {method}, which needs {package}") as caught:
        loading.check(str(copy))
    assert caught.value.hint.startswith(f"pip install {package}")
    assert "GGUF" in caught.value.hint
    with pytest.raises(ConfigError, match=f"quantised already \\({method}\\)"):
        loading.check(str(copy), quantize="int8")
    monkeypatch.setattr(loading, "find_spec", lambda _: "there")
    loading.check(str(copy))


def test_quantising_wants_its_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name == "bitsandbytes" else "there")
    with pytest.raises(ModelError, match="quantize = int4 needs bitsandbytes") as caught:
        loading.check(str(folder), quantize="int4")
    assert "accelerate" not in caught.value.hint


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_quantising_while_loading(folder: Path, quantize: str) -> None:
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    loaded = loading.load(str(folder), device="cpu", quantize=quantize)
    assert loaded.quantized == "bitsandbytes"
    linear = loaded.network.model.layers[0].mlp.up_proj
    assert linear.weight.dtype.itemsize == 1
    loaded.network.generate(loaded.tokenizer("The", return_tensors="pt").input_ids, max_new_tokens=2)


# -- GGUF ------------------------------------------------------------------------------------------------------------


def test_a_gguf_file_wants_its_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tiny_gguf.write(tmp_path / "m.gguf")
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    for act in (loading.check, loading.load, loading.load_tokenizer):
        with pytest.raises(ModelError, match="is a GGUF file, and what reads those is not installed") as caught:
            act(str(file))
        assert "pip install gguf accelerate" in caught.value.hint
        assert "llama-cpp-python" in caught.value.hint
    assert loading.window_of(str(tmp_path)) == 512
    with pytest.raises(ConfigError, match="quantised already"):
        loading.check(str(file), quantize="int8")


def test_a_gguf_file_is_unpacked_and_loaded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    gguf = pytest.importorskip("gguf")
    if find_spec("accelerate") is None:
        pytest.skip("transformers reads GGUF files with accelerate only")
    file = real_gguf(gguf, tmp_path / "tiny.gguf")
    loading.check(str(tmp_path), device="cpu")
    loaded = loading.load(str(tmp_path), device="cpu", dtype="float32")
    assert (loaded.kind, loaded.quantized, loaded.folder) == ("gguf", "", tmp_path)
    assert loaded.tokenizer.chat_template == tiny_gguf.TEMPLATE
    numbers = sum(weights.numel() for weights in loaded.network.parameters())
    assert loading.need(Files(tmp_path, file), "float32").weights == 4 * numbers
    loaded.network.generate(loaded.tokenizer("a b", return_tensors="pt").input_ids, max_new_tokens=2)
    assert capfd.readouterr().err == ""


def real_gguf(gguf: Any, file: Path) -> Path:
    """A Llama with random weights, written by the format's own library."""
    import numpy as np

    width, inner, heads, groups = 64, 128, 4, 2
    words = [f"<0x{n:02X}>" for n in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *words, *(f"▁{chr(97 + n)}" for n in range(26))]
    writer, dice = gguf.GGUFWriter(str(file), "llama"), np.random.default_rng(7)
    for add, value in (
        (writer.add_context_length, 512), (writer.add_embedding_length, width), (writer.add_block_count, 2),
        (writer.add_feed_forward_length, inner), (writer.add_head_count, heads), (writer.add_head_count_kv, groups),
        (writer.add_layer_norm_rms_eps, 1e-5), (writer.add_rope_dimension_count, width // heads),
        (writer.add_vocab_size, len(tokens)), (writer.add_rope_freq_base, 10000.0),
        (writer.add_tokenizer_model, "llama"), (writer.add_token_list, [token.encode() for token in tokens]),
        (writer.add_token_scores, [-float(n) for n in range(len(tokens))]),
        (writer.add_token_types, [2, 3, 3, *[6] * 256, *[1] * 26]), (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2), (writer.add_unk_token_id, 0), (writer.add_chat_template, tiny_gguf.TEMPLATE),
    ):  # fmt: skip
        add(value)
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (len(tokens), width), "output": (len(tokens), width)}
    for layer in range(2):
        for name, shape in (
            ("attn_q", (width, width)), ("attn_k", (width * groups // heads, width)), ("attn_output", (width, width)),
            ("attn_v", (width * groups // heads, width)), ("ffn_gate", (inner, width)), ("ffn_up", (inner, width)),
            ("ffn_down", (width, inner)), ("attn_norm", (width,)), ("ffn_norm", (width,)),
        ):  # fmt: skip
            shapes[f"blk.{layer}.{name}"] = shape
    for name, shape in {**shapes, "output_norm": (width,)}.items():
        writer.add_tensor(f"{name}.weight", dice.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


# -- memory ----------------------------------------------------------------------------------------------------------


def test_what_a_model_needs(folder: Path, copy: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        sizes = {name: file.get_tensor(name).numel() for name in file.keys()}  # noqa: SIM118
    numbers = sum(sizes.values())
    cache = 2 * 2 * 2 * 16  # keys and values, layers, heads of them, width
    files = Files(folder)
    assert loading.need(files, "float32") == Need(4 * numbers, 4 * 512 * cache)
    assert loading.need(files, "bfloat16", window=100) == Need(2 * numbers, 2 * 100 * cache)
    assert loading.need(files, "float16", window=100_000).cache == 2 * 8192 * cache
    kept = sum(size for name, size in sizes.items() if any(word in name for word in ("embed", "lm_head", "norm")))
    assert loading.need(files, "bfloat16", "int4").weights == 2 * kept + int((numbers - kept) * 4.5 / 8)
    configure(copy, quantization_config={"quant_method": "gptq"})
    assert loading.need(Files(copy), "bfloat16").weights == 4 * numbers  # as it lies in the file
    assert Need(100, 50).total == 180


def test_memory_is_compared_before_anything_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = loading.need(Files(folder), "float32").total
    monkeypatch.setattr(modelfiles, "free_memory", lambda: wanted)
    loading.check(str(folder), device="cpu", dtype="float32")
    monkeypatch.setattr(modelfiles, "free_memory", lambda: wanted - 1)
    for act in (loading.check, loading.load):
        with pytest.raises(ModelError, match=r"needs about 0\.9 MB of memory \(0\.5 MB of weights") as caught:
            act(str(folder), device="cpu", dtype="float32")
        assert "lower context_tokens" in caught.value.hint
    loading.check(str(folder), device="cpu", dtype="bfloat16")
    loading.check(str(folder), device="cpu", dtype="float32", window=64)
    loading.check(str(folder), device="cuda", dtype="float32")  # an accelerator's is known when torch is


def test_a_container_has_less_memory_than_its_machine(tmp_path: Path) -> None:
    def limits(most: str) -> int | None:
        for name, content in (
            ("memory.max", most), ("memory.current", "600"), ("memory.stat", "anon 500\ninactive_file 90\n"),
        ):  # fmt: skip
            (tmp_path / name).write_text(content)
        return modelfiles._free_of_container(tmp_path)

    assert [limits("1000\n"), limits("max\n"), limits("100\n")] == [490, None, 0]
    assert modelfiles._free_of_container(tmp_path / "absent") is None


GPUS = st.lists(st.integers(0, 100), max_size=4)


@given(device=st.sampled_from(["auto", "cuda", "cpu", "mps", "cuda:1"]), size=st.integers(1, 200), gpus=GPUS, accelerate=st.booleans())  # fmt: skip  # noqa: E501
def test_places(device: str, size: int, gpus: list[int], accelerate: bool) -> None:
    where = loading.place(device, size, gpus, accelerate=accelerate)
    if device not in {"auto", "cuda"} or not gpus:
        assert where == Place("cpu" if device == "auto" else device)
    elif max(gpus) >= size:
        fits = next(n for n, free in enumerate(gpus) if free >= size)
        assert where == Place(f"cuda:{fits}" if fits else "cuda")
    else:
        assert where.spread == accelerate
        assert where.device.startswith("cuda")


def test_what_does_not_fit_is_told_with_figures_and_advice() -> None:
    wanted, files = Need(9_000_000_000, 1_000_000_000), Files(Path("model"))
    for where, gpus, ram, free in (
        (Place("cuda:1"), [90 * 10**9, 8 * 10**9], 90 * 10**9, "8.0 GB are free on cuda:1"),
        (Place("cuda"), [8 * 10**9], None, "8.0 GB are free on cuda"),
        (Place("cuda", spread=True), [5 * 10**9, 3 * 10**9], 2 * 10**9, "10.0 GB are free on cuda"),
        (Place("cpu"), [90 * 10**9], 11 * 10**9, "11.0 GB are free on cpu"),
    ):
        with pytest.raises(ModelError, match=r"needs about 12\.0 GB") as caught:
            loading.fit(files, wanted, where, gpus, ram)
        assert free in caught.value.message
        assert ("pip install accelerate" in caught.value.hint) == (where.device != "cpu" and not where.spread)
    loading.fit(files, wanted, Place("cuda", spread=True), [5 * 10**9], 7 * 10**9)
    loading.fit(files, wanted, Place("cpu"), [], None)
    loading.fit(files, wanted, Place("mps"), [], 1)


# -- what can be known from names ------------------------------------------------------------------------------------


def test_windows(copy: Path) -> None:
    configure(copy, max_position_embeddings=None, text_config={"seq_length": 77})
    assert loading.window_of(str(copy)) == 77
    configure(copy, text_config={"x": 1})
    with pytest.raises(ModelError, match="does not say how long the model's window is") as caught:
        loading.window_of(str(copy))
    assert caught.value.hint == "Set context_tokens."


def test_a_hub_id_is_not_asked_for_when_that_is_not_allowed() -> None:
    for act in (loading.check, loading.window_of, loading.load_tokenizer, loading.load):
        with pytest.raises(ModelError, match="no folder nobody/no-such-llama here, and the hub cannot be reached"):
            act("nobody/no-such-llama", may_go_online=False)


def test_numbers_and_devices_that_auto_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelfiles, "cpu_has_bf16", lambda: False)
    assert loading.dtype_of("auto", "cpu") == "float32"
    monkeypatch.setattr(modelfiles, "cpu_has_bf16", lambda: True)
    assert loading.dtype_of("auto", "cpu") == "bfloat16"
    assert loading.dtype_of("auto", "mps") == "float16"
    assert loading.dtype_of("float32", "mps") == "float32"
    assert loading.device_of("mps") == "mps"
    assert loading.on_cpu("cpu")
    assert not loading.on_cpu("cuda")


# -- the program's end -------------------------------------------------------------------------------------------------


def test_a_program_that_ends_while_a_model_is_loaded_ends_in_good_order(folder: Path) -> None:
    """A thread that is inside torch when Python takes itself apart would end it by abort."""
    code = f"""
import threading, time, torch
from ragapp import loading

begun, load = threading.Event(), loading._network

def slow(*args):
    begun.set()
    until, numbers = time.monotonic() + 0.5, torch.ones(300, 300)
    while time.monotonic() < until:
        numbers @ numbers
    return load(*args)

loading._network = slow
threading.Thread(target=loading.load, args=({str(folder)!r}, "cpu"), daemon=True).start()
assert begun.wait(60)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
