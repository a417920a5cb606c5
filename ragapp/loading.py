"""From a model's name to a network and a tokenizer in memory: folders, hub ids, quantised checkpoints, GGUF files.

Whatever can be known from file names and headers is known before torch is imported: which files are missing, which
library a quantised checkpoint wants, and how much memory the model needs. Only safetensors and GGUF are loaded, no code
that comes with a model is run, and the hub is asked only for a model that the user named by its hub id.

Not covered: adapters (LoRA), models with pictures or sound, weights left on disk.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ragapp import ggufs, modelfiles
from ragapp.errors import ConfigError, ModelError

Kind = Literal["safetensors", "gguf"]

_WINDOW_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_CACHE_TOKENS = 8192  # the cache grows with the conversation; for this many tokens there must be room from the start
_OVERHEAD = 1.2  # activations, the tokenizer, what allocators waste
_QUANTIZED_BITS = {"int8": 8.0, "int4": 4.5}  # NF4 keeps a scale for every 64 numbers
_BITSANDBYTES = ("bitsandbytes", "accelerate")
# What transformers needs for each kind of quantised checkpoint: modules, which are also what pip calls them.
_LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "bitsandbytes": _BITSANDBYTES,
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel", "accelerate"),
    "compressed-tensors": ("compressed_tensors",),
    "torchao": ("torchao",),
    "hqq": ("hqq", "accelerate"),
    "aqlm": ("aqlm", "accelerate"),
}
_OTHERWISE = "name the model's unquantised version, a GGUF file of it, or a server that runs it (http://…)."
# Transformers sets torch's default numbers for the whole process while it loads: two models at once get each other's.
_ONE_AT_A_TIME = threading.Lock()
_PATIENCE_S = 10.0  # for the model that is being loaded when the program ends


@atexit.register
def _wait_for_a_load() -> None:
    """At Python's end: a thread that is inside torch when Python takes itself apart would end the program by abort.

    The lock is kept, so that no other load begins.
    """
    _ONE_AT_A_TIME.acquire(timeout=_PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory. ``quantized`` names what holds the weights in fewer bits, "" for plain ones; ``spread`` says
    that they lie on several devices, and that the network must not be moved."""

    network: Any
    tokenizer: Any
    folder: Path
    kind: Kind
    device: str
    dtype: str
    quantized: str = ""
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Files:
    """Where a model's files are; ``gguf`` is its file, or None for a folder of safetensors."""

    folder: Path
    gguf: Path | None = None

    @property
    def kind(self) -> Kind:
        return "gguf" if self.gguf else "safetensors"

    def __str__(self) -> str:
        return str(self.gguf or self.folder)


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a model takes: its weights, the keys and values of its window, and a fifth more."""

    weights: int
    cache: int

    @property
    def total(self) -> int:
        return int(_OVERHEAD * (self.weights + self.cache))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a network goes: one ``device``, or, ``spread``, as many as accelerate finds."""

    device: str
    spread: bool = False


# -- before anything is loaded ---------------------------------------------------------------------------------------


def check(
    model: str, device: str = "auto", dtype: str = "auto", quantize: str = "none", window: int | None = None,
    *, may_go_online: bool = False,
) -> None:  # fmt: skip
    """Find out cheaply whether a model can be used: no torch, and of the weights only the headers are read.

    Raises ModelError with what is missing and what to do, and ConfigError for a quantised model that shall be quantised
    again. A hub id that is not in the cache costs one look at the hub (its small files). ``window`` is that of the
    caller, the model's own if None. Of memory only the processor's is known here; ``load`` knows an accelerator's.
    """
    files = _found(model, weights=True)
    if files is None:
        folder = modelfiles.fetch(model, weights=False, may_go_online=may_go_online)
        modelfiles.check_files(folder, weights=False)
        check_libraries(Files(folder), quantize)
        return
    check_files(files)
    check_libraries(files, quantize)
    if on_cpu(device):
        fit(files, need(files, _cpu_dtype(dtype), quantize, window), Place("cpu"), [], modelfiles.free_memory())


def check_files(files: Files) -> None:
    """Raise ModelError for the first thing that the files of a model lack."""
    if files.gguf:
        ggufs.check(files.gguf)
    else:
        modelfiles.check_files(files.folder, weights=True)


