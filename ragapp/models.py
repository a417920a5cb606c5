"""From the name of a language model to a chat model: a folder, a GGUF file, a hub id, a server, a provider.

Nothing is loaded or asked here beyond what the model's ``check`` does; LangChain is imported only by ``resolve``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ragapp import ggufs, modelfiles
from ragapp.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

Kind = Literal["server", "provider", "part", "gguf", "llama"]

# What may be set for any model; a kind that does not take one ignores it while it has this value.
DEFAULTS: Mapping[str, object] = {
    "device": "auto",
    "dtype": "auto",
    "max_new_tokens": 512,
    "temperature": 0.0,
    "top_p": 1.0,
    "seed": None,
    "context_tokens": None,
    "idle_timeout": 600.0,
    "quantize": "none",
    "lookup_tokens": 8,
    "batch": 4,
    "api_key": "",
    "timeout": 120.0,
    "retries": 2,
}

_SAMPLING = frozenset({"max_new_tokens", "temperature", "top_p", "seed", "context_tokens"})
_ELSEWHERE = _SAMPLING | {"api_key", "timeout", "retries"}
TAKES: Mapping[Kind, frozenset[str]] = {
    "server": _ELSEWHERE,
    "provider": _ELSEWHERE,
    "gguf": _SAMPLING | {"device"},
    "llama": _SAMPLING | {"device", "dtype", "idle_timeout", "quantize", "lookup_tokens", "batch"},
    "part": frozenset(),
}
_CALLED: Mapping[Kind, str] = {
    "server": "a server's model",
    "provider": "a provider's model",
    "gguf": "a GGUF file run by llama.cpp",
    "llama": "a local model",
    "part": "a part of your own",
}
_CLASSES: Mapping[Kind, str] = {
    "server": "ragapp.remote:RemoteChat",
    "provider": "ragapp.providers:ProviderChat",
    "gguf": "ragapp.llamacpp:LlamaCppChat",
    "llama": "ragapp.chat:LlamaChat",
}


def kind_of(model: str) -> Kind:
    """What a name means: addresses first, then what exists on the disk, then ``provider:model`` and ``module:attr``.

    A GGUF file counts as a local model where llama-cpp-python is not installed: transformers unpacks it.
    Raises ModelError for a path that looks like one and does not exist.
    """
    if model.lower().startswith(("http://", "https://")):
        return "server"
    if not _is_path(model):
        head, colon, _ = model.partition(":")
        if colon:
            return "provider" if head in _providers() else "part"
        return "llama"
    return "gguf" if ggufs.find(model) and find_spec("llama_cpp") else "llama"


def _providers() -> Collection[str]:
    from ragapp.providers import PROVIDERS

    return PROVIDERS


def _is_path(model: str) -> bool:
    """Whether a name is a place on the disk: it exists, or is spelled as only a path is (``C:\\…``, ``./…``)."""
    exists = bool(model) and os.path.exists(_path(model))
    spelled = re.match(r"[A-Za-z]:[\\/]|[./~\\]", model) or model.lower().endswith(".gguf")
    return exists or bool(spelled)


def resolve(model: str, **settings: Any) -> BaseChatModel:
    """The chat model that a user named, checked but not loaded.

    ``settings`` are those of ``DEFAULTS``; which kind takes which stands in ``TAKES``. Raises ModelError when the model
    cannot be used, and ConfigError for a setting that does not exist, does not fit, or that this kind does not take
    unless it has its default, and for the name of a part, which the registry resolves.
    """
    from pydantic import ValidationError

    kind = kind_of(model)
    if kind == "part":
        raise ConfigError(
            f"{model!r} is no model that ragapp knows: {model.partition(':')[0]!r} is no provider.",
            _near(model) or "A part of your own (my_notes:MyChat) belongs into [chat] model or --llm.",
        )
    if kind == "llama":
        _must_be_there(model)
    given = _suiting(kind, settings)
    module, _, name = _CLASSES[kind].partition(":")
    try:
        made: BaseChatModel = getattr(import_module(module), name)(
            **{"url" if kind == "server" else "model": model}, **given
        )
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"The settings of the model {_shown(model)} are wrong: {wrong}.", _known(kind)) from None
    made.check()  # type: ignore[attr-defined]  # every class above has it
    return made


def _suiting(kind: Kind, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a kind takes. Raises ConfigError for others that were set."""
    for name, value in settings.items():
        if name not in DEFAULTS:
            near = get_close_matches(name, DEFAULTS, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise ConfigError(f"Models have no setting {name}.", hint + _known(kind))
        if name not in TAKES[kind] and value != DEFAULTS[name]:
            shown = "" if name == "api_key" else f" = {value}"
            raise ConfigError(f"{name}{shown} means nothing to {_CALLED[kind]}.", f"Leave it out. {_known(kind)}")
    return {name: value for name, value in settings.items() if name in TAKES[kind]}


def _known(kind: Kind) -> str:
    return f"{_CALLED[kind][0].upper()}{_CALLED[kind][1:]} takes {', '.join(sorted(TAKES[kind]))}."


def _path(model: str) -> Path:
    return Path(os.path.expanduser(model))  # Path.expanduser raises for an unknown ~user


def _must_be_there(model: str) -> None:
    """Say that a path does not exist, before it is taken for a hub id. Raises ModelError."""
    path = _path(model)
    if os.path.exists(path) or not model:
        return
    near = [f"{path.parent / name}" for name in get_close_matches(path.name, _beside(path), n=1, cutoff=0.7)]
    if near or _is_path(model) or (path.parent != Path() and os.path.isdir(path.parent)):
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ModelError(f"There is no model folder or file {model}.", f"{hint}See how the path is spelled.")
    modelfiles.local_folder(model)  # refuses what can be no hub id either


def _beside(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []


def _near(model: str) -> str:
    near = get_close_matches(model.partition(":")[0], _providers(), n=1)
    return f"Did you mean {near[0]}:{model.partition(':')[2]}?" if near else ""


def _shown(model: str) -> str:
    """A name without a password that stands in an address."""
    return re.sub(r"(?<=//)[^/?#]*@", "", model)
