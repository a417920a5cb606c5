"""Keys, hosts and origins."""

from __future__ import annotations

import openai
import pytest

from ragapp.config import ServerTable
from ragapp.errors import ConfigError
from ragapp.server.auth import check_address, is_loopback
from tests.server.conftest import Running, ServeWith


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LocalHost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    check_address(ServerTable(host=host))  # type: ignore[call-arg]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "example.org", "127.0.0.1.example.org", "1"])
def test_other_addresses_want_a_key(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError) as caught:
        check_address(ServerTable(host=host))  # type: ignore[call-arg]
    assert "api_key" in caught.value.hint
    check_address(ServerTable(host=host, api_key="k"))  # type: ignore[call-arg]


def test_every_route_wants_the_key(serve_with: ServeWith) -> None:
    server = serve_with(server__api_key="schlüssel")
    for method, path in [
        ("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("POST", "/v1/search"), ("GET", "/v1/documents"),
        ("GET", "/v1/nothing"), ("GET", "/openapi.json"),
    ]:  # fmt: skip
        for key in (None, "Bearer wrong", "Bearer", "schlüssel", "Basic schlüssel"):
            headers = [(b"Authorization", key.encode())] if key else []
            refused = server.http.request(method, path, headers=headers)
            assert refused.status_code == 401, (path, key)
            assert refused.headers["www-authenticate"] == "Bearer"
            error = refused.json()["error"]
            assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")
    accepted = server.http.get("/v1/models", headers=[(b"Authorization", "bearer schlüssel".encode())])
    assert accepted.status_code == 200
    assert server.http.get("/healthz").json() == {"status": "ok"}
    assert server.http.get("/readyz").status_code in (200, 503)


def test_the_client_sends_the_key(serve_with: ServeWith) -> None:
    server = serve_with(server__api_key="k")
    assert server.openai.models.list().data
    with pytest.raises(openai.AuthenticationError):
        server.openai.with_options(api_key="wrong").models.list()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:1", 200), ("127.0.0.1:80", 200), ("[::1]:8808", 200), ("127.1.2.3", 200),
        ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example:8808", 403), ("", 403),
        ("[::1", 403), ("user@127.0.0.1@evil.example", 403),
    ],
)  # fmt: skip
def test_the_host_must_be_this_machine(real: Running, host: str, status: int) -> None:
    answered = real.http.get("/v1/models", headers={"Host": host})
    assert answered.status_code == status
    if status == 403:
        assert answered.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200), ("http://127.0.0.1", 200), ("http://[::1]:5", 200),
        ("https://evil.example", 403), ("null", 403), ("", 403), ("http://127.0.0.1.evil.example", 403),
    ],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(real: Running, origin: str, status: int) -> None:
    answered = real.http.post("/v1/search", json={"question": "pump"}, headers={"Origin": origin})
    assert answered.status_code == status


def test_with_a_key_any_name_will_do(serve_with: ServeWith) -> None:
    server = serve_with(server__api_key="k")
    headers = {"Host": "rag.example.org", "Origin": "https://rag.example.org", "Authorization": "Bearer k"}
    assert server.http.get("/v1/models", headers=headers).status_code == 200


def test_a_form_of_another_site_is_not_read(real: Running) -> None:
    """Without a preflight a page can only post text and forms: neither is taken for JSON."""
    posted = real.http.post("/v1/search", content='{"question": "pump"}', headers={"Content-Type": "text/plain"})
    assert posted.status_code == 400
    assert "Content-Type" in posted.json()["error"]["hint"]
