"""The whole story on a machine without a network: the demo, a library, questions, the server; warnings are errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.libraries import child_environment
from tests.pdfs import write

GUARD = """
import os, sys
def hook(event, arguments):
    if event not in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        return
    target = arguments[0] if event in ("socket.getaddrinfo", "socket.gethostbyname") else arguments[1]
    host = str(target[0] if isinstance(target, tuple) else target)
    if host.startswith("127.") or host in ("localhost", "::1", "None"):
        return
    with open(os.environ["GUARD_LOG"], "a") as log:
        log.write(f"{event} {host}\\n")
    raise OSError(f"the test forbids {event} to {host}")
sys.addaudithook(hook)
"""


@pytest.fixture
def guarded(tmp_path: Path) -> dict[str, str]:
    """An environment in which every Python process, the reading one too, records and refuses connections elsewhere."""
    folder = tmp_path / "guard"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    env = child_environment()
    return {
        **env,
        "PYTHONPATH": os.pathsep.join([str(folder), env["PYTHONPATH"]]),
        "GUARD_LOG": str(tmp_path / "guard.log"),
        "PYTHONIOENCODING": "utf-8",
        # A key in the shell must not make LangChain report what it runs.
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_API_KEY": "test",
    }


def run(env: dict[str, str], *arguments: str | Path) -> str:
    command = [sys.executable, "-W", "error", "-m", "ragapp", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=env, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def attempts(env: dict[str, str]) -> str:
    log = Path(env["GUARD_LOG"])
    return log.read_text() if log.exists() else ""


def test_the_guard_guards(guarded: dict[str, str]) -> None:
    code = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError: pass"
    subprocess.run([sys.executable, "-c", code], env=guarded, check=True)
    assert "192.0.2.1" in attempts(guarded)


def test_the_demo_answers_three_questions_from_its_pages(guarded: dict[str, str]) -> None:
    shown = run(guarded, "demo")
    assert shown.startswith("3 added")
    answers = shown.split("\n> ")[1:]
    assert len(answers) == 3
    for answer, quote, document in zip(
        answers,
        ("two nautical miles", "You can delete them at any time", "退出码 5 表示另一个进程正在写入资料库"),
        ("lighthouse-handbook.pdf, page 2", "ragapp-manual.pdf, page 2", "ragapp-手册.pdf, page 5"),
        strict=True,
    ):
        assert quote in answer
        assert f"{document} (verified)" in answer
    assert attempts(guarded) == ""


def test_ingest_ask_and_serve_reach_nobody(guarded: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "docs" / "pump.pdf", ["The pump moves 42 litres a minute."])
    library = ("--library", tmp_path / "library")
    run(guarded, "ingest", tmp_path / "docs", *library)
    assert "42 litres" in run(guarded, "ask", "How many litres does the pump move a minute?", *library)
    assert "All is well" in run(guarded, "doctor", "--offline", *library)
    command = [sys.executable, "-W", "error", "-m", "ragapp", "serve", "--port", "0", *map(str, library)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=guarded) as server:
        try:
            assert server.stderr is not None
            found = re.search(r"http://[\d.:]+", server.stderr.readline())
            assert found
            body = {"model": "ragapp", "messages": [{"role": "user", "content": "How many litres a minute?"}]}
            request = urllib.request.Request(
                f"{found.group()}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        finally:
            server.send_signal(signal.SIGINT)
            rest = server.stderr.read() if server.stderr else ""
    assert "42 litres" in answer["choices"][0]["message"]["content"]
    assert answer["ragapp"]["citations"][0]["page"] == 1
    assert server.returncode == 0, rest
    assert attempts(guarded) == ""
