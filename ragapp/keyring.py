"""API keys and the log of changes, kept in the desk of a server's default library.

A key's secret is shown once, when it is made, and stored as its sha256 only. Passwords want a slow, salted hash
because they can be guessed; a secret of 256 random bits cannot, so nothing would be won and every request would pay.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Literal

from ragapp.desk import Desk
from ragapp.errors import ConfigError, NotFound

Scope = Literal["read", "write"]

PREFIX = "rk-"
SECRET_BYTES = 32
TOUCH_S = 60.0  # a key's last use is written down at most once in so many seconds
MAX_NAME = 100
MAX_LINES = 20_000  # of the log; the oldest go first

_KEYS = (
    """
    CREATE TABLE IF NOT EXISTS keys (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE, scope TEXT NOT NULL, collections TEXT,
        created TEXT NOT NULL, used TEXT, revoked TEXT
    )
    """,
    "CREATE UNIQUE INDEX IF NOT EXISTS keys_by_name ON keys (name) WHERE revoked IS NULL",
)
_AUDIT = """
    CREATE TABLE IF NOT EXISTS audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
        action TEXT NOT NULL, what TEXT NOT NULL, request TEXT NOT NULL
    )
"""


@dataclass(frozen=True, slots=True)
class Key:
    """Who may do what. ``collections`` are names, None for all. Times are ISO 8601 in UTC; ``used`` is None while
    nobody has used the key, ``revoked`` while it is good. What may write may read as well."""

    id: str
    name: str
    scope: Scope
    collections: tuple[str, ...] | None = None
    created: str = ""
    used: str | None = None
    revoked: str | None = None

    def may(self, scope: Scope) -> bool:
        return scope == "read" or self.scope == "write"

    def covers(self, collection: str) -> bool:
        return self.collections is None or collection in self.collections

    def as_dict(self) -> dict[str, object]:
        return {
            "id": self.id,
            "name": self.name,
            "scope": self.scope,
            "collections": None if self.collections is None else list(self.collections),
            "created": self.created,
            "used": self.used,
            "revoked": self.revoked,
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One change: when, by which key ("local" where none was needed), what was done to what, in which request."""

    at: str
    key: str
    name: str
    action: str
    what: str
    request: str

    def as_dict(self) -> dict[str, str]:
        return {
            "at": self.at,
            "key": self.key,
            "name": self.name,
            "action": self.action,
            "what": self.what,
            "request": self.request,
        }


