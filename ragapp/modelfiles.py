"""The files of a model, on disk or on the hub: is everything there that is needed, and how large is it.

File names, JSON and safetensors headers only: neither torch nor transformers is loaded. GGUF files: ``ggufs``.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragapp.errors import ModelError

_HUB_TIMEOUT_S = 5.0
_SMALL_FILES = ["*.json", "*.jinja", "*.txt", "tokenizer.model"]
_FLOAT_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}


def local_folder(model: str) -> Path | None:
    """The folder that a model's name means, or None for a hub id; raises ModelError for what can be neither."""
    path = Path(os.path.expanduser(model))  # Path.expanduser raises for an unknown ~user
    if os.path.exists(path) or path.is_absolute() or model.startswith((".", "~")):
        return path
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", model):
        return None
    raise ModelError(
        f"{model!r} is neither a folder nor a hub id.", "Name a folder with a model, or a hub id such as org/name."
    )


def cached(repo: str, *, weights: bool) -> Path | None:
    """A hub model that was fetched before, if what is wanted of it is all there. Asks the disk only."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repo, local_files_only=True))
    except (OSError, ValueError):
        return None
    wanted = shards(folder) if weights else [folder / "config.json"]
    return folder if wanted and all(file.exists() for file in wanted) else None


def fetch(repo: str, *, weights: bool, may_go_online: bool) -> Path:
    """Fetch a model that the user named from the hub, which is offline for everything else. Raises ModelError.

    ``may_go_online`` lifts HF_HUB_OFFLINE for this call; it is False when the user has set that variable.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    patterns = [*_SMALL_FILES, *(["*.safetensors"] if weights else [])]
    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline and not may_go_online
    try:
        folder = snapshot_download(
            repo, allow_patterns=patterns, ignore_patterns=["*/*"], etag_timeout=_HUB_TIMEOUT_S, max_workers=4
        )
    except GatedRepoError as error:
        raise ModelError(
            f"The hub gives {repo} only to those who have accepted its licence.",
            "Accept it on the model's page and run `hf auth login`, or name a folder that holds the model.",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no folder {repo} here, and the hub shows no model of that name.",
            "See how the name is spelled; a private model wants `hf auth login`.",
        ) from error
    except Exception as error:  # of three libraries: the hub's own, its HTTP client's, and RuntimeError from hf_xet
        if constants.HF_HUB_OFFLINE:
            hint = "Unset HF_HUB_OFFLINE to let it be fetched, or name a folder that holds the model."
        else:
            hint = "Fetch the model on a machine that reaches the hub, copy its folder here, and name that folder."
        raise ModelError(f"There is no folder {repo} here, and the hub cannot be reached for it.", hint) from error
    finally:
        constants.HF_HUB_OFFLINE = offline
    return Path(folder)


def check_files(folder: Path, *, weights: bool) -> None:
    """Raise ModelError for the first thing that a folder lacks, seen from file names and headers."""
    if not folder.exists():
        raise ModelError(f"There is no model folder {folder}.", "See how the path is spelled.")
    if not folder.is_dir():
        raise ModelError(f"{folder} is a file, not a model's folder.", "Name the folder that holds config.json.")

    def has(*names: str) -> bool:
        return any((folder / name).is_file() for name in names)

    if not has("config.json"):
        raise ModelError(
            f"The model folder {folder} has no config.json.",
            "Name the folder of a Hugging Face model: config.json, the tokenizer's files, *.safetensors.",
        )
    read_json(folder / "config.json")
    if weights:
        _check_weights(folder)
    if not (has("tokenizer.json", "tokenizer.model") or (has("vocab.json") and has("merges.txt"))):
        raise ModelError(
            f"The model folder {folder} has no tokenizer (tokenizer.json or tokenizer.model).",
            "Fetch the tokenizer's files too: they lie beside the weights where the model is published.",
        )
    config = read_json(folder / "tokenizer_config.json") if has("tokenizer_config.json") else {}
    if not (config.get("chat_template") or has("chat_template.jinja", "chat_template.json")):
        raise ModelError(
            f"The model in {folder} has no chat template, so it cannot be told who says what.",
            "Use the instruct or chat version of the model, or put a chat_template.jinja into the folder.",
        )


