"""unstructured at work, offline and silent: bytes in, blocks out.

Its elements carry text, order, lists, page breaks and the numbers of numbered paragraphs. What they cannot carry
(levels of headings, merged cells, the end of a line) is put into the file as marks before unstructured reads it, and
taken out of the elements afterwards, so that every fact stands at its own words. A mark is built of characters from a
private plane that no font uses.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

from ragapp.errors import ReadError
from ragapp.ingest.readers.blocks import Block, NewPage, Para, Title

GUARD = "\U000f0001"  # begins a text, so that unstructured takes no bullet off and drops no single letter
LINE_END = "\U000f0002"  # a line end inside a paragraph, which unstructured would make a space
ITEM = "\U000f0003"  # begins a list item
OPEN, CLOSE = "\U000f0004", "\U000f0005"  # around the number of a marked block
_MARK = re.compile(f"{OPEN}(\\d+){CLOSE}")
_ALL_MARKS = re.compile("[\U000f0001-\U000f0005]")
_LOCK = threading.Lock()
_SILENT = {"DO_NOT_TRACK": "true", "SCARF_NO_ANALYTICS": "true", "UNSTRUCTURED_DISABLE_NOTICE": "1"}

Kind = Literal["html", "docx", "pptx"]


@dataclass(slots=True)
class Marks:
    """Blocks that stand in the file as marks; a Title is completed with the text behind its mark."""

    blocks: list[Block] = field(default_factory=list)

    def put(self, block: Block) -> str:
        """The mark to write into the file for a block."""
        self.blocks.append(block)
        return f"{OPEN}{len(self.blocks) - 1}{CLOSE}"


@dataclass(slots=True)
class Parts:
    """What a file holds: its blocks, and the running headers and footers, which are no part of the text."""

    blocks: list[Block] = field(default_factory=list)
    running: list[str] = field(default_factory=list)


def unmarked(text: str) -> str:
    """A source's text without characters that could be taken for marks."""
    return _ALL_MARKS.sub("", text)


def partitioned(kind: Kind, data: bytes | str, marks: Marks, name: str) -> Parts:
    """The blocks of a file as unstructured parts it. Raises ReadError when it cannot."""
    try:
        elements = _elements(kind, data)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # its parsers raise KeyError, ValueError, lxml's, zipfile's and their own errors
        raise ReadError(
            f"{name} is damaged: its structure cannot be read.", "Open it in its program and save it anew."
        ) from error
    return _parts(elements, marks, kind)


def _elements(kind: Kind, data: bytes | str) -> list[Any]:
    module = quiet_import(f"unstructured.partition.{kind}")
    function = getattr(module, f"partition_{kind}")
    # An empty language switches the guess of the language off: it is slow, and differs from run to run.
    if isinstance(data, str):
        return list(function(text=data, languages=[""]))
    return list(function(file=io.BytesIO(data), languages=[""]))


def quiet_import(module: str) -> ModuleType:
    """A module of unstructured, imported without telemetry, advertisement, and the download of a language model.

    It looks for parts of speech only to guess whether a text is a title, which the marks know. So the pipeline is one
    of ours that finds nothing, and spaCy, which would import torch and fetch a model, is not imported at all.
    """
    with _LOCK:
        os.environ.update(_SILENT)
        if "unstructured.nlp.tokenize" not in sys.modules:
            hidden = "spacy" not in sys.modules
            if hidden:
                sys.modules["spacy"] = ModuleType("spacy")
            try:
                tokenize = importlib.import_module("unstructured.nlp.tokenize")
            finally:
                if hidden:
                    del sys.modules["spacy"]
        else:
            tokenize = sys.modules["unstructured.nlp.tokenize"]
        if not isinstance(getattr(tokenize, "_get_nlp", None), _Pipeline):
            tokenize._get_nlp = _Pipeline()  # type: ignore[attr-defined]
        return importlib.import_module(module)


class _Nothing:
    """What the pipeline finds in a text: no words and no sentences, which makes every guess short."""

    sents: tuple[Any, ...] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class _Pipeline:
    """Stands in for spaCy's pipeline and for the function that loads it."""

    max_length = sys.maxsize

    def __call__(self, text: str | None = None) -> Any:
        return self if text is None else _Nothing()


def _parts(elements: Iterable[Any], marks: Marks, source: Kind) -> Parts:
    parts = Parts()
    for element in elements:
        kind, text = element.category, element.text or ""
        if kind == "PageBreak":
            parts.blocks.append(NewPage())
        elif kind in ("Header", "Footer"):
            running = _ALL_MARKS.sub("", text).strip()
            if running and running not in parts.running:
                parts.running.append(running)
        else:
            if kind == "ListItem" and ITEM not in text:
                # A number that the program shows stands before the guard; without one it showed a bullet.
                has_bullet = source == "docx" and text.startswith(GUARD)
                text = f"{ITEM}- {text}" if has_bullet else f"{ITEM}{text}"
            parts.blocks += _blocks(text, marks, _level(element) if source == "html" else 0)
    return parts


def _level(element: Any) -> int:
    """The level of a web page's heading (h1 to h6), 0 for other elements. In office files a Title is but a guess."""
    depth = element.metadata.category_depth if element.category == "Title" else None
    return 0 if depth is None else int(depth) + 1


def _blocks(text: str, marks: Marks, level: int) -> Iterator[Block]:
    """The text of an element cut at its marks: a Title takes the whole text, other blocks stand between pieces."""
    pieces = _MARK.split(text)
    found = [marks.blocks[int(number)] for number in pieces[1::2] if int(number) < len(marks.blocks)]
    title = next((block for block in found if isinstance(block, Title)), None)
    if title or level:
        words = _plain("".join(pieces[0::2]).replace(ITEM, ""))
        yield Title(title.level if title else level, words)
        yield from (block for block in found if not isinstance(block, Title))
        return
    for i, piece in enumerate(pieces):
        if i % 2:
            if int(piece) < len(marks.blocks):
                yield marks.blocks[int(piece)]
        elif plain := _plain(piece):
            yield Para(plain, tight=ITEM in piece)


def _plain(text: str) -> str:
    return _ALL_MARKS.sub("", re.sub(f" ?{LINE_END} ?", "\n", text)).strip("\n ")