def check_libraries(files: Files, quantize: str) -> None:
    """Raise ModelError when a library is missing that this model cannot be loaded without, and say which."""
    method = "GGUF" if files.gguf else quantization(files.folder)
    if quantize != "none":
        if method:
            raise ConfigError(
                f"The model in {files} is quantised already ({method}).", 'Set quantize = "none", or name the original.'
            )
        _want(_BITSANDBYTES, f"quantize = {quantize} needs {{}}", 'set quantize = "none", or ' + _OTHERWISE)
    elif files.gguf:
        _want(
            ("gguf", "accelerate"), f"{files} is a GGUF file, and what reads those is not installed: {{}}",
            "better, which keeps it quantised: pip install llama-cpp-python. Or name the model's safetensors version.",
        )  # fmt: skip
    elif method:
        _want(
            _LIBRARIES.get(method, ("accelerate",)),
            f"The model in {files} is quantised with {method}, which needs {{}}",
            _OTHERWISE,
        )


def _want(modules: Sequence[str], message: str, otherwise: str) -> None:
    missing = [module.replace("_", "-") for module in modules if find_spec(module) is None]
    if missing:
        raise ModelError(
            f"{message.format(' and '.join(missing))}.", f"pip install {' '.join(missing)}; or {otherwise}"
        )


def quantization(folder: Path) -> str:
    """How a checkpoint is quantised ("gptq", "bitsandbytes", …), as its config says; "" for plain weights."""
    about = modelfiles.read_json(folder / "config.json").get("quantization_config")
    if not isinstance(about, dict):
        return ""
    by_bits = "bitsandbytes" if about.get("load_in_4bit") or about.get("load_in_8bit") else "unknown"
    return str(about.get("quant_method") or by_bits).lower()


def window_of(model: str, *, may_go_online: bool = False) -> int:
    """The most tokens that prompt and answer may have together, as the model's config or header says."""
    files = find(model, weights=False, may_go_online=may_go_online)
    found = _window(files)
    if found is None:
        raise ModelError(f"{_config_of(files)} does not say how long the model's window is.", "Set context_tokens.")
    return found


def _config_of(files: Files) -> Path:
    return files.gguf or files.folder / "config.json"


def _window(files: Files) -> int | None:
    if files.gguf:
        return ggufs.read(files.gguf).window
    config = _text_config(files.folder)
    return next((int(config[key]) for key in _WINDOW_KEYS if isinstance(config.get(key), int)), None)


def _text_config(folder: Path) -> dict[str, Any]:
    config = modelfiles.read_json(folder / "config.json")
    return config.get("text_config") or config


def find(model: str, *, weights: bool, may_go_online: bool = False) -> Files:
    """Where the model's files are; fetches a hub model's first, the weights only when they are asked for."""
    found = _found(model, weights=weights)
    return found or Files(modelfiles.fetch(model, weights=weights, may_go_online=may_go_online))


def _found(model: str, *, weights: bool) -> Files | None:
    gguf = ggufs.find(model)
    if gguf is not None:
        return Files(gguf.parent, gguf)
    folder = modelfiles.local_folder(model) or modelfiles.cached(model, weights=weights)
    return Files(folder) if folder else None


# -- memory ----------------------------------------------------------------------------------------------------------


def need(files: Files, dtype: str, quantize: str = "none", window: int | None = None) -> Need:
    """What a model takes, from its headers: as it is stored where it is quantised, else in ``dtype``.

    transformers unpacks a GGUF file, so its numbers count in ``dtype`` too. The cache counts for the window, and for
    8,192 tokens where that is longer.
    """
    width = 4 if dtype == "float32" else 2
    tokens = min(window or _window(files) or _CACHE_TOKENS, _CACHE_TOKENS)
    if files.gguf:
        header = ggufs.read(files.gguf)
        return Need(header.numbers * width, header.cache_numbers() * tokens * width)
    if quantization(files.folder):
        weights = sum(modelfiles.weight_bytes(shard, None) for shard in modelfiles.shards(files.folder))
    else:
        weights = sum(_bytes_in(shard, width, quantize) for shard in modelfiles.shards(files.folder))
    return Need(weights, _cache_numbers(_text_config(files.folder)) * tokens * width)


def _bytes_in(shard: Path, width: int, quantize: str) -> int:
    """A file's weights in memory. What is quantised while loading are the linear layers, not embedding and head."""
    whole = modelfiles.weight_bytes(shard, 8 * width)
    if quantize == "none":
        return whole
    kept = modelfiles.weight_bytes(shard, 8 * width, only=("embed", "lm_head", "norm"))
    return kept + int((whole - kept) / (8 * width) * _QUANTIZED_BITS[quantize])


