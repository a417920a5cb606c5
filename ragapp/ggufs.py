"""GGUF files: which one a name means, and what their header says. Standard library only.

The format is llama.cpp's (ggml/docs/gguf.md, versions 2 and 3, little endian): "GGUF", version, how many tensors and
keys, the keys with their typed values, then name, shape, type and offset of every tensor. No weights are read.
"""

from __future__ import annotations

import functools
import mmap
import os
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ragapp.errors import ModelError

Value = int | float | bool | str | tuple[int | float | bool | str, ...]

# Numbers in a block and its bytes, by the type's number in ggml.h.
_BLOCKS: Mapping[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_KEPT = 4096  # a longer list (the vocabulary) is stepped over; only its length is kept, under "<key>.length"
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself; ``weights`` are the bytes of its tensors, ``numbers`` how many they hold.

    Of long lists only the length is kept, unless ``read`` was told otherwise.
    """

    file: Path
    metadata: Mapping[str, Value]
    weights: int
    numbers: int

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    @property
    def window(self) -> int | None:
        """The tokens that the model was trained to see."""
        return self.whole("context_length")

    @property
    def chat_template(self) -> str:
        return str(self.metadata.get("tokenizer.chat_template", ""))

    def whole(self, key: str) -> int | None:
        """A whole number of the architecture's; of a list (one figure a layer) the largest."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        numbers = [n for n in (value if isinstance(value, tuple) else (value,)) if isinstance(n, int)]
        return max(numbers, default=None)

    def cache_numbers(self) -> int:
        """Numbers that keys and values of one token take in all layers; 0 where the header does not say."""
        layers, heads = self.whole("block_count") or 0, self.whole("attention.head_count") or 0
        width = self.whole("attention.key_length") or (self.whole("embedding_length") or 0) // max(heads, 1)
        values = self.whole("attention.value_length") or width
        return layers * (self.whole("attention.head_count_kv") or heads) * (width + values)


def find(model: str) -> Path | None:
    """The GGUF file that a path means: itself, or the only one of a folder without config.json; None for anything else.

    A model in several parts (``…-00001-of-00003.gguf``) is its first part, whichever of them is named. Raises
    ModelError for a folder with several models, which it names, for a file that is named and not there, and for a path
    that the system does not let be looked at.
    """
    path = Path(os.path.expanduser(model))
    try:
        return _found(path)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be looked at: {error.strerror}.", "See how the path is spelled, and who may read it."
        ) from error


def _found(path: Path) -> Path | None:
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        if not path.is_file():
            raise ModelError(f"There is no GGUF file {path}.", "See how the path is spelled.")
        return parts(path)[0]
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() == ".gguf" and _is_model(file)]
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ModelError(f"The folder {path} holds several GGUF files: {names}.", "Name the one that is meant.")
    return files[0] if files else None


def _is_model(file: Path) -> bool:
    """Not a later part of a model, and not the eyes of one (mmproj)."""
    part = _PART.fullmatch(file.name)
    return not file.name.lower().startswith("mmproj") and (part is None or int(part[2]) == 1)


def parts(file: Path) -> list[Path]:
    """All files of the model that ``file`` begins. Raises ModelError when one is not there."""
    part = _PART.fullmatch(file.name)
    if part is None:
        return [file]
    files = [file.with_name(f"{part[1]}-{n:05}-of-{part[3]}{file.suffix}") for n in range(1, int(part[3]) + 1)]
    if missing := [each.name for each in files if not each.is_file()]:
        raise ModelError(f"The model {file} lacks its part {missing[0]}.", "Fetch that file too.")
    return files


def read(file: Path, whole: Collection[str] = ()) -> Header:
    """The header of a model in one file or several; the lists named in ``whole`` are kept whatever their length.

    Raises ModelError for what is no GGUF file or is cut short.
    """
    headers = [_remembered(part, frozenset(whole), _stamp(part)) for part in parts(file)]
    first = headers[0]
    return Header(file, first.metadata, sum(h.weights for h in headers), sum(h.numbers for h in headers))


def _stamp(file: Path) -> tuple[int, int]:
    try:
        about = file.stat()
    except OSError as error:
        raise ModelError(f"The weights {file} cannot be read: {error.strerror}.", "See who may read it.") from error
    return about.st_size, about.st_mtime_ns


@functools.lru_cache(maxsize=8)
def _remembered(file: Path, whole: frozenset[str], stamp: tuple[int, int]) -> Header:
    """A header is wanted several times while a model is found, checked, weighed and loaded."""
    return _read(file, whole)


