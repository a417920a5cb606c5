"""The model hub, asked only when the user wants a model from it: how large the model is, and its files.

The hub is offline for everything else (see chat.py), its telemetry is off, and only files that are needed to run a
model are fetched: JSON, the tokenizer, chat template and safetensors. Not covered: GGUF files, other revisions.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from ragapp.errors import ConfigError, ModelError

Progress = Callable[[str, int, int], None]

WANTED = ("*.json", "*.jinja", "*.txt", "tokenizer.model", "*.safetensors")
TIMEOUT_S = 10.0
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


class _Switch:
    """The hub library's own switches, which are one for the whole process: turned while anybody asks."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._asking = 0
        self._before: dict[str, bool] = {}

    def on(self, constants: Any) -> None:
        with self._turn:
            if not self._asking:
                offline = constants.HF_HUB_OFFLINE and "_RAGAPP_TOOK_HUB_OFFLINE" not in os.environ
                wanted = {
                    # What the user has switched off stays off; what we have (see chat.py) does not.
                    "HF_HUB_OFFLINE": offline,
                    # The variables are read when the library is imported, which may have been long ago.
                    "HF_HUB_DISABLE_TELEMETRY": True,
                    # Its own protocol for large files cannot be stopped half way.
                    "HF_HUB_DISABLE_XET": True,
                }
                self._before = {name: getattr(constants, name, True) for name in wanted}
                self._set(constants, wanted)
            self._asking += 1

    def off(self, constants: Any) -> None:
        with self._turn:
            self._asking -= 1
            if not self._asking:
                self._set(constants, self._before)

    def _set(self, constants: Any, values: Mapping[str, bool]) -> None:
        for name, value in values.items():
            setattr(constants, name, value)


_SWITCH = _Switch()


@dataclass(frozen=True, slots=True)
class Size:
    """What would be fetched: the files' names with their bytes."""

    model: str
    files: tuple[tuple[str, int], ...]

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.files)


class Stopped(Exception):
    """The download was cancelled."""


def is_hub_id(model: str) -> bool:
    """Whether a name is spelled as a model's name on the hub is: ``org/name``."""
    return _HUB_ID.fullmatch(model) is not None


def size_of(model: str) -> Size:
    """Ask the hub what a model consists of. Raises ConfigError for what is no hub id, and ModelError."""
    check(model)
    with _asking(model) as hub:
        info = hub.HfApi().model_info(model, files_metadata=True, timeout=TIMEOUT_S)
    files = [(str(file.rfilename), int(file.size or 0)) for file in info.siblings or () if _is_wanted(file.rfilename)]
    if not any(name.endswith(".safetensors") for name, _ in files):
        raise ModelError(f"{model} has no safetensors weights on the hub.", "Name another version of the model.")
    return Size(model, tuple(sorted(files)))


def download(
    model: str,
    progress: Progress = lambda *_: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Fetch what is not there yet of a model; its folder.

    ``progress`` is told the file at work, and the bytes that are there and that are wanted of all of them. Whole files
    stay when it is stopped or fails, and the next download goes on with the others. Raises ``Stopped``, ModelError.
    """
    size = size_of(model)
    done = 0
    folders: set[Path] = set()
    with _asking(model) as hub:
        for name, expected in size.files:
            meter = _meter(partial(_tell, progress, name, done, size.bytes), cancelled)
            meter().update(0)  # a file that is there already is not read, and must not hide that it was cancelled
            # By the name of its branch, because under that name the cache is looked into later.
            folders.add(Path(hub.hf_hub_download(model, name, etag_timeout=TIMEOUT_S, tqdm_class=meter)).parent)
            done += expected
            progress(name, done, size.bytes)
    if len(folders) > 1:  # one folder a version
        raise ModelError(f"{model} was changed on the hub while it was downloaded.", "Download it again.")
    return folders.pop()


def _tell(progress: Progress, name: str, before: int, total: int, here: int) -> None:
    progress(name, min(before + here, total), total)


def check(model: str) -> None:
    """Raise ConfigError for what is not spelled as a model's name on the hub."""
    if not is_hub_id(model):
        raise ConfigError(f"{model!r} is not the name of a model on the hub.", "It is spelled org/name.")


def _is_wanted(name: str) -> bool:
    """Whether a file is needed to run the model; files in folders are other formats of it."""
    return "/" not in name and "\\" not in name and any(fnmatch(name, pattern) for pattern in WANTED)


def _meter(tell: Callable[[int], None], cancelled: Callable[[], bool]) -> Any:
    """A class like tqdm's that tells how many bytes of one file are there, and stops the download where it is asked."""

    class Meter:
        def __init__(self, *_: object, initial: int = 0, total: int | None = None, **__: object) -> None:
            self.n, self.total = initial, total

        def update(self, count: float | None = 1) -> None:
            if cancelled():
                raise Stopped
            self.n += int(count or 0)
            tell(self.n)

        def __enter__(self) -> Meter:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

        def close(self) -> None:
            """Nothing is held."""

        def __getattr__(self, _: str) -> Any:
            return lambda *args, **kwargs: None  # the rest of tqdm is about drawing

    return Meter


@contextmanager
def _asking(model: str) -> Iterator[Any]:
    """The hub's library, allowed to go online for as long as the block lasts; its errors are ours."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    # A hub that cannot be reached raises errors of the HTTP library that it was built with.
    failures: tuple[type[Exception], ...] = (OSError, ValueError, *HfHubHTTPError.__bases__)
    _SWITCH.on(constants)
    try:
        yield huggingface_hub
    except GatedRepoError as error:
        raise ModelError(
            f"The hub gives {model} only to those who have accepted its licence.",
            "Accept it on the model's page and run `hf auth login` on this machine.",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"The hub shows no model {model}.", "See how the name is spelled; a private one wants `hf auth login`."
        ) from error
    except failures as error:
        hint = "Try again, or copy the model's folder to this machine, and name that folder."
        if constants.HF_HUB_OFFLINE:
            hint = "HF_HUB_OFFLINE is set: unset it to let the hub be asked."
        raise ModelError(f"The hub cannot be asked for {model}: {type(error).__name__}.", hint) from error
    finally:
        _SWITCH.off(constants)
