"""What every test may rely on: no settings, no home, no network; a cache and a hypothesis store that vanish again."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import configuration

SCRATCH = Path(tempfile.mkdtemp(prefix="ragapp-tests-"))

# Before any test module is imported: the settings of whoever runs the tests are not part of them.
for _name in [name for name in os.environ if name.startswith("RAGAPP_")]:
    del os.environ[_name]
os.environ["RAGAPP_CACHE"] = str(SCRATCH / "cache")
os.environ["HOME"] = os.environ["XDG_CACHE_HOME"] = os.environ["HF_HOME"] = str(SCRATCH / "home")
(SCRATCH / "home").mkdir()

# A shell starts what it puts in the background with Ctrl-C ignored, and commands that tests interrupt would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

configuration.set_hypothesis_home_dir(SCRATCH / "hypothesis")
hypothesis.settings.register_profile("ragapp", deadline=None, database=None, derandomize=True, print_blob=False)
hypothesis.settings.load_profile("ragapp")


def pytest_unconfigure() -> None:
    shutil.rmtree(SCRATCH, ignore_errors=True)


_attempts: list[str] = []


def _is_local(family: int, address: Any) -> bool:
    if family == getattr(socket, "AF_UNIX", None):
        return True
    host = str(address[0]) if isinstance(address, tuple) and address else ""
    return host in {"localhost", "::1", ""} or host.startswith("127.")


@pytest.fixture(scope="session", autouse=True)
def _only_loopback() -> Iterator[None]:
    """Connections go to this machine or nowhere."""
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto

    def refuse(address: Any) -> None:
        _attempts.append(str(address))
        raise OSError(errno.ENETUNREACH, f"tests reach no network: {address}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if not _is_local(self.family, address):
            refuse(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if not _is_local(self.family, address):
            refuse(address)
        return connect_ex(self, address)

    def guarded_sendto(self: socket.socket, data: Any, *rest: Any) -> int:
        if not _is_local(self.family, rest[-1]):
            refuse(rest[-1])
        return sendto(self, data, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket.socket, "sendto", guarded_sendto)
        yield


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    """Fail the test during which somebody tried to connect elsewhere, whether or not the code minded."""
    _attempts.clear()
    yield
    if _attempts:
        tried, _attempts[:] = ", ".join(_attempts), []
        pytest.fail(f"The test tried to reach {tried}.")


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one, so that no ragapp.toml and no module of the checkout is met there."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