def check(file: Path) -> Header:
    """The header of a model that can answer. Raises ModelError for others."""
    header = read(file)
    if not header.architecture or not header.window:
        raise ModelError(
            f"{file} is no language model: its header has no {header.architecture or 'general'}.context_length.",
            "Name the GGUF file of the model itself; projectors and adapters cannot answer.",
        )
    if not header.chat_template:
        raise ModelError(
            f"The model {file} has no chat template, so it cannot be told who says what.",
            "Use the instruct or chat version of the model.",
        )
    return header


def _read(file: Path, whole: Collection[str]) -> Header:
    with _mapped(file) as data:
        try:
            at = _Cursor(data, whole)
            if bytes(data[:4]) != b"GGUF":
                raise ValueError("it does not begin with GGUF")
            version, tensors, keys = struct.unpack_from("<IQQ", data, 4)
            if version not in (2, 3):
                raise ValueError(f"its version is {version}, and 2 and 3 are known")
            at.place = 24
            metadata = dict(at.pair() for _ in range(keys))
            shapes = [at.tensor() for _ in range(tensors)]
        except (struct.error, ValueError, IndexError, OverflowError, MemoryError) as error:
            raise ModelError(
                f"{file} is not a GGUF file that can be read: {error}.",
                "Fetch it again; a small text file in its place is a Git LFS pointer (git lfs pull).",
            ) from error
        alignment = metadata.get("general.alignment", 32)
        step = alignment if isinstance(alignment, int) and alignment > 0 else 32
        begin = -(-at.place // step) * step
        end = max((begin + offset + size for _, size, offset in shapes), default=0)
        if end > len(data):
            raise ModelError(
                f"The weights {file} are cut short: {len(data):,} of {end:,} bytes.", "Fetch the file again."
            )
    return Header(file, metadata, sum(size for _, size, _ in shapes), sum(count for count, _, _ in shapes))


@contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap]:
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        raise ModelError(f"The weights {file} cannot be read: {error.strerror}.", "See who may read it.") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise ModelError(f"{file} is not a GGUF file: it is empty.", "Fetch it again.") from error


class _Cursor:
    """Reads on from a place in the header. Raises ValueError for what can be no header, struct.error at its end."""

    def __init__(self, data: mmap.mmap, whole: Collection[str]) -> None:
        self.data, self.whole, self.place = data, whole, 0

    def one(self, code: str) -> int | float | bool:
        (value,) = struct.unpack_from("<" + code, self.data, self.place)
        self.place += struct.calcsize("<" + code)
        result: int | float | bool = value
        return result

    def count(self, code: str = "Q") -> int:
        """A length; nothing in a file is longer than the file."""
        value = int(self.one(code))
        if value > len(self.data):
            raise ValueError(f"a length of {value} at byte {self.place}")
        return value

    def text(self) -> str:
        length = self.count()
        if self.place + length > len(self.data):
            raise ValueError(f"a text of {length} bytes at byte {self.place}")
        raw = self.data[self.place : self.place + length]
        self.place += length
        return raw.decode("utf-8", "replace")

    def pair(self) -> tuple[str, Value]:
        key = self.text()
        kind = int(self.one("I"))
        if kind != _ARRAY:
            return key, self.value(kind)
        kind, length = int(self.one("I")), self.count()
        if length > _KEPT and key not in self.whole:
            self.skip(kind, length)
            return f"{key}.length", length
        return key, tuple(self.value(kind) for _ in range(length))

    def value(self, kind: int) -> int | float | bool | str:
        if kind == _STRING:
            return self.text()
        if kind not in _SCALARS:
            raise ValueError(f"a value of the unknown type {kind} at byte {self.place}")
        return self.one(_SCALARS[kind])

    def skip(self, kind: int, length: int) -> None:
        if kind in _SCALARS:
            self.place += length * struct.calcsize("<" + _SCALARS[kind])
            return
        if kind != _STRING:
            raise ValueError(f"a list of the unknown type {kind} at byte {self.place}")
        place, size = self.place, struct.Struct("<Q").unpack_from
        for _ in range(length):  # a vocabulary: hundreds of thousands of turns
            place += 8 + size(self.data, place)[0]
        self.place = place

    def tensor(self) -> tuple[int, int, int]:
        """How many numbers a tensor has, how many bytes, and where it begins behind the header."""
        name = self.text()
        shape = [self.count() for _ in range(self.count("I"))]
        kind, offset = int(self.one("I")), self.count()
        if kind not in _BLOCKS:
            raise ValueError(f"the tensor {name} has the unknown type {kind}")
        block, size = _BLOCKS[kind]
        numbers = prod(shape)
        return numbers, -(-numbers // block) * size, offset