def _cache_numbers(config: Mapping[str, Any]) -> int:
    """Numbers that keys and values of one token take in all layers; 0 where the config does not say."""

    def whole(*names: str) -> int:
        return next((config[name] for name in names if isinstance(config.get(name), int)), 0)

    heads = whole("num_attention_heads", "n_head")
    width = whole("head_dim") or whole("hidden_size", "n_embd") // max(heads, 1)
    return 2 * whole("num_hidden_layers", "n_layer") * (whole("num_key_value_heads") or heads) * width


def place(device: str, bytes_: int, gpus: Sequence[int], *, accelerate: bool) -> Place:
    """Where a model of that size goes; ``gpus`` are the bytes that are free on each CUDA device.

    One device where it fits, several (and the processor's memory) only where it does not and accelerate is there.
    """
    if device not in {"auto", "cuda"} or not gpus:
        return Place("cpu" if device == "auto" else device)
    best = max(range(len(gpus)), key=lambda gpu: (gpus[gpu] >= bytes_, -gpu if gpus[gpu] >= bytes_ else gpus[gpu]))
    if gpus[best] >= bytes_ or not accelerate:
        return Place("cuda" if best == 0 else f"cuda:{best}")
    return Place("cuda", spread=True)


def fit(files: Files, wanted: Need, where: Place, gpus: Sequence[int], ram: int | None) -> None:
    """Raise ModelError, with figures, when a model exceeds what is free at its place; what is not known fits."""
    if where.device.startswith("cuda"):
        free: int | None = sum(gpus) + (ram or 0) if where.spread else gpus[int(where.device.partition(":")[2] or 0)]
    else:
        free = ram if where.device == "cpu" else None
    if free is None or wanted.total <= free:
        return
    advice = [
        "Close other programs, use a smaller model or a quantised one (GGUF, quantize = int4), or lower context_tokens"
    ]
    if where.device.startswith("cuda") and not where.spread:
        advice.append("pip install accelerate spreads it over all devices, device = cpu uses the machine's memory")
    raise ModelError(
        f"The model in {files} needs about {_gb(wanted.total)} of memory ({_gb(wanted.weights)} of weights, "
        f"{_gb(wanted.cache)} for what it has read, and a fifth more), and {_gb(free)} are free on {where.device}.",
        "; ".join(advice) + "; bfloat16 needs half of float32.",
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.1f} MB"


def on_cpu(device: str) -> bool:
    """Whether a device setting means the processor, as far as can be said without torch."""
    accelerator = Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or sys.platform == "darwin"
    return device == "cpu" or (device == "auto" and not accelerator)


def _cpu_dtype(dtype: str) -> str:
    return dtype if dtype != "auto" else "bfloat16" if modelfiles.cpu_has_bf16() else "float32"


# -- loading ---------------------------------------------------------------------------------------------------------


def load_tokenizer(model: str, *, may_go_online: bool = False) -> Any:
    """The tokenizer alone; of a hub model only the small files are fetched. Raises ModelError."""
    files = find(model, weights=False, may_go_online=may_go_online)
    if files.gguf:
        check_files(files)
        check_libraries(files, "none")
    else:
        modelfiles.check_files(files.folder, weights=False)
    with quietly(f"The tokenizer in {files} cannot be loaded"):
        from transformers import AutoTokenizer

        more = {"gguf_file": files.gguf.name} if files.gguf else {}
        tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False, **more)
        if files.gguf and not tokenizer.chat_template:
            tokenizer.chat_template = ggufs.read(files.gguf).chat_template
        # The first call settles padding and truncation; two at once fail with "Already borrowed".
        tokenizer("", verbose=False)
    return tokenizer


