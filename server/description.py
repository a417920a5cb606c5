"""The OpenAPI description: what FastAPI makes of the routes, with what is true of all of them.

Requests that do not fit are answered 400, never 422, and a key is needed where the server has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

ABOUT = """Answers from a library of documents, with citations that were looked up on their pages.

`POST /v1/chat/completions` and `POST /v1/embeddings` are OpenAI's, and `/mcp` speaks the Model Context Protocol \
(streamable HTTP, with the tools `search` and `ask`). Errors have OpenAI's shape, with a `hint`. A server that has a \
key wants it as `Authorization: Bearer KEY`. Of several libraries `collection` names one; the first is the default."""

_NOT_OURS = ("HTTPValidationError", "ValidationError")
_METHODS = frozenset({"get", "post", "put", "patch", "delete"})


def describe(app: FastAPI) -> None:
    """Let the app be described so; the description is made when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
            app.openapi_schema = _corrected(made)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to change it


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation: its path, its method, and what is said of it."""
    for path, item in description["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, method, operation


def _first_sentence(text: str) -> str:
    """What a docstring begins with: it says more than the name of a function, which FastAPI would take."""
    return re.split(r"[.;:]\s|[.;:]$", " ".join(text.split()), maxsplit=1)[0]


def _corrected(made: dict[str, Any]) -> dict[str, Any]:
    for _, _, operation in operations(made):
        operation["responses"].pop("422", None)
        function = operation["summary"].lower().replace(" ", "_")
        if operation["operationId"].startswith(f"{function}_"):
            operation["summary"] = _first_sentence(operation.get("description", ""))
    parts = made.setdefault("components", {})
    for name in _NOT_OURS:
        parts.get("schemas", {}).pop(name, None)
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{}, {"key": []}]  # none is needed on a server of this machine that has no key
    return made
