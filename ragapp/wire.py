"""One streamed HTTP request that can be given up at any moment, and the frames of server-sent events in its answer.

The request runs in a thread with an event loop of its own: only there can a connection be closed while it is being
made, waited for or read. Environment proxies are used, but never towards this machine; redirects are not followed.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import json
import random
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from ragapp.beats import Beats

_CONNECT_S = 10.0
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 8.0
_LINE_BYTES = 16_000_000  # a server of ours sends passages in one frame, but no answer needs more than this
_BODY_BYTES = 4_000_000
_WORTH_ANOTHER_TRY = frozenset({408, 429, 500, 502, 503, 504})


class WireError(Exception):
    """What went wrong: ``kind`` is "connect", "silent", "broken", "foreign" (no such server) or "status"."""

    def __init__(
        self, kind: str, detail: str, *, status: int = 0, body: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail, self.status, self.body, self.retry_after = kind, detail, status, body, retry_after


class Frames:
    """Bytes of an event stream become its data, however they are cut (WHATWG HTML, 9.2).

    Comments and other fields are skipped. Raises WireError for a line that never ends.
    """

    def __init__(self, longest: int = _LINE_BYTES) -> None:
        self._rest, self._data, self._longest, self._after_cr = b"", list[str](), longest, False

    def feed(self, piece: bytes) -> Iterator[str]:
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        if piece:
            self._after_cr = piece.endswith(b"\r")
        *lines, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield from self._line(line.decode("utf-8", "replace"))
        if len(self._rest) + sum(map(len, self._data)) > self._longest:
            raise WireError("foreign", f"a line of more than {self._longest:,} bytes")

    def end(self) -> Iterator[str]:
        """What a server left without the empty line that should follow it."""
        yield from self._line(self._rest.decode("utf-8", "replace"))
        yield from self._line("")

    def _line(self, line: str) -> Iterator[str]:
        name, _, value = line.removeprefix("\ufeff").partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        elif not line and self._data:
            whole, self._data = "\n".join(self._data), []
            yield whole


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def ask(
    method: str, url: str, headers: Mapping[str, str], timeout: float, body: Mapping[str, Any] | None = None
) -> Any:
    """The JSON that a short request is answered with. Raises WireError."""
    try:
        with (
            httpx.Client(timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_S)), **_options(url)) as client,
            client.stream(method, url, headers=dict(headers), json=body) as response,
        ):
            content = b""
            for piece in response.iter_bytes():
                content += piece
                if len(content) > _BODY_BYTES:
                    raise WireError("foreign", f"an answer of more than {_BODY_BYTES:,} bytes")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _translated(error) from error
    text = content.decode("utf-8", "replace")
    if response.status_code != 200:
        raise _status_error(response, text)
    try:
        return json.loads(text)
    except ValueError as error:
        raise WireError("foreign", f"{response.headers.get('content-type', 'no type')}: {text[:80]!r}") from error


class Call:
    """A POST whose answer is a stream of data. Iterate it once: texts, and None while nothing comes; then close it.

    ``timeout`` is the longest silence in seconds. Until the first byte of an answer it is tried ``retries`` more times,
    where another try may help; the server's Retry-After is kept if it is at most ``timeout``. Raises WireError.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], body: Mapping[str, Any], *, timeout: float, retries: int
    ) -> None:
        self.url, self.headers, self.body, self.timeout, self.retries = url, headers, body, timeout, retries
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._beats: Beats[str] = Beats(self._work, self._cancel, name="ragapp-remote", patience=2.0)

    def __iter__(self) -> Iterator[str | None]:
        return iter(self._beats)

    def close(self) -> None:
        """Close the connection, wherever the request stands."""
        self._beats.close()

    def _cancel(self) -> None:
        loop, task = self._loop, self._task
        if loop is not None and task is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # it was closed between the two lines, so there is nothing left to cancel
                return

    def _work(self, put: Callable[[str], None], halt: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            if not halt.is_set():
                await self._tries(put)

        try:
            asyncio.run(main())
        except asyncio.CancelledError:
            return

    async def _tries(self, put: Callable[[str], None]) -> None:
        for tried in range(self.retries + 1):
            try:
                async for data in self._answer():
                    put(data)
                return
            except _Again as again:
                pause = self._pause(again.error, tried)
                if pause is None:
                    raise again.error from again
            await asyncio.sleep(pause)

    def _pause(self, error: WireError, tried: int) -> float | None:
        """Seconds before the next try, or None for no other one. Clients that failed together come back apart."""
        if tried == self.retries:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.timeout else None
        return min(_BACKOFF_S * 2.0**tried, _LONGEST_BACKOFF_S) * random.uniform(0.75, 1.25)

    async def _answer(self) -> AsyncIterator[str]:
        limits = httpx.Timeout(self.timeout, connect=min(self.timeout, _CONNECT_S))
        begun = False
        try:
            async with (
                httpx.AsyncClient(timeout=limits, **_options(self.url)) as client,
                client.stream("POST", self.url, headers=dict(self.headers), json=dict(self.body)) as response,
            ):
                await _check_status(response)
                begun = True
                async for data in _datas(response):
                    yield data
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            failed = _translated(error)
            if not begun and failed.kind in {"connect", "broken"}:
                raise _Again(failed) from error
            raise failed from error


class _Again(Exception):
    """Another try may help."""

    def __init__(self, error: WireError) -> None:
        super().__init__(str(error))
        self.error = error


async def _check_status(response: httpx.Response) -> None:
    if response.status_code == 200:
        return
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _BODY_BYTES:
            break
    error = _status_error(response, body.decode("utf-8", "replace"))
    if response.status_code in _WORTH_ANOTHER_TRY:
        raise _Again(error)
    raise error


def _status_error(response: httpx.Response, body: str) -> WireError:
    """An answer with another status than 200; ``detail`` is where a redirect points to."""
    where = response.headers.get("location", "")
    return WireError("status", where, status=response.status_code, body=body, retry_after=_retry_after(response))


async def _datas(response: httpx.Response) -> AsyncIterator[str]:
    """The data of an answer; a server that does not stream gives its JSON as one."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        whole = b""
        async for piece in response.aiter_bytes():
            whole += piece
            if len(whole) > _LINE_BYTES:
                raise WireError("foreign", f"an answer of more than {_LINE_BYTES:,} bytes")
        yield whole.decode("utf-8", "replace")
        return
    if kind not in {"text/event-stream", "text/plain", ""}:
        raise WireError("foreign", f"content of the type {kind}")
    frames = Frames()
    async for piece in response.aiter_bytes():
        for data in frames.feed(piece):
            yield data
    for data in frames.end():
        yield data


def _options(url: str) -> dict[str, Any]:
    """Proxies of the environment towards others, none towards this machine; certificates are loaded once."""
    here = is_loopback(url)
    return {"trust_env": not here, "verify": False if here and url.startswith("http:") else _certificates()}


@functools.cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of a Retry-After; dates are not covered."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None


def _translated(error: Exception) -> WireError:
    kinds: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
        ((httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol), "connect"),
        ((httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout), "silent"),
        ((httpx.NetworkError, httpx.RemoteProtocolError), "broken"),
    )
    kind = next((kind for of, kind in kinds if isinstance(error, of)), "foreign")
    return WireError(kind, str(error) or type(error).__name__)
