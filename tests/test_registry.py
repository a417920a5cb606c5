"""Names become objects."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragapp import registry
from ragapp.errors import ConfigError
from ragapp.testing import HashingEmbedder


@pytest.fixture
def notes(in_folder: Path) -> Iterator[Path]:
    """A user's own module in the current folder."""
    (in_folder / "my_notes_part.py").write_text(
        "class ByParagraph:\n    def __init__(self, lines: int, loud: bool = False):\n        self.lines = lines\n"
        "constant = 3.5\n"
    )
    (in_folder / "my_broken_part.py").write_text("import a_library_nobody_has\n")
    yield in_folder
    sys.modules.pop("my_notes_part", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(in_folder)]


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, table in registry.BUILT_IN.items() for name in table]
)
def test_every_built_in_name_resolves(kind: str, name: str) -> None:
    assert registry.is_built_in(kind, name)
    assert callable(registry.resolve(kind, name))


def test_build_calls_with_the_settings() -> None:
    made = registry.build("embedder", "hashing", {"width": 32})
    assert isinstance(made, HashingEmbedder)
    assert made.width == 32


@pytest.mark.usefixtures("notes")
def test_a_dotted_path_leads_to_a_file_beside_the_settings() -> None:
    assert registry.build("chunker", "my_notes_part:ByParagraph", {"lines": 3}).lines == 3
    assert not registry.is_built_in("chunker", "my_notes_part:ByParagraph")


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("hasing", "no embedder named 'hasing'", "Did you mean 'hashing'?"),
        ("xyz", "no embedder named 'xyz'", "builtin"),
        ("my_notes_part:ByParagaph", "has no 'ByParagaph'", "my_notes_part:ByParagraph"),
        ("no_such_module:Part", "cannot be imported", "current folder"),
        ("my_broken_part:Part", "a_library_nobody_has", "installed"),
        (":Part", "cannot be imported", ""),
        (".relative:Part", "cannot be imported", ""),
        ("my_notes_part:", "has no ''", ""),
    ],
)
@pytest.mark.usefixtures("notes")
def test_wrong_names(name: str, said: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.resolve("embedder", name)
    assert said in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("settings", [{}, {"lines": 3, "colour": "red"}, {"line": 3}])
@pytest.mark.usefixtures("notes")
def test_wrong_settings_print_the_signature(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="does not take these settings") as caught:
        registry.build("chunker", "my_notes_part:ByParagraph", settings)
    assert "my_notes_part:ByParagraph(lines: int, loud: bool = False)" in caught.value.hint


@pytest.mark.usefixtures("notes")
def test_something_that_cannot_be_called_is_a_wrong_name() -> None:
    with pytest.raises(ConfigError, match="my_notes_part:constant"):
        registry.build("chunker", "my_notes_part:constant", {})


def test_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragapp.embedders]\ntheirs = ragapp.testing:HashingEmbedder\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "theirs" in registry.names("embedder")
    assert registry.resolve("embedder", "theirs") is HashingEmbedder
