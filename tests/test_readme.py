"""README stays true: its Python runs, its tree is the tree, its commands exist."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from ragapp import cli
from tests import pdfs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGAPP_EMBEDDER_NAME", "hashing")
    pdfs.write(in_folder / "docs" / "warranty.pdf", ["The warranty of the pump is 24 months long."])
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert "1 documents, 1 pages" in printed.getvalue()
    assert "1 warranty.pdf 1 verified" in printed.getvalue()


def test_the_tree_names_every_file_and_no_other() -> None:
    tree = README.split("```text")[1].split("```")[0]
    named, folder = set(), ""
    for line in tree.strip().splitlines():
        name = line.split()[0]
        if line.startswith("  "):
            named.add(folder + name)
        else:
            folder = name
    files = {
        path.relative_to(ROOT).as_posix()
        for folder in ("ragapp", "ingest", "server", "eval")
        for path in (ROOT / folder).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py") and not path.is_relative_to(ROOT / "eval" / "data")
        if folder != "ragapp" or path.parent == ROOT / "ragapp"
    }
    window = {f"web/{path.name}" for path in (ROOT / "web").iterdir() if path.suffix in (".html", ".js")}
    styles = {"web/style.css"}  # each place has another one, of its own name
    assert named == files | window | styles | {"eval/LOG.md", "eval/data/"}


def test_every_command_is_shown() -> None:
    names = {
        command.name or (command.callback and command.callback.__name__) for command in cli.app.registered_commands
    }
    assert {name for name in names if f"ragapp {name}" not in README} == set()
