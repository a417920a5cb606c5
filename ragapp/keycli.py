"""``ragapp keys``: who may ask a server, and what was changed with which key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragapp import console
from ragapp.errors import NotFound

if TYPE_CHECKING:
    from ragapp.desk import Desk

keys = typer.Typer(
    help="Keys for the server: once there is one, nobody is let in without.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Library = Annotated[
    Path | None, typer.Option("--library", help="Folder of the library.  [default: $RAGAPP_LIBRARY or ./.ragapp]")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[
        Literal["read", "write"], typer.Option("--scope", help="read: ask and search; write: change documents too.")
    ] = "read",
    collections: Annotated[
        list[str] | None, typer.Option("--collection", help="Only this collection. May be repeated.")
    ] = None,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is printed once, and kept as a hash only."""
    from ragapp.keyring import AuditLog, Keyring

    with _desk(library) as desk:
        key, secret = Keyring(desk).add(name, scope, collections or None)
        AuditLog(desk).note(None, "keys add", f"{key.id} {key.name}")
    if as_json:
        console.out_json({"key": secret, **key.as_dict()})
        return
    console.talk(f"The key {name!r} ({_extent(key.scope, key.collections)}) is shown this once; keep it well:")
    console.out(secret)
    console.talk("From now on the server of this library asks everybody for a key.")


@keys.command("list")
def list_(library: Library = None, as_json: Json = False) -> None:
    """Show the keys, without their secrets."""
    from ragapp.keyring import Keyring

    with _desk(library) as desk:
        found = Keyring(desk).all()
    if as_json:
        console.out_json([key.as_dict() for key in found])
        return
    rows = [
        (key.name, key.id, _extent(key.scope, key.collections), key.created, key.used or "never", key.revoked or "")
        for key in found
    ]
    console.table(("name", "id", "may", "made", "last used", "revoked"), rows)


@keys.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name or id of a key.", metavar="NAME|ID")],
    forget: Annotated[
        bool, typer.Option("--forget", help="Take a revoked key off the list; without keys, this machine is let in.")
    ] = False,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Make a key worthless at once, also for a server that is running."""
    from ragapp.keyring import AuditLog, Keyring

    with _desk(library) as desk:
        ring, done = Keyring(desk), "forget" if forget else "revoke"
        gone = ring.forget(name) if forget else [ring.revoke(name)]
        for key in gone:
            AuditLog(desk).note(None, f"keys {done}", f"{key.id} {key.name}")
    if as_json:
        console.out_json([key.as_dict() for key in gone])
        return
    for key in gone:
        console.out(f"The key {key.name!r} ({key.id}) {'is forgotten' if forget else 'is worthless now'}.")


@keys.command("log")
def log_(
    limit: Annotated[int, typer.Option("--limit", min=1, help="Lines at the most, the newest.")] = 1000,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Show what was changed over HTTP and on this keyring, when, and with which key."""
    from ragapp.keyring import AuditLog

    with _desk(library) as desk:
        lines = AuditLog(desk).lines(limit)
    if as_json:
        console.out_json([line.as_dict() for line in lines])
        return
    rows = [(line.at, line.name, line.action, line.what, line.request) for line in lines]
    console.table(("when", "key", "action", "what", "request"), rows)


@contextmanager
def _desk(library: Path | None) -> Iterator[Desk]:
    """The desk of a library. Raises NotFound where there is no library."""
    from ragapp.catalog import FILE_NAME
    from ragapp.desk import Desk
    from ragapp.mending import library_folder

    folder = library_folder(library)
    if not (folder / FILE_NAME).is_file():
        raise NotFound(
            f"There is no library in {folder}.", "`ragapp ingest PATH` makes one; --library DIR names another."
        )
    desk = Desk(folder)
    try:
        yield desk
    finally:
        desk.close()


def _extent(scope: str, collections: tuple[str, ...] | None) -> str:
    return f"{scope}, {'everything' if collections is None else ', '.join(collections)}"
