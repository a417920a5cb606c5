"""Keys, scopes, collections, hosts and origins, and the log of changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from ragapp.config import ServerTable
from ragapp.desk import Desk
from ragapp.errors import ConfigError
from ragapp.keyring import AuditLog, Keyring
from ragapp.rag import Rag
from ragapp.server import auth
from ragapp.server.app import create_app, open_server
from ragapp.server.auth import ASKING, Guard, changed, check_address, is_loopback, needed
from tests.libraries import child_environment, open_catalog
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


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("cross-site", "no-cors", "image", 403), ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "no-cors", "script", 403), ("cross-site", "navigate", "document", 200),
        ("same-origin", "cors", "empty", 200), ("none", "navigate", "document", 200),
        ("same-site", "cors", "empty", 200),
    ],
)  # fmt: skip
def test_other_sites_show_nothing_of_ours_as_their_own(
    real: Running, site: str, mode: str, dest: str, status: int
) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    assert real.http.get("/v1/documents", headers=headers).status_code == status
    # A page of this machine that asks across ports says so by its Origin, as before.
    assert real.http.get("/v1/models", headers={**headers, "Origin": "http://localhost:3000"}).status_code == 200


# -- the keyring -------------------------------------------------------------------------------------------------


SAID = [{"role": "user", "content": "pump"}]


class Keyed:
    """Two empty libraries behind one app, the keyring of the first, and requests with a key."""

    def __init__(self, folder: Path, **flags: Any) -> None:
        for name in ("alpha", "beta"):
            open_catalog(folder / name).close()
        self.rags = [Rag.open(folder / name, embedder__name="hashing", **flags) for name in ("alpha", "beta")]
        self.desk = Desk(folder / "alpha")
        self.folder = folder / "alpha"
        self.ring, self.log = Keyring(self.desk), AuditLog(self.desk)
        self.app = create_app(*self.rags)
        self.client = TestClient(self.app, base_url="http://127.0.0.1")

    def ask(self, method: str, path: str, secret: str = "", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return self.client.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)

    def close(self) -> None:
        self.app.state.house.close()
        self.desk.close()
        for rag in self.rags:
            rag.close()


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Keyed]:
    with closing(Keyed(tmp_path)) as made:
        yield made


@pytest.fixture(scope="module")
def ringed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Keyed, dict[str, str]]]:
    """The same, with three keys that stay: their secrets by what they may do."""
    with closing(Keyed(tmp_path_factory.mktemp("ringed"))) as made:
        wanted: dict[str, Any] = {"read": ("read",), "write": ("write",), "beta": ("read", ["beta"])}
        yield made, {name: made.ring.add(name, *limits)[1] for name, limits in wanted.items()}


def code_of(answered: httpx.Response) -> tuple[int, str]:
    return answered.status_code, answered.json()["error"]["code"]


def test_without_keys_this_machine_is_let_in(keyed: Keyed) -> None:
    assert keyed.ask("GET", "/v1/models").status_code == 200
    # A key that is sent to a server that wants none does no harm.
    assert keyed.ask("GET", "/v1/models", "rk-whatever").status_code == 200


def test_as_soon_as_there_is_a_key_everybody_needs_one(keyed: Keyed) -> None:
    _, secret = keyed.ring.add("phone")
    assert code_of(keyed.ask("GET", "/v1/models")) == (401, "invalid_api_key")
    assert code_of(keyed.ask("GET", "/v1/models", "rk-wrong")) == (401, "invalid_api_key")
    assert keyed.ask("GET", "/v1/models", secret).status_code == 200
    # As with the key of the settings, names and sites do not matter any more.
    elsewhere = {"Host": "rag.example.org", "Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"}
    assert keyed.ask("GET", "/v1/models", secret, headers=elsewhere).status_code == 200


def test_a_key_revoked_by_another_process_stops_at_once_and_opens_nothing(keyed: Keyed) -> None:
    _, secret = keyed.ring.add("phone")
    assert keyed.ask("GET", "/v1/models", secret).status_code == 200
    command = [sys.executable, "-m", "ragapp", "keys", "revoke", "phone", "--library", str(keyed.folder)]
    subprocess.run(command, env=child_environment(), check=True, capture_output=True)
    assert code_of(keyed.ask("GET", "/v1/models", secret)) == (401, "invalid_api_key")
    assert code_of(keyed.ask("GET", "/v1/models")) == (401, "invalid_api_key")
    keyed.ring.forget("phone")
    assert keyed.ask("GET", "/v1/models").status_code == 200


@pytest.mark.parametrize("given", ["Bearer", "Bearer ", "bearer  ", "Basic ", " ", "Bearer rk-", "rk-"])
def test_no_key_is_no_key(keyed: Keyed, given: str) -> None:
    """Where the settings have none, an empty one is not theirs."""
    keyed.ring.add("phone")
    assert code_of(keyed.ask("GET", "/v1/models", headers={"Authorization": given})) == (401, "invalid_api_key")


def test_the_last_use_is_noted(keyed: Keyed) -> None:
    _, secret = keyed.ring.add("phone")
    keyed.ask("GET", "/v1/models", secret)
    assert keyed.ring.all()[0].used is not None


def test_both_kinds_of_keys_work_together(tmp_path: Path) -> None:
    with closing(Keyed(tmp_path, server__api_key="main")) as keyed:
        _, secret = keyed.ring.add("phone")
        for good in ("main", secret):
            assert keyed.ask("GET", "/v1/models", good).status_code == 200
        assert keyed.ask("POST", "/v1/answerer", "main", json={"model": ""}).status_code == 200
        assert code_of(keyed.ask("GET", "/v1/models", "")) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/documents", "read"), ("HEAD", "/v1/documents/a/file", "read"),
        ("GET", "/v1/jobs/1/events", "read"),
        ("POST", "/v1/chat/completions", "read"), ("POST", "/v1/ask", "read"), ("POST", "/v1/search", "read"),
        ("POST", "/v1/embeddings", "read"), ("POST", "/mcp", "read"), ("DELETE", "/mcp", "read"),
        ("POST", "/v1/conversations", "read"), ("DELETE", "/v1/conversations/a", "read"),
        ("POST", "/v1/documents", "write"), ("DELETE", "/v1/documents/a", "write"), ("DELETE", "/v1/jobs/1", "write"),
        ("POST", "/v1/jobs/1/retry", "write"), ("POST", "/v1/answerer", "write"),
        ("POST", "/v1/answerer/download", "write"), ("POST", "/v1/conversations-and-more", "write"),
        ("POST", "/v1/searches", "write"), ("PUT", "/v1/anything", "write"), ("TRACE", "/v1/models", "write"),
    ],
)  # fmt: skip
def test_what_needs_which_scope(ringed: tuple[Keyed, dict[str, str]], method: str, path: str, scope: str) -> None:
    assert needed(method, path) == scope
    keyed, secrets = ringed
    refused = keyed.ask(method, path, secrets["read"])
    if scope == "write":
        assert code_of(refused) == (403, "insufficient_scope")
    else:
        assert refused.status_code != 403
    assert keyed.ask(method, path, secrets["write"]).status_code not in (401, 403)


def test_the_window_is_open_and_nothing_else(keyed: Keyed) -> None:
    keyed.ring.add("phone")
    for path in ("/", "/web/app.js", "/web/none.js", "/healthz", "/readyz"):
        assert keyed.ask("GET", path).status_code not in (401, 403), path
    for path in ("/web", "/webs", "/webs/app.js", "/healthz/", "/%2e%2e/web/app.js"):
        assert code_of(keyed.ask("GET", path)) == (401, "invalid_api_key"), path
    assert keyed.ask("GET", "/web/%2e%2e/v1/models").status_code in (401, 404)
    for path in ("/v1/models", "/openapi.json", "/metrics"):
        assert code_of(keyed.ask("GET", path)) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/documents?collection=beta", None, 200), ("GET", "/v1/documents", None, 403),
        ("GET", "/v1/documents?collection=", None, 403), ("GET", "/v1/documents?collection=alpha", None, 403),
        ("GET", "/v1/documents?collection=nothing", None, 403),
        ("GET", "/v1/documents?collection=alpha&collection=beta", None, 403),
        ("GET", "/v1/documents?collection=beta&collection=alpha", None, 403),
        ("GET", "/v1/documents?Collection=beta", None, 403),
        ("GET", "/v1/conversations?collection=beta", None, 200), ("GET", "/v1/conversations", None, 403),
        ("GET", "/v1/suggestions?collection=beta", None, 200), ("GET", "/v1/suggestions", None, 403),
        ("GET", "/v1/models", None, 200), ("GET", "/v1/collections", None, 200), ("GET", "/openapi.json", None, 200),
        ("POST", "/v1/search", {"question": "pump", "collection": "beta"}, 200),
        ("POST", "/v1/search", {"question": "pump"}, 403),
        ("POST", "/v1/search", {"question": "pump", "collection": "alpha"}, 403),
        ("POST", "/v1/search?collection=beta", {"question": "pump"}, 403),
        ("POST", "/v1/search?collection=beta", {"question": "pump", "collection": "alpha"}, 403),
        ("POST", "/v1/ask", {"question": "pump", "collection": "alpha"}, 403),
        ("POST", "/v1/ask", {"question": "p"}, 403),
        ("POST", "/v1/ask", {"question": "pump", "collection": "beta"}, 200),
        ("POST", "/v1/chat/completions", {"messages": SAID}, 403),
        ("POST", "/v1/chat/completions", {"messages": SAID, "collection": "beta"}, 200),
        ("POST", "/mcp", {}, 400), ("POST", "/v1/search", {"question": 3}, 400), ("POST", "/v1/ask", {}, 400),
    ],
)  # fmt: skip
def test_a_key_for_one_collection_sees_no_other(
    ringed: tuple[Keyed, dict[str, str]], method: str, path: str, body: Any, status: int
) -> None:
    keyed, secrets = ringed
    answered = keyed.ask(method, path, secrets["beta"], json=body)
    assert answered.status_code == status, answered.text
    if status == 403:
        assert answered.json()["error"]["code"] == "insufficient_scope"


def test_collections_that_a_key_does_not_cover_are_not_listed(keyed: Keyed) -> None:
    _, secret = keyed.ring.add("phone", "read", ["beta"])
    _, writer = keyed.ring.add("all", "write")
    listed = keyed.ask("GET", "/v1/collections", secret).json()["data"]
    assert [(row["name"], row["default"], row["writable"]) for row in listed] == [("beta", False, False)]
    listed = keyed.ask("GET", "/v1/collections", writer).json()["data"]
    assert [(row["name"], row["default"], row["writable"]) for row in listed] == [
        ("alpha", True, True), ("beta", False, True),
    ]  # fmt: skip


def test_a_room_that_does_not_say_what_it_answers_from_gives_nothing_away(keyed: Keyed) -> None:
    """Were a room to forget ``house.allow``, a key for certain collections would not see its answer."""
    _, secret = keyed.ring.add("phone", "read", ["beta"])
    _, free = keyed.ring.add("all")

    class Careless:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"alpha's secrets"})

    client = TestClient(Guard(Careless(), keyed.app.state.house))
    for path in ASKING:
        answered = client.post(path, headers={"Authorization": f"Bearer {secret}"})
        assert code_of(answered) == (403, "insufficient_scope")
        assert client.post(path, headers={"Authorization": f"Bearer {free}"}).text == "alpha's secrets"


def test_a_stream_ends_when_its_key_is_revoked(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "LOOK_S", 0.0)
    _, secret = keyed.ring.add("phone")
    keyed.ring.add("other")

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"before, ", "more_body": True})
        keyed.ring.revoke("other")
        await send({"type": "http.response.body", "body": b"still, ", "more_body": True})
        keyed.ring.revoke("phone")
        await send({"type": "http.response.body", "body": b"after", "more_body": True})
        await send({"type": "http.response.body", "body": b"wards", "more_body": False})

    client = TestClient(Guard(stream, keyed.app.state.house))
    answered = client.get("/v1/events", headers={"Authorization": f"Bearer {secret}"})
    assert (answered.status_code, answered.text) == (200, "before, still, ")


def test_a_stream_of_the_settings_key_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "LOOK_S", 0.0)

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one, ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two", "more_body": False})

    with closing(Keyed(tmp_path, server__api_key="main")) as keyed:
        client = TestClient(Guard(stream, keyed.app.state.house))
        assert client.get("/v1/events", headers={"Authorization": "Bearer main"}).text == "one, two"


# -- the log of changes ------------------------------------------------------------------------------------------


def test_every_change_is_noted_and_nothing_else(keyed: Keyed) -> None:
    key, secret = keyed.ring.add("ops", "write")
    _, reader = keyed.ring.add("r")
    keyed.ask("POST", "/v1/answerer", secret, json={"model": ""})
    keyed.ask("POST", "/v1/answerer?collection=beta", secret, json={"model": ""})
    keyed.ask("POST", "/v1/answerer", secret, json={"model": "no such model"})
    keyed.ask("POST", "/v1/answerer", reader, json={"model": ""})
    keyed.ask("GET", "/v1/documents", secret)
    keyed.ask("POST", "/v1/search", secret, json={"question": "pump"})
    keyed.ask("POST", "/v1/conversations", secret, json={})
    assert [(line.key, line.name, line.action, line.what) for line in keyed.log.lines()] == [
        (key.id, "ops", "POST /v1/answerer", "alpha"), (key.id, "ops", "POST /v1/answerer", "beta"),
    ]  # fmt: skip


def test_a_change_without_a_key_is_noted_as_local(keyed: Keyed) -> None:
    keyed.ask("POST", "/v1/answerer", json={"model": ""})
    assert [(line.key, line.name) for line in keyed.log.lines()] == [("local", "local")]


def test_a_room_may_say_what_it_changed_and_names_in_the_path_are_left_out(keyed: Keyed) -> None:
    @keyed.app.put("/v1/things/{thing}")
    async def put(request: Request, thing: str, say: str = "", status: int = 200) -> Response:
        if say:
            changed(request, say)
        return Response(status_code=status)

    for status in (304, 307, 404, 500):  # nothing was changed
        keyed.ask("PUT", f"/v1/things/x?status={status}")
    keyed.ask("PUT", "/v1/things/Private%20letter.pdf")
    keyed.ask("PUT", "/v1/things/9f86d081884c7d65")
    keyed.ask("PUT", "/v1/things/x?say=3%20files")
    assert [(line.action, line.what) for line in keyed.log.lines()] == [
        ("PUT /v1/things/{thing}", "alpha"), ("PUT /v1/things/{thing}", "alpha 9f86d081884c7d65"),
        ("PUT /v1/things/{thing}", "3 files"),
    ]  # fmt: skip


# -- addresses ---------------------------------------------------------------------------------------------------


def test_another_address_may_be_listened_on_with_a_key_that_works(tmp_path: Path) -> None:
    open_catalog(tmp_path / "library").close()
    settings = ServerTable(host="0.0.0.0")  # type: ignore[call-arg]
    with pytest.raises(ConfigError) as caught:
        check_address(settings, tmp_path / "library")
    assert "ragapp keys add" in caught.value.hint
    with closing(Desk(tmp_path / "library")) as desk:
        Keyring(desk).add("phone")
        check_address(settings, tmp_path / "library")
        with Rag.open(tmp_path / "library", embedder__name="hashing", server__host="0.0.0.0", server__port=0) as rag:
            server, listener = open_server(rag)
            listener.close()
            house = server.config.app.state.house  # type: ignore[union-attr]
            # Though a stranger says that they are at home, and the last key is revoked meanwhile.
            Keyring(desk).revoke("phone")
            Keyring(desk).forget("phone")
            client = TestClient(server.config.app, base_url="http://127.0.0.1")  # type: ignore[arg-type]
            assert code_of(client.get("/v1/models")) == (401, "invalid_api_key")
            house.close()
        with pytest.raises(ConfigError):
            check_address(settings, tmp_path / "library")