def load(
    model: str, device: str = "auto", dtype: str = "auto", quantize: str = "none", window: int | None = None,
    *, may_go_online: bool = False,
) -> Loaded:  # fmt: skip
    """Load a model to write with, checked as ``check`` does and compared with the memory of its device.

    ``dtype`` "auto" is bfloat16 where the device computes it, else float16 on an accelerator and float32 on a CPU.
    Raises ModelError, also for weights that lack tensors: transformers would fill them with noise and only log it.
    """
    files = find(model, weights=True, may_go_online=may_go_online)
    check_files(files)
    check_libraries(files, quantize)
    tokenizer = load_tokenizer(model, may_go_online=may_go_online)
    with _ONE_AT_A_TIME, quietly(f"The model in {files} cannot be loaded"):
        import torch

        wished = device_of(device)
        gpus = [torch.cuda.mem_get_info(n)[0] for n in range(torch.cuda.device_count())] if "cuda" in wished else []
        _check_device(wished, len(gpus))
        number = dtype_of(dtype, wished)
        wanted = need(files, number, quantize, window)
        where = place(wished, wanted.total, gpus, accelerate=find_spec("accelerate") is not None)
        fit(files, wanted, where, gpus, modelfiles.free_memory())
        network = _network(files, where, number, quantize)
    quantized = "bitsandbytes" if quantize != "none" else "" if files.gguf else quantization(files.folder)
    return Loaded(network, tokenizer, files.folder, files.kind, where.device, number, quantized, where.spread)


def _network(files: Files, where: Place, dtype: str, quantize: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    number = getattr(torch, dtype)
    options: dict[str, Any] = {"gguf_file": files.gguf.name} if files.gguf else {"use_safetensors": True}
    if files.gguf:
        _no_bar()
    packed = quantize != "none" or (not files.gguf and bool(quantization(files.folder)))
    if quantize != "none":
        options["quantization_config"] = _bitsandbytes(quantize, number)
    if where.spread:
        options["device_map"] = "auto"
    elif packed:  # packed weights cannot be moved afterwards
        options["device_map"] = {"": where.device}
    network, report = AutoModelForCausalLM.from_pretrained(
        files.folder, dtype=number, local_files_only=True, trust_remote_code=False, output_loading_info=True, **options
    )
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"The weights in {files} lack {len(missing)} tensors, {missing[0]} among them.",
            "Fetch the model again, and see that config.json belongs to these weights.",
        )
    network = (network if "device_map" in options else network.to(torch.device(where.device))).eval()
    # The folder's advice for writing (temperature, a penalty on repetition, beams …) is left aside: a request says what
    # it wants, and a quote repeats by nature. What ends an answer is no advice.
    network.generation_config = GenerationConfig(eos_token_id=network.generation_config.eos_token_id)
    return network


def _check_device(device: str, gpus: int) -> None:
    """Raise ConfigError for what is no device, ModelError for one that this machine lacks."""
    import torch

    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"{device!r} is no device.", 'It is "auto", "cpu", "cuda", "cuda:1" … or "mps".') from error
    if wanted.type == "cuda" and (wanted.index or 0) >= gpus:
        raise ModelError(f"This machine has no device {device} that torch can use.", 'Set device = "auto" or "cpu".')


def _no_bar() -> None:
    """The one progress bar of transformers that does not ask its own settings whether it is wanted."""
    from transformers import modeling_gguf_pytorch_utils as unpacking

    if hasattr(unpacking, "tqdm"):
        unpacking.tqdm = functools.partial(unpacking.tqdm, disable=True)


def _bitsandbytes(quantize: str, number: Any) -> Any:
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of every cast, at every layer of every token
    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    # NF4 (Dettmers et al. 2023) is fitted to weights that are spread as a normal distribution is.
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=number)


def device_of(device: str) -> str:
    """The device that "auto" means on this machine."""
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_of(dtype: str, device: str) -> str:
    """The numbers that "auto" means on a device."""
    if dtype != "auto":
        return dtype
    kind = device.partition(":")[0]
    if kind == "cpu":
        return _cpu_dtype(dtype)
    if kind != "cuda":
        return "float16"
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


# -- foreign errors --------------------------------------------------------------------------------------------------


def is_out_of_memory(error: Exception) -> bool:
    told = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(sign in told for sign in signs)


def translated(error: Exception, what: str) -> ModelError:
    """A ModelError that begins with ``what``, for anything that torch or transformers raises."""
    if is_out_of_memory(error):
        return ModelError(f"{what}: out of memory.", "Use a smaller model, a shorter prompt or fewer max_new_tokens.")
    if isinstance(error, ImportError):
        return ModelError(f"{what}: {error}", "Install what it names, or use another version of the model.")
    return ModelError(
        f"{what}: {type(error).__name__}: {error}",
        "See that config.json, tokenizer and weights belong together, and that transformers knows this kind of model.",
    )


@contextmanager
def quietly(what: str) -> Iterator[None]:
    """Load without progress bars and advice; whatever is raised becomes a ModelError that begins with ``what``."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers.utils import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    except (ModelError, ConfigError):
        raise
    except Exception as error:
        raise translated(error, what) from error
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()
