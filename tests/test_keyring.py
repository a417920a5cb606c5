"""Keys: shown once, kept as hashes, gone at once; and the log of changes. Also the commands."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import keyring as room
from ragapp.desk import DESK, Desk
from ragapp.errors import ConfigError, NotFound
from ragapp.keyring import AuditLog, Key, Keyring
from tests.libraries import child_environment, open_catalog


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(Desk(tmp_path)) as made:
        yield made


@pytest.fixture
def ring(desk: Desk) -> Keyring:
    return Keyring(desk)


def test_a_key_is_known_by_its_secret_only(ring: Keyring) -> None:
    key, secret = ring.add("phone", "write", ["a", "b", "a"])
    other, another = ring.add("ci")
    assert re.fullmatch(r"rk-[A-Za-z0-9_-]{43}", secret)
    assert secret != another
    assert ring.check(secret) == key
    assert ring.check(another) == other
    for wrong in ("", "rk-", secret[:-1], secret + "x", secret.upper(), key.id, key.name, "\ud800", "ключ"):
        assert ring.check(wrong) is None, wrong


def test_only_a_hash_is_stored(ring: Keyring, tmp_path: Path) -> None:
    _, secret = ring.add("phone")
    ring.check(secret)
    stored = b"".join(path.read_bytes() for path in tmp_path.glob(f"{DESK}*"))
    assert hashlib.sha256(secret.encode()).digest() in stored
    for part in (secret, secret[3:], secret[3:20]):
        assert part.encode() not in stored


def test_what_may_write_may_read_and_no_more_than_its_collections(ring: Keyring) -> None:
    reader, _ = ring.add("r")
    writer, _ = ring.add("w", "write", ["manuals"])
    assert (reader.may("read"), reader.may("write"), reader.covers("anything")) == (True, False, True)
    assert (writer.may("read"), writer.may("write")) == (True, True)
    assert (writer.covers("manuals"), writer.covers("manual"), writer.covers("")) == (True, False, False)


@pytest.mark.parametrize(
    ("name", "scope", "collections"),
    [("", "read", None), (" ", "read", None), ("a\nb", "read", None), ("x" * 101, "read", None),
     ("a", "admin", None), ("a", "read", []), ("a", "read", [""])],
)  # fmt: skip
def test_a_key_that_cannot_be_is_refused(ring: Keyring, name: str, scope: Any, collections: Any) -> None:
    with pytest.raises(ConfigError):
        ring.add(name, scope, collections)
    assert ring.all() == []


def test_a_name_is_taken_until_its_key_is_revoked(ring: Keyring) -> None:
    first, _ = ring.add("phone")
    with pytest.raises(ConfigError, match="phone"):
        ring.add("phone")
    ring.revoke("phone")
    second, _ = ring.add("phone")
    assert ring.revoke("phone").id == second.id != first.id


def test_a_revoked_key_is_worthless_at_once_also_when_another_process_does_it(ring: Keyring, tmp_path: Path) -> None:
    key, secret = ring.add("phone")
    kept, good = ring.add("ci")
    assert ring.check(secret) is not None
    program = (
        "import sys\nfrom pathlib import Path\nfrom ragapp.desk import Desk\nfrom ragapp.keyring import Keyring\n"
        "print(Keyring(Desk(Path(sys.argv[1]))).revoke('phone').id)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], env=child_environment(), capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == key.id
    assert ring.check(secret) is None
    assert ring.check(good) is not None
    assert [bool(each.revoked) for each in ring.all()] == [True, False]
    for name in ("phone", key.id, "nobody"):
        with pytest.raises(NotFound):
            ring.revoke(name)
    assert ring.revoke(kept.id).name == "ci"


def test_a_near_miss_is_named(ring: Keyring) -> None:
    ring.add("phone")
    with pytest.raises(NotFound) as caught:
        ring.revoke("fone")
    assert "phone" in caught.value.hint


def test_what_keys_have_closed_stays_closed_when_the_last_is_revoked(ring: Keyring) -> None:
    assert (ring.is_used(), ring.has_live()) == (False, False)
    ring.add("phone")
    assert (ring.is_used(), ring.has_live()) == (True, True)
    with pytest.raises(NotFound):
        ring.forget("phone")
    ring.revoke("phone")
    assert (ring.is_used(), ring.has_live()) == (True, False)
    assert [key.name for key in ring.forget("phone")] == ["phone"]
    assert (ring.is_used(), ring.has_live(), ring.all()) == (False, False, [])


def test_the_last_use_is_written_once_a_minute(ring: Keyring, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    _, secret = ring.add("phone")
    assert ring.all()[0].used is None
    clock, written = [1000.0], [0]
    monkeypatch.setattr(room.time, "monotonic", lambda: clock[0])
    execute = desk.execute

    def counted(sql: str, *values: object) -> int:
        written[0] += 1
        return execute(sql, *values)

    monkeypatch.setattr(desk, "execute", counted)
    for _ in range(5):
        ring.check(secret)
    first = ring.all()[0].used
    assert first is not None
    assert written == [1]
    desk.rows("UPDATE keys SET used = '2026-01-31T12:00:00Z'")
    clock[0] += 59
    ring.check(secret)
    assert written == [1]
    clock[0] += 2
    ring.check(secret)
    assert written == [2]
    assert (ring.all()[0].used or "") >= first


def test_every_key_is_compared_in_constant_time(ring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that fits does not end the search."""
    secrets = [ring.add(f"key {number}")[1] for number in range(5)]
    compared: list[int] = []
    real = room.hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return real(one, other)

    monkeypatch.setattr(room.hmac, "compare_digest", noted)
    for secret in (secrets[0], secrets[4], "wrong"):
        compared.clear()
        ring.find(secret)
        assert compared == [32] * 5


