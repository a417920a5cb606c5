"""One table: what an error looks like to a client, in OpenAI's shape.

``{"error": {"message", "type", "param", "code", "hint"}}`` with the status that the error's class carries. The hint is
ours; OpenAI's clients ignore it. Paths of this machine are shortened to their last part, because a client may sit at
another one. Whatever is not a RagappError is a bug: its traceback goes to the log, the client reads "Internal error.".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragapp import errors
from ragapp.errors import Overloaded, RagappError
from ragapp.server import observing

log = logging.getLogger("ragapp.server")

INVALID = "invalid_request_error"
SERVER = "server_error"

# Class of the error -> (type, code). A class that is missing here takes the row of its nearest ancestor.
TABLE: Mapping[type[RagappError], tuple[str, str]] = {
    errors.RagappError: (SERVER, "internal_error"),
    errors.ConfigError: (INVALID, "invalid_value"),
    errors.QuestionError: (INVALID, "invalid_question"),
    errors.LibraryError: (SERVER, "library_error"),
    errors.ReadError: (INVALID, "unreadable_file"),
    errors.EmbedderChanged: (SERVER, "embedder_changed"),
    errors.LibraryLocked: (SERVER, "library_locked"),
    errors.LibraryNewer: (SERVER, "library_newer"),
    errors.NotFound: (INVALID, "not_found"),
    errors.ModelError: (SERVER, "model_error"),
    errors.ContextTooLong: (INVALID, "context_length_exceeded"),
    errors.Overloaded: ("rate_limit_error", "rate_limit_exceeded"),
}

# Status -> (type, code) for what the framework itself refuses.
REFUSED: Mapping[int, tuple[str, str]] = {
    400: (INVALID, "invalid_request"),
    404: (INVALID, "unknown_url"),
    405: (INVALID, "method_not_allowed"),
    413: (INVALID, "request_too_large"),
}

# The server's own addresses, as hints name them, are no paths of the machine.
_PATH = re.compile(
    r"(?<![\w/\\.:~])(?!/v1/)(?:file://)?(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^\s/\\'\"`<>|]+[/\\])*([^\s/\\'\"`<>|]+)"
)


class Refusal(RagappError):
    """A request that this door turns away, with everything its answer needs."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        *,
        kind: str = INVALID,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.kind = kind
        self.param = param
        self.headers = dict(headers or {})


class ErrorTable:
    """Turns errors into answers. ``private`` are the paths of this machine that may stand in a message."""

    def __init__(self, private: Iterable[str] = ()) -> None:
        # The longest first: a folder inside another private one must not leave a part of itself behind.
        self._private = sorted({p for p in private if len(p) > 1}, key=len, reverse=True)

    def install(self, app: FastAPI) -> None:
        """Let every error of ``app`` be answered by this table."""
        app.add_exception_handler(RagappError, self._answer)
        app.add_exception_handler(RequestValidationError, self._answer)
        app.add_exception_handler(HTTPException, self._answer)
        app.add_middleware(_CatchAll, table=self)

    def response(self, error: Exception) -> JSONResponse:
        """The answer to a request that failed before its answer began."""
        known = self._known(error)
        self.note(error)
        return JSONResponse(self.body(known), known.status, _headers(known))

    def note(self, error: Exception) -> None:
        """Write into the log what the one who runs the server must see: our failures in full, bugs with traceback."""
        if isinstance(error, RagappError):
            if error.status >= 500:
                log.warning("%s", error.message)
        elif not isinstance(error, RequestValidationError | HTTPException):
            log.error("A request failed.", exc_info=error)

    def body(self, error: Exception) -> dict[str, Any]:
        """The error's OpenAI-shaped object, also for an error frame in a stream."""
        known = self._known(error)
        kind, code = _row(known)
        observing.failed(code)
        return {
            "error": {
                "message": self.without_paths(known.message),
                "type": kind,
                "param": getattr(known, "param", None),
                "code": code,
                "hint": self.without_paths(known.hint),
            }
        }

    def without_paths(self, text: str) -> str:
        """The text with every path of this machine cut down to its last part."""
        for path in self._private:
            text = text.replace(path, _last_part(path))
        return _PATH.sub(r"\1", text)

    async def _answer(self, request: Request, error: Exception) -> Response:
        return self.response(error)

    def _known(self, error: Exception) -> RagappError:
        if isinstance(error, RagappError):
            return error
        if isinstance(error, RequestValidationError):
            return _invalid(error)
        if isinstance(error, HTTPException):
            kind, code = REFUSED.get(error.status_code, (INVALID, "refused"))
            return Refusal(error.status_code, code, f"{error.detail}.", kind=kind, headers=error.headers)
        return Refusal(500, "internal_error", "Internal error.", "The server's log has the details.", kind=SERVER)


class _CatchAll:
    """ASGI middleware: a bug becomes an answer here.

    Starlette's own handler of ``Exception`` raises it again when it has answered, and the server then closes the
    connection under the client's next request.
    """

    def __init__(self, app: ASGIApp, table: ErrorTable) -> None:
        self._app = app
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await self._table.response(error)(scope, receive, send)


def _row(error: RagappError) -> tuple[str, str]:
    if isinstance(error, Refusal):
        return error.kind, error.code
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def _headers(error: RagappError) -> dict[str, str]:
    if isinstance(error, Overloaded):
        return {"Retry-After": str(error.retry_after)}
    return error.headers if isinstance(error, Refusal) else {}


def _invalid(error: RequestValidationError) -> Refusal:
    """The first thing that does not fit, named the way OpenAI does: ``messages.0.role``."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return Refusal(400, "invalid_json", "The request's body is not valid JSON.")
    param = ".".join(str(part) for part in first["loc"] if part != "body")
    where = f"{param}: " if param else ""
    reason = first["msg"].removeprefix("Value error, ").rstrip(".")
    hint = "" if param else "Send a JSON object with the header Content-Type: application/json."
    return Refusal(400, "invalid_value", f"{where}{reason}.", hint, param=param or None)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
