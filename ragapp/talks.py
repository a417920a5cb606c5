"""Conversations, kept in the desk: their titles, settings and messages, whole answers with their steps included.

Each belongs to an owner, the id of a key, or "" where no keys are used; to everybody else it does not exist. Deleting
is real: afterwards no byte of a title or text is left in the desk's file or its log. Not covered: copies outside the
library's folder.
"""

from __future__ import annotations

import json
import math
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ragapp.desk import Desk
from ragapp.errors import ConfigError, NotFound
from ragapp.text import collapse, has_cjk
from ragapp.transcripts import markdown

Role = Literal["user", "assistant"]

MAX_TITLE = 200
MAX_COMMENT = 4000
MAX_SETTINGS = 8000  # bytes of JSON
MAX_DEPTH = 8  # of the settings: lists and objects in each other
LONG_TITLE = 72  # characters of a title that is made from a question; half of that in Chinese

JOINER = "\u200d"  # holds the parts of one picture together
_UNSEEN = frozenset(("Cc", "Cf", "Co", "Cn"))
_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS talks (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, title TEXT NOT NULL,
        folded TEXT NOT NULL, named INTEGER NOT NULL, settings TEXT NOT NULL,
        created TEXT NOT NULL, updated TEXT NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS talks_by_owner ON talks (owner, updated)",
    """
    CREATE TABLE IF NOT EXISTS messages (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        talk TEXT NOT NULL REFERENCES talks (id) ON DELETE CASCADE,
        role TEXT NOT NULL, text TEXT NOT NULL, folded TEXT NOT NULL, created TEXT NOT NULL, answer TEXT,
        rating INTEGER, comment TEXT NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS messages_by_talk ON messages (talk, number)",
)
_LISTED = "SELECT t.*, (SELECT count(*) FROM messages m WHERE m.talk = t.id) AS messages FROM talks t"
_MATCHES = " AND (instr(t.folded, ?) OR EXISTS (SELECT 1 FROM messages m WHERE m.talk = t.id AND instr(m.folded, ?)))"


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation without its messages, of which there are ``messages``. Times are ISO 8601 in UTC; ``updated`` is
    that of the newest message or of a deletion, else of the beginning."""

    id: str
    title: str
    created: str
    updated: str
    messages: int
    settings: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """``{id, title, created, updated, messages}``."""
        return {
            "id": self.id,
            "title": self.title,
            "created": self.created,
            "updated": self.updated,
            "messages": self.messages,
        }


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a reader thinks of an answer: -1, 0 or 1, and why."""

    rating: int
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``answer`` is the whole answer as JSON (shapes.answer_dict, and ``steps``), None for questions."""

    id: str
    role: Role
    text: str
    created: str
    answer: Mapping[str, Any] | None = None
    feedback: Feedback | None = None

    def as_dict(self) -> dict[str, Any]:
        """``{id, role, text, created, answer, feedback}``."""
        feedback = self.feedback
        return {
            "id": self.id,
            "role": self.role,
            "text": self.text,
            "created": self.created,
            "answer": self.answer,
            "feedback": feedback and {"rating": feedback.rating, "comment": feedback.comment},
        }


class Talks:
    """The conversations of a library. Safe to share between threads, and with other processes.

    ``owner`` says who asks. Every method that takes a conversation raises NotFound for one that is not the owner's.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        desk.make(_TABLES)

    def create(self, title: str = "", settings: Mapping[str, Any] | None = None, *, owner: str) -> Talk:
        """A new conversation; without a title its first question becomes one. Raises ConfigError."""
        title = checked_title(title) if title.strip() else ""
        body, now, key = _settings(settings or {}), _now(), new_id()
        self._desk.execute(
            "INSERT INTO talks VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
            key, owner, title, folded(title), bool(title), body, now, now,
        )  # fmt: skip
        return Talk(key, title, now, now, 0, json.loads(body))

    def list(self, q: str = "", *, owner: str, limit: int = 1000, offset: int = 0) -> Sequence[Talk]:
        """The owner's conversations, the one with the newest message first; of ``q``, those whose title or text holds
        it, whatever the case, width and white space."""
        sought = folded(q)
        values = (owner, sought, sought) if sought else (owner,)
        query = f"{_LISTED} WHERE t.owner = ?{_MATCHES if sought else ''} ORDER BY t.updated DESC, t.number DESC"
        return [_talk(row) for row in self._desk.rows(f"{query} LIMIT ? OFFSET ?", *values, limit, offset)]

    def get(self, conversation: str, *, owner: str) -> Talk:
        return _talk(self._row(conversation, owner))

    def messages(self, conversation: str, *, owner: str) -> Sequence[Message]:
        """The messages, in their order."""
        self._row(conversation, owner)
        rows = self._desk.rows("SELECT * FROM messages WHERE talk = ? ORDER BY number", conversation)
        return [_message(row) for row in rows]

    def rename(self, conversation: str, title: str, *, owner: str) -> Talk:
        """Give a title that stays. Raises ConfigError for none, and for one that is too long."""
        title = checked_title(title)
        with self._desk.change() as db:
            self._row(conversation, owner)
            db.execute(
                "UPDATE talks SET title = ?, folded = ?, named = 1 WHERE id = ?", (title, folded(title), conversation)
            )
        return self.get(conversation, owner=owner)

    def set_settings(self, conversation: str, settings: Mapping[str, Any], *, owner: str) -> Talk:
        """Replace the settings, any JSON object of MAX_SETTINGS bytes at most. Raises ConfigError."""
        body = _settings(settings)
        with self._desk.change() as db:
            self._row(conversation, owner)
            db.execute("UPDATE talks SET settings = ? WHERE id = ?", (body, conversation))
        return self.get(conversation, owner=owner)

    def delete(self, conversation: str, *, owner: str) -> None:
        """Forget a conversation, on the disk too. Raises LibraryLocked where it is deleted and its traces are not gone
        yet, as another process reads: they go with the next deletion, or when the desk is next opened."""
        with self._desk.erasing() as db:
            self._row(conversation, owner)
            db.execute("DELETE FROM talks WHERE id = ?", (conversation,))

    def append(
        self,
        conversation: str,
        role: Role,
        text: str,
        answer: Mapping[str, Any] | None = None,
        *,
        owner: str,
        message: str = "",
    ) -> Message:
        """Add a message at the end. ``message`` is its id where somebody was told it before (``new_id``)."""
        made = Message(message or new_id(), role, _clean(text), _now(), _plain(answer))
        with self._desk.change() as db:
            talk = self._row(conversation, owner)
            row = (made.id, conversation, role, made.text, folded(text), made.created, _body(answer), None, "")
            db.execute("INSERT INTO messages VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("UPDATE talks SET updated = ? WHERE id = ?", (made.created, conversation))
            if role == "user" and not talk["named"] and not talk["messages"]:
                title = title_of(text)
                db.execute("UPDATE talks SET title = ?, folded = ? WHERE id = ?", (title, folded(title), conversation))
        return made

    def complete(
        self, conversation: str, message: str, text: str, answer: Mapping[str, Any] | None, *, owner: str
    ) -> Message:
        """Give a message that was appended before its text was whole the rest of it. Raises NotFound."""
        with self._desk.change() as db:
            self._number(conversation, message, owner)
            db.execute(
                "UPDATE messages SET text = ?, folded = ?, answer = ? WHERE id = ?",
                (_clean(text), folded(text), _body(answer), message),
            )
        return self._one(message)

    def truncate(self, conversation: str, message: str, *, owner: str) -> int:
        """Forget a message and all after it, and empty the desk's log; how many they were. Raises NotFound.

        The file is written anew later: who asks again must not wait for that.
        """
        with self._desk.erasing(fully=False) as db:
            number = self._number(conversation, message, owner)
            gone = db.execute("DELETE FROM messages WHERE talk = ? AND number >= ?", (conversation, number)).rowcount
            db.execute("UPDATE talks SET updated = ? WHERE id = ?", (_now(), conversation))
            # A title made from a question goes with that question.
            first = db.execute(
                "SELECT text FROM messages WHERE talk = ? AND role = 'user' ORDER BY number LIMIT 1", (conversation,)
            ).fetchone()
            title = title_of(first["text"]) if first else ""
            db.execute(
                "UPDATE talks SET title = ?, folded = ? WHERE id = ? AND NOT named",
                (title, folded(title), conversation),
            )
        return gone

    def rate(self, conversation: str, message: str, rating: int, comment: str = "", *, owner: str) -> Message:
        """Keep what a reader thinks of an answer; 0 without a comment takes it back. Raises ConfigError, NotFound."""
        if rating not in (-1, 0, 1):
            raise ConfigError(f"{rating} is not a rating.", "It is -1, 0 or 1.")
        comment = _clean(comment).strip()
        if len(comment) > MAX_COMMENT:
            raise ConfigError(f"A comment has {MAX_COMMENT:,} characters at most.", "Write a shorter one.")
        given = rating if rating or comment else None
        with self._desk.change() as db:
            self._number(conversation, message, owner)
            db.execute("UPDATE messages SET rating = ?, comment = ? WHERE id = ?", (given, comment, message))
        return self._one(message)

    def export(self, conversation: str, *, owner: str) -> dict[str, Any]:
        """All of a conversation as one JSON object."""
        talk = self.get(conversation, owner=owner)
        return {
            "format": "ragapp-conversation",
            "version": 1,
            **talk.as_dict(),
            "settings": dict(talk.settings),
            "messages": [message.as_dict() for message in self.messages(conversation, owner=owner)],
        }

    def export_markdown(self, conversation: str, *, owner: str) -> str:
        """A conversation for people, with the sources of each answer; see transcripts.py."""
        return markdown(self.export(conversation, owner=owner))

    def _row(self, conversation: str, owner: str) -> Any:
        row = self._desk.row(f"{_LISTED} WHERE t.id = ? AND t.owner = ?", _clean(conversation), owner)
        if row is None:
            raise NotFound("There is no such conversation.", "GET /v1/conversations lists them.")
        return row

    def _number(self, conversation: str, message: str, owner: str) -> int:
        """Where a message of a conversation stands. Raises NotFound."""
        self._row(conversation, owner)
        query = "SELECT number FROM messages WHERE id = ? AND talk = ?"
        row = self._desk.row(query, _clean(message), _clean(conversation))
        if row is None:
            raise NotFound("There is no such message in the conversation.", "It may have been deleted.")
        return int(row["number"])

    def _one(self, message: str) -> Message:
        row = self._desk.row("SELECT * FROM messages WHERE id = ?", message)
        if row is None:  # deleted by somebody else a moment ago
            raise NotFound("There is no such message in the conversation.", "It may have been deleted.")
        return _message(row)


def new_id() -> str:
    """An id that was never used and cannot be guessed."""
    return secrets.token_hex(12)


def title_of(question: str) -> str:
    """A title made from a question: its beginning, cut between words where it is long.

    >>> title_of("How long\\nis the warranty?")
    'How long is the warranty?'
    """
    text = _visible(question)
    limit = LONG_TITLE // 2 if has_cjk(text) else LONG_TITLE
    if len(text) <= limit:
        return text
    cut = text[:limit]
    # Only where a word ends in the second half: one long word is cut in its middle.
    space = cut.rfind(" ", limit // 2)
    return f"{(cut[:space] if space > 0 else cut).rstrip()}…"


def checked_title(title: str) -> str:
    """A title on one line. Raises ConfigError for an empty one, and for one that is too long."""
    title = _visible(title)
    if not title or len(title) > MAX_TITLE:
        raise ConfigError(f"A title has 1 to {MAX_TITLE} characters.", "Write another.")
    return title


def folded(text: str) -> str:
    """The text as it is compared in a search: case, width and white space do not matter.

    >>> folded("Straße\\n ＡＢ") == folded("STRASSE ab")
    True
    """
    return collapse(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _clean(text)).casefold()))


def _visible(text: str) -> str:
    """One line without control characters and the marks that turn the direction of writing."""
    seen = (c for c in collapse(_clean(text)) if unicodedata.category(c) not in _UNSEEN or c == JOINER)
    return collapse("".join(seen))


def _clean(text: str) -> str:
    """The text as it can be stored: half a character pair becomes a question mark, a null nothing."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _plain(value: Any) -> Any:
    """The value as it can be JSON: no half characters, and null for what is no number."""
    if isinstance(value, Mapping):
        return {_clean(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float)) else _clean(str(value))


def _body(answer: Mapping[str, Any] | None) -> str | None:
    return None if answer is None else json.dumps(_plain(answer), ensure_ascii=False, separators=(",", ":"))


def _settings(settings: Mapping[str, Any]) -> str:
    if _depth(settings) > MAX_DEPTH:
        raise ConfigError(f"The settings go more than {MAX_DEPTH} levels deep.", "Keep them flat.")
    body = json.dumps(_plain(settings), ensure_ascii=False, separators=(",", ":"))
    if len(body.encode()) > MAX_SETTINGS:
        raise ConfigError(f"The settings have more than {MAX_SETTINGS:,} bytes.", "Keep less in them.")
    return body


def _depth(value: Any) -> int:
    """How deep lists and objects lie in each other; more than MAX_DEPTH is not counted further."""
    level, depth = [value], 0
    while (level := [each for each in level if isinstance(each, (Mapping, list, tuple))]) and depth <= MAX_DEPTH:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, Mapping) else each)]
    return depth


def _talk(row: Any) -> Talk:
    return Talk(row["id"], row["title"], row["created"], row["updated"], row["messages"], json.loads(row["settings"]))


def _message(row: Any) -> Message:
    answer = None if row["answer"] is None else json.loads(row["answer"])
    feedback = None if row["rating"] is None else Feedback(row["rating"], row["comment"])
    return Message(row["id"], row["role"], row["text"], row["created"], answer, feedback)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