def test_a_desk_that_does_not_last_takes_no_keys(tmp_path: Path) -> None:
    with closing(Desk(tmp_path / "none")) as desk, pytest.raises(ConfigError, match="read-only"):
        Keyring(desk).add("phone")


# -- the log -----------------------------------------------------------------------------------------------------


def test_the_log_says_who_did_what(desk: Desk) -> None:
    log = AuditLog(desk)
    key = Key("key_1", "phone", "write")
    log.note(None, "keys add", "key_1 phone")
    log.note(key, "POST /v1/documents", "manuals\ud800", "req-1")
    first, second = log.lines()
    assert (first.key, first.name, first.action, first.what, first.request) == (
        "local", "local", "keys add", "key_1 phone", "",
    )  # fmt: skip
    assert (second.key, second.name, second.what, second.request) == ("key_1", "phone", "manuals?", "req-1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", second.at)
    assert log.lines(1) == [second]


@given(st.integers(1, 12), st.integers(0, 30))
def test_the_log_keeps_the_newest_lines(limit: int, notes: int) -> None:
    with closing(Desk(Path("there is no such folder"))) as desk:
        log = AuditLog(desk, limit)
        for number in range(notes):
            log.note(None, "a", str(number))
        assert [line.what for line in log.lines()] == [str(number) for number in range(notes)][-limit:]


# -- the commands ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keyed") / "library"
    open_catalog(folder).close()
    return folder


def keys(*arguments: str, library: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "ragapp", "keys", *arguments, "--library", str(library)]
    environment = {**child_environment(), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)


def test_a_key_is_made_listed_revoked_and_logged(library: Path) -> None:
    made = keys("add", "手机", "--scope", "write", "--collection", "a", "--collection", "b", library=library)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert secret.startswith("rk-")
    assert "shown this once" in made.stderr
    assert secret not in made.stderr
    with closing(Desk(library)) as desk:
        key = Keyring(desk).check(secret)
    assert key is not None
    assert (key.scope, key.collections) == ("write", ("a", "b"))
    shown = keys("list", library=library)
    assert "手机" in shown.stdout
    assert secret not in shown.stdout
    (row,) = json.loads(keys("list", "--json", library=library).stdout)
    assert (row["name"], row["scope"], row["collections"], row["revoked"]) == ("手机", "write", ["a", "b"], None)
    assert keys("revoke", "手机", library=library).returncode == 0
    assert keys("revoke", "手机", library=library).returncode == 1
    (row,) = json.loads(keys("list", "--json", library=library).stdout)
    assert row["revoked"]
    lines = json.loads(keys("log", "--json", library=library).stdout)
    assert [(line["name"], line["action"], line["what"]) for line in lines] == [
        ("local", "keys add", f"{key.id} 手机"), ("local", "keys revoke", f"{key.id} 手机"),
    ]  # fmt: skip
    assert "keys revoke" in keys("log", library=library).stdout
    assert json.loads(keys("revoke", key.id, "--forget", "--json", library=library).stdout)[0]["id"] == key.id
    assert json.loads(keys("list", "--json", library=library).stdout) == []


def test_a_key_as_json_has_its_secret_once(library: Path) -> None:
    made = json.loads(keys("add", "json", "--json", library=library).stdout)
    assert (made["name"], made["scope"], made["collections"]) == ("json", "read", None)
    with closing(Desk(library)) as desk:
        assert Keyring(desk).check(made["key"]) is not None
    twice = keys("add", "json", library=library)
    assert twice.returncode == 2
    assert "hint: " in twice.stderr


def test_without_a_library_there_are_no_keys(tmp_path: Path) -> None:
    for command in (("add", "a"), ("list",), ("revoke", "a"), ("log",)):
        done = keys(*command, library=tmp_path / "none")
        assert done.returncode == 1
        assert "There is no library" in done.stderr
    assert not (tmp_path / "none").exists()
