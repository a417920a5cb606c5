"""The plan of the house, kept true: packages and stairs, and one room for each foreign library."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAIRS = ("ingest", "server", "web", "eval")
ROOMS = {
    "sqlite3": {
        "ragapp/catalog.py",
        "ragapp/checkup.py",
        "ragapp/desk.py",
        "ragapp/restore.py",
        "ragapp/salvage.py",
        "ragapp/schema.py",
        "ragapp/store.py",
    },
    "faiss": {"ragapp/indexes.py"},
    "tantivy": {"ragapp/lexicon.py"},
    "openvino": {"ragapp/minilm.py"},
    "pypdf": {"eval/stacks/txtai.py", "ingest/readers/second.py"},
    "pypdfium2": {"ingest/readers/pdfium.py", "ingest/readers/pictures.py"},
    "rapidocr": {"ingest/rapid.py"},
    "unstructured": {"ingest/readers/partition.py"},
    "docx": {"ingest/readers/word.py"},
    "pptx": {"ingest/readers/slides.py"},
    "openpyxl": {"ingest/readers/sheets.py"},
    "markdown_it": {"ingest/readers/web.py", "server/markdown.py"},
    "nh3": {"server/markdown.py"},
    "charset_normalizer": {"ingest/readers/plain.py"},
    "lxml": {f"ingest/readers/{room}.py" for room in ("archive", "opendocument", "slides", "web", "word")},
    "fastapi": {f"server/{path.name}" for path in (ROOT / "server").glob("*.py")},
    "python_multipart": {"server/uploads.py"},
    "uvicorn": {"server/app.py"},
    "prometheus_client": {"server/metrics.py"},
    "opentelemetry": {"server/tracing.py"},
    "torch": {
        "eval/decoding.py",
        "eval/roofline.py",
        "ragapp/decoding.py",
        "ragapp/embedders.py",
        "ragapp/llama.py",
        "ragapp/loading.py",
        "ragapp/matrices.py",
        "ragapp/sampling.py",
    },
    "transformers": {"eval/decoding.py", "ragapp/embedders.py", "ragapp/rerankers.py", "ragapp/loading.py"},
    "sentence_transformers": {"ragapp/embedders.py", "ragapp/rerankers.py", "eval/published.py"},
    "optuna": {"eval/tune.py", "eval/space.py"},
    "ir_measures": {"eval/retrieval.py"},
    "langchain_core": {
        "ragapp/bridge.py",
        "ragapp/chat.py",
        "ragapp/chunks.py",
        "ragapp/scripted.py",
        "ragapp/parts.py",
        "ragapp/writers.py",
        "ragapp/prompts.py",
        "ragapp/answerers.py",
        "ragapp/remote.py",
        "ragapp/providers.py",
        "ragapp/llamacpp.py",
        "ragapp/models.py",
    },
    "langchain": {"ragapp/providers.py"},
    "huggingface_hub": {"ragapp/hub.py", "ragapp/modelfiles.py"},
    "mcp": {"server/tools.py"},
    "mcp_types": {"server/tools.py"},
    "httpx": {"ragapp/wire.py", "eval/load.py"},
    "watchfiles": {"ingest/watch.py"},
    "rich": {"ragapp/console.py", "ragapp/evalview.py"},
    "typer": {"ragapp/cli.py", "ragapp/evalcli.py", "ragapp/keycli.py", "ragapp/options.py"},
    "jinja2": {"eval/report.py", "ragapp/llamacpp.py"},
    "reportlab": {"eval/data/make.py"},
    "haystack": {"eval/stacks/haystack.py"},
    "haystack_integrations": {"eval/stacks/haystack.py"},
    "langchain_classic": {"eval/stacks/langchain.py"},
    "langchain_community": {"eval/stacks/langchain.py"},
    "langchain_huggingface": {"eval/stacks/langchain.py"},
    "langchain_text_splitters": {"eval/stacks/langchain.py"},
    "llama_index": {"eval/stacks/llamaindex.py"},
    "txtai": {"eval/stacks/txtai.py"},
    "pickle": set(),
}


def sources() -> list[Path]:
    folders = ("ragapp", *STAIRS)
    return [
        p
        for folder in folders
        for p in sorted((ROOT / folder).rglob("*.py"))
        if not p.is_relative_to(ROOT / "ragapp" / folder)
    ]


@cache
def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_every_package_is_listed_and_every_listed_package_is_there() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packages = {f"ragapp.{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}"
                for folder in STAIRS for path in (ROOT / folder).rglob("__init__.py")}  # fmt: skip
    assert set(settings["packages"]) == packages | {"ragapp"}
    for name, folder in settings["package-dir"].items():
        assert (ROOT / folder / "__init__.py").is_file(), name


@pytest.mark.parametrize("name", STAIRS)
def test_the_stairs_lead_to_the_folders(name: str) -> None:
    stair = ROOT / "ragapp" / name
    assert stair.is_symlink()
    assert stair.readlink() == Path("..") / name


@pytest.mark.parametrize("library", sorted(ROOMS))
def test_a_foreign_library_stays_in_its_room(library: str) -> None:
    users = {path.relative_to(ROOT).as_posix() for path in sources() if library in imported(path)}
    assert users <= ROOMS[library]


def test_a_file_can_be_read_without_a_table_of_contents() -> None:
    long = {p.relative_to(ROOT).as_posix(): n for p in sources() if (n := len(p.read_text("utf-8").splitlines())) > 700}
    assert long == {}
