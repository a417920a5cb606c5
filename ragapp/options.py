"""The options that commands share, and a library opened as they say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragapp.errors import ConfigError

if TYPE_CHECKING:
    from ragapp.rag import Rag

Library = Annotated[
    Path | None, typer.Option("--library", help="Folder of the library.  [default: $RAGAPP_LIBRARY or ./.ragapp]")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file.  [default: ./ragapp.toml]")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting, like search.k=20. May be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Llm = Annotated[
    str | None,
    typer.Option(
        "--llm",
        help="Who writes answers: a folder, GGUF file or hub id of a Llama, a server's URL, provider:model.",
    ),
]
FlowName = Annotated[
    str | None, typer.Option("--flow", help="linear, conditional, branching, looping, or pkg.mod:attr.")
]


def opened(
    library: Path | None,
    config: Path | None,
    assignments: list[str] | None,
    *,
    create: bool = True,
    any_embedder: bool = False,
    llm: str | None = None,
    flags: dict[str, object] | None = None,
) -> Rag:
    """The library with the settings of the file, the environment and the flags; see Rag.open for what is raised."""
    from ragapp.config import load
    from ragapp.rag import Rag

    given = {**flags_of(assignments), **({"chat.model": llm} if llm else {})}
    given.update({key: value for key, value in (flags or {}).items() if value is not None})
    return Rag.open(library, config=load(given, config), create=create, any_embedder=any_embedder)


def flags_of(assignments: list[str] | None) -> dict[str, object]:
    """``--set table.key=value`` as settings. Raises ConfigError for what is not of that form."""
    flags: dict[str, object] = {}
    for assignment in assignments or []:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment} is not of the form table.key=value.", "Like --set search.k=20.")
        flags[key.strip()] = value.strip()
    return flags