def _check_weights(folder: Path) -> None:
    files = shards(folder)
    if not files and any(file.suffix in {".bin", ".pt", ".pth"} for file in folder.iterdir()):
        raise ModelError(
            f"The weights in {folder} are pickle files, which can run any code when they are loaded; they are refused.",
            "Fetch the model's safetensors version, or convert it: load it where you trust it, then "
            "save_pretrained(folder, safe_serialization=True).",
        )
    if not files:
        raise ModelError(
            f"The model folder {folder} has no weights (*.safetensors).",
            "Fetch the model's *.safetensors too, or name a *.gguf file; other kinds (ONNX, pickle) cannot be used.",
        )
    for shard in files:
        if not shard.is_file():
            raise ModelError(f"The model folder {folder} lacks the weights {shard.name}.", "Fetch that file too.")
    held = {shard.name: tensors(shard) for shard in files}
    for tensor, name in _index(folder).items():
        if tensor not in held[name]:
            raise ModelError(
                f"{folder / name} does not hold {tensor}, which the index says it does.",
                "Files of two versions of the model were mixed: fetch all of them again.",
            )


def shards(folder: Path) -> list[Path]:
    """The weight files that the index names, or those there are; one that is named need not be there."""
    index = _index(folder)
    return [folder / name for name in sorted(set(index.values()))] if index else sorted(folder.glob("*.safetensors"))


def _index(folder: Path) -> dict[str, str]:
    """Which file holds each tensor of a model in several files; nothing for a model in one. Raises ModelError."""
    file = folder / "model.safetensors.index.json"
    if not file.is_file() or (folder / "model.safetensors").is_file():
        return {}
    named = read_json(file).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise ModelError(f"{file} names no weights.", "Fetch the file again.")
    if outside := [str(name) for name in named.values() if Path(str(name)).name != name]:
        raise ModelError(f"{file} names a file outside its folder: {outside[0]}.", "Fetch the model again.")
    return {str(tensor): str(name) for tensor, name in named.items()}


def tensors(file: Path) -> dict[str, tuple[str, int]]:
    """The tensors of a safetensors file, each with its type ("BF16") and bytes; reads the header only.

    The file begins with the header's length (8 bytes, little endian) and the header in JSON; data offsets count from
    its end. Raises ModelError for a file that is something else or shorter than its header says.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if 0 < length <= size - 8 else {}
        header.pop("__metadata__", None)
        found = {str(n): (str(t["dtype"]), int(t["data_offsets"][1] - t["data_offsets"][0])) for n, t in header.items()}
        end = max(t["data_offsets"][1] for t in header.values())
    except OSError as error:
        raise ModelError(f"The weights {file} cannot be read: {error.strerror}.", "See who may read it.") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{file} is not a safetensors file.",
            "Fetch it again; a small text file in its place is a Git LFS pointer (git lfs pull).",
        ) from error
    if size < 8 + length + end:
        raise ModelError(
            f"The weights {file} are cut short: {size:,} of {8 + length + end:,} bytes.", "Fetch the file again."
        )
    return found


def weight_bytes(file: Path, bits: int | None, only: Sequence[str] = ("",)) -> int:
    """The bytes of a safetensors file's tensors, floating ones as if they had ``bits``. Raises ModelError.

    ``only`` counts tensors whose name contains one of these words.
    """
    floats = _FLOAT_BITS if bits else {}
    parts = [about for name, about in tensors(file).items() if any(word in name for word in only)]
    return sum(n * bits // floats[kind] if bits and kind in floats else n for kind, n in parts)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ModelError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}", "Fetch the file again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object.", "Fetch the file again.")
    return content


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the processor computes bfloat16; elsewhere torch does it in software, slower than float32."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(text.split()))


def free_memory() -> int | None:
    """Bytes that can be had without swapping, within the container's limit; None where the system does not say."""
    free = [figure for figure in (_free_of_machine(), _free_of_container(Path("/sys/fs/cgroup"))) if figure is not None]
    return min(free, default=None)


def _free_of_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _free_of_container(group: Path) -> int | None:
    """What the limit of a control group (version 2) leaves; files that are only cached do not count as used."""
    try:
        most = int((group / "memory.max").read_text(encoding="ascii"))  # "max" where there is no limit
        used = int((group / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(0, most - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None
