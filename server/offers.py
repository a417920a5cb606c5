"""Which models a question may name, and what a client may know of them.

The owner of the server decides: the model of the settings, quotes, and whatever was chosen for this library before by
``POST /v1/answerer``, which its desk remembers until ``DELETE /v1/answerer``. A question names one of them by the name
that is listed, never by a place on this machine, a hub id or an address of its own.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from ragapp import modelfiles, models
from ragapp.errors import ConfigError, ModelError, NotFound
from ragapp.rag import Rag
from ragapp.server.auth import is_loopback
from ragapp.server.house import Collection

Kind = Literal["quotes", "llama", "gguf", "remote", "provider", "scripted", "part"]

QUOTES = "quotes"

_TABLES = (
    "CREATE TABLE IF NOT EXISTS chosen (name TEXT PRIMARY KEY, value TEXT NOT NULL, instead_of TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS offered (id INTEGER PRIMARY KEY, model TEXT UNIQUE, name TEXT UNIQUE)",
)


class ModelOffer(BaseModel):
    """A model that a question may name: ``model`` is what ``/v1/ask`` takes, ``name`` what people read.

    ``local`` is whether no word of a question or document leaves this machine; what is ``fixed`` cannot be taken off
    the list: quotes, and the model that the settings name.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "", "name": QUOTES, "kind": "quotes", "local": True, "fixed": True}]}
    )

    model: Annotated[str, Field(description='what a question names; "" is quotes')]
    name: str
    kind: Kind
    local: bool
    fixed: bool


class Offers:
    """The models that questions to one library may name, and the choice of the one that answers without a name."""

    def __init__(self, collection: Collection) -> None:
        self._collection, self._desk = collection, collection.desk
        self._desk.make(_TABLES)
        # Libraries of earlier versions know their last choice only.
        for row in self._desk.rows("SELECT value FROM chosen WHERE name = 'model' AND value <> ''"):
            self._remember(str(row["value"]))

    @property
    def configured(self) -> str:
        """The model of the settings; empty for quotes."""
        return self._collection.rag.models[0]

    def chosen(self) -> str | None:
        """The choice; None where there is none, or where the settings have named another model since."""
        row = self._desk.row("SELECT value, instead_of FROM chosen WHERE name = 'model'")
        return str(row["value"]) if row is not None and row["instead_of"] == self.configured else None

    def written(self, model: str) -> str:
        """What an owner means who writes a model's name: one that is listed, else a folder, a file or a hub id.

        A folder of this name in the server's own is ``./name``.
        """
        return self._named().get(model, model)

    def choose(self, model: str) -> None:
        """Keep a choice, and let questions name the model from now on."""
        # The server may be started in another folder next time.
        kept = model if model == self.configured else spelled_out(model)
        self._desk.execute("INSERT OR REPLACE INTO chosen VALUES ('model', ?, ?)", kept, self.configured)
        if model:
            self._remember(model)

    def listed(self) -> list[ModelOffer]:
        """What a question may name, and can be used; quotes are always among it."""
        offers = [ModelOffer(model="", name=QUOTES, kind="quotes", local=True, fixed=True)]
        for name, model in self._named().items():
            try:
                actual = self.actual(model)
                kind = kind_of(self._collection.rag, actual)
            except (ConfigError, ModelError):
                continue  # its files are gone; who names it is told so
            local, fixed = is_local(kind, actual), self._is_configured(model)
            offers.append(ModelOffer(model=name, name=name, kind=kind, local=local, fixed=fixed))
        return offers

    def withdraw(self, name: str) -> None:
        """List a model no longer; its files stay where they are. Raises NotFound for a name that is not listed, and
        ConfigError for a model that stays."""
        if not name:
            raise ConfigError("Quotes need no model, and are always there.")
        model = self._named().get(name)
        if model is None:
            raise NotFound(f"There is no model named {name!r} here.", "GET /v1/answerer lists them.")
        if self._is_configured(model):
            raise ConfigError(f"The settings name {name}.", "Take it out of them: [chat] model, or --llm.")
        if self.chosen() == model:
            raise ConfigError(f"{name} is the one that is chosen to answer.", "Choose another one first.")
        # A choice that the settings have overruled, in whatever spelling, would bring it back at the next start.
        for row in self._desk.rows("SELECT value FROM chosen WHERE name = 'model'"):
            if spelled_out(str(row["value"])) == spelled_out(model):
                self._desk.execute("DELETE FROM chosen WHERE name = 'model'")
        self._desk.execute("DELETE FROM offered WHERE model = ?", model)
        with suppress(ConfigError, ModelError):  # its files may be gone
            self._collection.rag.withdraw_model(self.actual(model))

    def meant(self, name: str | None) -> str | None:
        """The model that a question names, which its library now offers; None where it names none.

        Raises ConfigError for one that is not listed, and for one whose files are gone.
        """
        if not name:
            return name
        named = self._named()
        if name not in named:
            known = ", ".join(repr(offer.model) for offer in self.listed())
            raise ConfigError(f"There is no model named {name!r} here.", f"Known: {known} ('' is quotes).")
        try:
            actual = self.actual(named[name])
        except (ConfigError, ModelError) as error:
            raise ConfigError(f"The model {name} cannot be used any more.", "Name another one.") from error
        self._collection.rag.offer_model(actual)
        return actual

    def name_of(self, model: str) -> str:
        """The name under which a model is listed, else what a client may know of it."""
        if not model:
            return QUOTES
        for name, known in self._named().items():
            try:
                if self.actual(known) == model:
                    return name
            except (ConfigError, ModelError):
                continue
        return shown(model)

    def _named(self) -> dict[str, str]:
        """The models by name, that of the settings first."""
        kept, configured = self._kept(), self.configured
        if not configured or spelled_out(configured) in kept.values():
            return kept
        return {_unlike(kept, shown(configured)): configured, **kept}

    def _kept(self) -> dict[str, str]:
        """The models that were chosen, by name, in the order of their first choice."""
        rows = self._desk.rows("SELECT model, name FROM offered ORDER BY id")
        return {str(row["name"]): str(row["model"]) for row in rows}

    def actual(self, model: str) -> str:
        """What the library is given for a model: the settings' own words for the one they name.

        Raises ConfigError and ModelError; see ``usable``.
        """
        return self.configured if self._is_configured(model) else usable(model)

    def _is_configured(self, model: str) -> bool:
        return model in (self.configured, spelled_out(self.configured))

    def _remember(self, model: str) -> None:
        model, kept = spelled_out(model), self._kept()
        # Servers, providers and parts are asked for as long as the settings name them; an address may hold a password.
        if model in kept.values() or not _is_of_this_machine(model):
            return
        # What the settings name keeps the name that it has.
        is_configured = model == spelled_out(self.configured)
        name = _unlike(kept if is_configured else self._named(), shown(model))
        self._desk.execute("INSERT OR IGNORE INTO offered (model, name) VALUES (?, ?)", model, name)


