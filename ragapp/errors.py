"""Everything that can go wrong, as one tree. Foreign errors are translated where the library is called.

RagappError
├─ ConfigError         bad key, bad value, unknown part                              exit 2   HTTP 400
│  └─ QuestionError    an empty question, or one that is too long                    exit 2   HTTP 400
├─ LibraryError        the library's files cannot be used                            exit 1   HTTP 500
│  ├─ ReadError        one file cannot be read: reported, never stops a run          exit 3   HTTP 422
│  ├─ EmbedderChanged  the vectors were made by another embedder                     exit 2   HTTP 409
│  ├─ LibraryLocked    another process is writing                                    exit 5   HTTP 409
│  ├─ LibraryNewer     made by a newer ragapp                                        exit 2   HTTP 409
│  └─ NotFound         no such path, document or collection                          exit 1   HTTP 404
├─ ModelError          missing weights, wrong checksum, out of memory, a crash       exit 4   HTTP 502
│  └─ ContextTooLong   the prompt exceeds the window: never cut silently             exit 2   HTTP 400
└─ Overloaded          no free seat                                                  exit 1   HTTP 429

``message`` says what happened to what; ``hint`` says what to do. The doors print both.
"""

from __future__ import annotations


class RagappError(Exception):
    """The root: ``message``, ``hint``, and what it means at the doors (``exit_code``, ``status``)."""

    exit_code = 1
    status = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(RagappError):
    """A key, a value or the name of a part is wrong."""

    exit_code = 2
    status = 400


class QuestionError(ConfigError):
    """A question that cannot be asked: empty, or longer than a question."""


class LibraryError(RagappError):
    """The files of a library cannot be used as they are."""


class ReadError(LibraryError):
    """One file cannot be read. ``needs_password``: it could be, with the right password."""

    exit_code = 3
    status = 422

    def __init__(self, message: str, hint: str = "", *, needs_password: bool = False) -> None:
        super().__init__(message, hint)
        self.needs_password = needs_password


class EmbedderChanged(LibraryError):
    """The library's vectors come from another embedder than the one configured."""

    exit_code = 2
    status = 409


class LibraryLocked(LibraryError):
    """Another process is writing to the library."""

    exit_code = 5
    status = 409


class LibraryNewer(LibraryError):
    """The library was written by a newer ragapp."""

    exit_code = 2
    status = 409


class NotFound(LibraryError):
    """No such path, document or collection."""

    exit_code = 1
    status = 404


class ModelError(RagappError):
    """A model cannot be loaded or has failed."""

    exit_code = 4
    status = 502


class ContextTooLong(ModelError):
    """The prompt does not fit into the model's window."""

    exit_code = 2
    status = 400


class Overloaded(RagappError):
    """No free seat; ``retry_after`` in seconds."""

    status = 429

    def __init__(self, message: str, hint: str = "", retry_after: int = 1) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after
