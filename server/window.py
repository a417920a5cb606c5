"""The window: its files, and the rules under which a browser shows them.

The files are open to whoever can reach the server: they hold no data. What the window shows it fetches with the
visitor's own key.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from ragapp.server.house import House

# No inline code or style, nothing from elsewhere, no frame around it: a name or text that carries markup stays text,
# and what got through all the same could load and send nothing. Pictures of pages are blobs, fetched with the key.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types ragapp"
)
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def routes(house: House) -> APIRouter:
    """``GET /`` and ``GET /web/{name}``."""
    router = APIRouter(tags=["window"], include_in_schema=False)

    @router.get("/")
    async def index(request: Request) -> Response:
        return _answer(request, "index.html")

    @router.get("/web/{name}")
    async def asset(request: Request, name: str) -> Response:
        return _answer(request, name)

    return router


def _answer(request: Request, name: str) -> Response:
    body = _files().get(name)
    if body is None:
        raise HTTPException(404, "There is no such file")
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    # Asked for again with every visit, so that a newer ragapp never runs with half of an older one's files.
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=KINDS[name[name.rindex(".") :]], headers=headers)


@cache
def _files() -> dict[str, bytes]:
    """The window's files by name: only these can be asked for."""
    folder = files("ragapp.web")
    return {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.is_file() and entry.name[entry.name.rfind(".") :] in KINDS
    }
