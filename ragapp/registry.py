"""Where names become objects: ``pkg.mod:attr``, a built-in name, or an entry point of the group ``ragapp.<kind>s``.

The built-in table holds strings, so nothing heavy is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ragapp.errors import ConfigError

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "reader": {"pdf": "ragapp.ingest.readers.pdf:PdfReader"},
    "chunker": {
        "tokens": "ragapp.ingest.chunkers:TokenChunker",
        "sentences": "ragapp.ingest.chunkers:SentenceChunker",
        "headings": "ragapp.ingest.sections:SectionChunker",
        "semantic": "ragapp.ingest.semantic:SemanticChunker",
        "parent-child": "ragapp.ingest.parents:ParentChunker",
    },
    "embedder": {
        "builtin": "ragapp.embedders:BuiltinEmbedder",
        "hashing": "ragapp.embedders:HashingEmbedder",
    },
    "reranker": {
        "keep": "ragapp.rerankers:KeepOrder",
        "late": "ragapp.rerankers:LateInteraction",
    },
    "chat": {},
    "flow": {
        "linear": "ragapp.flows:linear",
        "conditional": "ragapp.flows:conditional",
        "branching": "ragapp.flows:branching",
        "looping": "ragapp.flows:looping",
    },
}


def is_built_in(kind: str, name: str) -> bool:
    return name in BUILT_IN[kind]


def names(kind: str) -> list[str]:
    """The names that ``resolve`` knows for a kind, built-in ones first."""
    return [*BUILT_IN[kind], *sorted(point.name for point in entry_points(group=f"ragapp.{kind}s"))]


def resolve(kind: str, name: str) -> Any:
    """The object a name stands for, not yet called. Raises ConfigError when there is none."""
    if ":" in name:
        return _from_path(kind, name)
    if name in BUILT_IN[kind]:
        return _from_path(kind, BUILT_IN[kind][name])
    for point in entry_points(group=f"ragapp.{kind}s", name=name):
        return point.load()
    near = get_close_matches(name, names(kind), n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    known = ", ".join(names(kind))
    raise ConfigError(
        f"There is no {kind} named {name!r}.", f"{hint}Known: {known}; or a dotted path like my_notes:MyPart."
    )


def build(kind: str, name: str, settings: Mapping[str, object]) -> Any:
    """Resolve and call with ``settings``. Keys that do not fit give a ConfigError that prints the signature."""
    factory = resolve(kind, name)
    if not callable(factory):
        raise ConfigError(f"The {kind} {name!r} is no class or function: it cannot be called.")
    try:
        signature = inspect.signature(factory)
        signature.bind(**settings)
    except TypeError as error:
        raise ConfigError(
            f"The {kind} {name!r} does not take these settings: {error}.", f"It is called as {name}{signature}."
        ) from None
    return factory(**settings)


def takes(kind: str, name: str) -> frozenset[str]:
    """The names of the settings that a class or function takes."""
    return frozenset(inspect.signature(resolve(kind, name)).parameters)


def _from_path(kind: str, path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError(
            f"The {kind} {path!r} cannot be imported: {module_name!r} is not the name of a module.",
            "A dotted path looks like my_notes:MyPart.",
        )
    here = str(Path.cwd())
    if here not in sys.path:
        # A user's own file beside ragapp.toml is importable, as with `python -m`.
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The {kind} {path!r} cannot be imported: {error}.",
            "The module must be installed, or lie in the current folder.",
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        near = get_close_matches(attribute, dir(module), n=1)
        hint = f"Did you mean {module_name}:{near[0]}?" if near else ""
        raise ConfigError(f"{module_name} has no {attribute!r}.", hint) from None