def usable(model: str) -> str:
    """What a library is given for a model that a client has named to choose it: a folder, a file, or "" for quotes.

    Raises ConfigError and ModelError, and never asks the hub.
    """
    if not model:
        return ""
    if models.kind_of(model) not in ("llama", "gguf"):
        raise ConfigError(
            f"{model!r} cannot be chosen here.",
            "Servers, providers and parts of your own are named in the settings ([chat] model, or --llm).",
        )
    place = modelfiles.local_folder(model)
    if place is not None:
        if not place.exists():
            raise ModelError(f"There is no model folder or file {model}.", "See how the path is spelled.")
        return os.path.abspath(place)
    folder = modelfiles.cached(model, weights=True)
    if folder is None:
        raise ConfigError(f"The model {model} is not on this machine.", "Download it first, or name its folder.")
    return str(folder)


def shown(model: str) -> str:
    """What a client may know of a model: never where on this machine, nor with which password, it is reached."""
    if not model:
        return QUOTES
    if model.lower().startswith(("http://", "https://")):
        return re.sub(r"(?<=//)[^/?#]*@", "", model)
    # A hub's cache keeps a model under …/models--org--name/snapshots/commit.
    cached = re.search(r"[/\\]models--([^/\\]+)[/\\]snapshots[/\\][^/\\]+[/\\]?$", model)
    if cached:
        return cached.group(1).replace("--", "/")
    return Path(model).name if is_place(model) else model


def kind_of(rag: Rag, model: str) -> Kind:
    """What kind of answerer a model is; of parts, only that which answers now is known to be scripted."""
    if not model:
        return "quotes"
    kind = models.kind_of(model)
    if kind == "part":
        is_own = model == rag.config.chat.model
        return "scripted" if is_own and type(rag.chat).__name__ == "ScriptedChat" else "part"
    return "remote" if kind == "server" else kind


def is_local(kind: Kind, model: str) -> bool:
    """Whether no word leaves this machine."""
    if kind == "remote":
        return is_loopback(urlsplit(model).hostname or "")
    return kind in ("quotes", "llama", "gguf", "scripted")


def is_place(name: str) -> bool:
    """Whether a name is a place on this machine."""
    return bool(re.match(r"[A-Za-z]:[\\/]|[./~\\]", name)) or Path(name).expanduser().exists()


def spelled_out(model: str) -> str:
    """The same model's name in one spelling: the whole path of what is there, else as it was given."""
    place = os.path.expanduser(model)
    return os.path.abspath(place) if model and os.path.exists(place) else model


def _is_of_this_machine(model: str) -> bool:
    try:
        return models.kind_of(model) in ("llama", "gguf")
    except ModelError:
        return True  # a file that is gone; it may come back


def _unlike(taken: dict[str, str], name: str) -> str:
    """The name, with a number behind it where others have it."""
    number, unique = 2, name
    while unique in taken:
        number, unique = number + 1, f"{name}-{number}"
    return unique
