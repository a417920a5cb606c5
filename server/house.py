"""The house: the libraries that one server holds, and what its rooms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from ragapp.config import ServerTable
from ragapp.desk import Desk
from ragapp.errors import NotFound
from ragapp.keyring import Keyring
from ragapp.rag import Rag
from ragapp.server.adder import Adder
from ragapp.server.auth import allow
from ragapp.server.errors import ErrorTable
from ragapp.server.gate import Gate
from ragapp.server.jobs import Jobs
from ragapp.talks import Talks


@dataclass(slots=True)
class Collection:
    """One library that is served."""

    name: str
    rag: Rag
    desk: Desk
    adder: Adder
    talks: Talks = field(init=False)
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        self.talks = Talks(self.desk)
        self.jobs = Jobs(self)


class House:
    """The collections by name, the first of them being the default, with the seats, keys and errors of the server."""

    def __init__(self, rags: Sequence[Rag], table: ErrorTable, *, aside: bool = False) -> None:
        """With ``aside`` documents are read into the libraries by processes of their own."""
        self.table = table
        self.settings: ServerTable = rags[0].config.server
        self.gate = Gate.of(self.settings)
        named = dict(zip(_unique([rag.name for rag in rags]), rags, strict=True))
        self.collections: Mapping[str, Collection] = {
            name: Collection(name, rag, Desk(rag.folder), Adder(rag, within=not aside)) for name, rag in named.items()
        }
        self.default = next(iter(self.collections.values()))
        for rag in rags:
            rag.look_aside()
        self.keyring = Keyring(self.default.desk)

    def at(self, name: str | None) -> Collection:
        """A collection by name; the default where none is named. Raises NotFound."""
        if not name:
            return self.default
        try:
            return self.collections[name]
        except KeyError:
            raise NotFound(f"There is no collection {name!r}.", "GET /v1/collections lists them.") from None

    def of(self, request: Request) -> Collection:
        """The collection that a request's query parameter names. Raises NotFound."""
        return self.at(request.query_params.get("collection"))

    def allow(self, request: Request, name: str | None) -> None:
        """Raise Refusal (403) unless the key that asks covers a collection; see auth.py."""
        allow(request, name or self.default.name)

    def start(self) -> None:
        """Go on with the work that the last server left."""
        for collection in self.collections.values():
            collection.jobs.open()

    def hush(self) -> None:
        """Let everybody go who only listens: the server ends, and waits for nobody of them."""
        for collection in self.collections.values():
            collection.jobs.hush()

    def close(self) -> None:
        """End the work behind the requests and close the desks; the libraries stay their openers' to close."""
        for collection in self.collections.values():
            collection.jobs.shut()
        for collection in self.collections.values():
            collection.jobs.close()
        for collection in self.collections.values():
            collection.desk.close()


def _unique(names: Sequence[str]) -> list[str]:
    """The names, each that came before with a number behind it."""
    made: list[str] = []
    for name in names:
        number, unique = 2, name
        while unique in made:
            number, unique = number + 1, f"{name}-{number}"
        made.append(unique)
    return made