class Keyring:
    """The keys of a server. Safe to share between threads; another process may add and revoke meanwhile."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._touched: dict[str, float] = {}
        desk.make(_KEYS)

    def add(self, name: str, scope: Scope = "read", collections: Iterable[str] | None = None) -> tuple[Key, str]:
        """A new key and its secret, which nobody can be told again. Raises ConfigError."""
        names = None if collections is None else tuple(dict.fromkeys(collections))
        _check(name, scope, names)
        if not self._desk.lasting:
            raise ConfigError("The library's folder is read-only, so no key can be kept.", "Check its permissions.")
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        key = Key(f"key_{secrets.token_hex(6)}", name, scope, names, _now())
        listed = None if names is None else json.dumps(names)
        with self._desk.change() as db:
            if db.execute("SELECT 1 FROM keys WHERE name = ? AND revoked IS NULL", (name,)).fetchone():
                raise ConfigError(f"There is a key named {name!r}.", "Take another name, or revoke that key first.")
            row = (key.id, name, _hash(secret), scope, listed, key.created, None, None)
            db.execute("INSERT INTO keys VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return key, secret

    def check(self, secret: str) -> Key | None:
        """The good key with this secret, or None; that it was used is written down."""
        key = self.find(secret)
        if key is not None and self.is_stale(key):
            self.touch(key)
        return key

    def find(self, secret: str) -> Key | None:
        """The good key with this secret, or None. Reads only, in some 30 µs; the file is asked each time, so that a key
        which another process has revoked stops working at once."""
        given, found = _hash(secret), None
        # All are compared, each in constant time: how long it takes tells nothing about any of them.
        for row in self._desk.rows("SELECT * FROM keys WHERE revoked IS NULL"):
            if hmac.compare_digest(row["hash"], given):
                found = row
        return _key(found) if found is not None else None

    def is_stale(self, key: Key) -> bool:
        """Whether the use of a key should be written down again."""
        return time.monotonic() - self._touched.get(key.id, -TOUCH_S) >= TOUCH_S

    def touch(self, key: Key) -> None:
        """Write down that a key was used, now."""
        self._touched[key.id] = time.monotonic()
        if key.used is None or _age(key.used) >= TOUCH_S:  # another process may have done so
            self._desk.execute("UPDATE keys SET used = ? WHERE id = ?", _now(), key.id)

    def all(self) -> list[Key]:
        """All keys, also the revoked ones, oldest first."""
        return [_key(row) for row in self._desk.rows("SELECT * FROM keys ORDER BY number")]

    def is_used(self) -> bool:
        """Whether there ever was a key. What has been closed by keys is not opened by revoking the last of them."""
        return self._desk.row("SELECT 1 FROM keys LIMIT 1") is not None

    def has_live(self) -> bool:
        """Whether there is a key that works."""
        return self._desk.row("SELECT 1 FROM keys WHERE revoked IS NULL LIMIT 1") is not None

    def is_live(self, key: str) -> bool:
        """Whether the key with this id still works."""
        return self._desk.row("SELECT 1 FROM keys WHERE id = ? AND revoked IS NULL", key) is not None

    def revoke(self, name: str) -> Key:
        """Make a key, given by name or id, worthless. Raises NotFound."""
        with self._desk.change() as db:
            row = db.execute(
                "SELECT * FROM keys WHERE revoked IS NULL AND (id = ?1 OR name = ?1) ORDER BY id != ?1", (name,)
            ).fetchone()
            if row is None:
                raise _unknown(name, [key for key in self.all() if key.revoked is None])
            db.execute("UPDATE keys SET revoked = ? WHERE id = ?", (_now(), row["id"]))
        return next(key for key in self.all() if key.id == row["id"])

    def forget(self, name: str) -> list[Key]:
        """Delete the lines of revoked keys, given by name or id. Raises NotFound."""
        gone = [key for key in self.all() if key.revoked is not None and name in (key.id, key.name)]
        if not gone:
            raise NotFound(f"There is no revoked key {name!r}.", "A key that works must be revoked first.")
        with self._desk.erasing() as db:
            db.executemany("DELETE FROM keys WHERE id = ?", [(key.id,) for key in gone])
        return gone


class AuditLog:
    """What was changed, when, and with which key: a line for every change, the newest MAX_LINES of them.

    Holds no text of documents or conversations, no secret and no address of a client.
    """

    def __init__(self, desk: Desk, limit: int = MAX_LINES) -> None:
        self._desk = desk
        self._limit = limit
        desk.make([_AUDIT])

    def note(self, key: Key | None, action: str, what: str, request: str = "") -> None:
        """Add a line; ``key`` is None for who needed none."""
        who = ("local", "local") if key is None else (key.id, key.name)
        with self._desk.change() as db:
            row = (_now(), *who, action, what, request)
            made = db.execute("INSERT INTO audit VALUES (NULL, ?, ?, ?, ?, ?, ?)", tuple(map(_clean, row)))
            db.execute("DELETE FROM audit WHERE number <= ?", ((made.lastrowid or 0) - self._limit,))

    def lines(self, limit: int | None = None) -> list[Line]:
        """The newest lines, oldest first; all of them without a limit."""
        rows = self._desk.rows("SELECT * FROM audit ORDER BY number DESC LIMIT ?", -1 if limit is None else limit)
        return [
            Line(row["at"], row["key"], row["name"], row["action"], row["what"], row["request"])
            for row in reversed(rows)
        ]


def _check(name: str, scope: str, collections: Sequence[str] | None) -> None:
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise ConfigError(f"{name!r} cannot be the name of a key.", f"Take 1 to {MAX_NAME} visible characters.")
    if scope not in ("read", "write"):
        raise ConfigError(f"{scope!r} is not a scope.", "It is read or write; what may write may read.")
    if collections is not None and not (collections and all(collections)):
        raise ConfigError("A key for no collection could do nothing.", "Name one, or none of them for all.")


def _unknown(name: str, live: Sequence[Key]) -> NotFound:
    near = get_close_matches(name, [key.name for key in live], n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else "`ragapp keys list` shows them."
    return NotFound(f"There is no key {name!r} that works.", hint)


def _key(row: Any) -> Key:
    listed = row["collections"]
    return Key(
        row["id"], row["name"], row["scope"], None if listed is None else tuple(json.loads(listed)),
        row["created"], row["used"], row["revoked"],
    )  # fmt: skip


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _age(at: str) -> float:
    """Seconds since a time; none for one that lies ahead, as clocks are set back."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())


def _clean(text: str) -> str:
    """The text as it can be stored: half a character pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
