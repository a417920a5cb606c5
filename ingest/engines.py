"""What an OCR program is to ragapp, and which one is there.

An engine looks at one page and says which words it saw where, and how sure it is. Engines are shared by threads that
each read a page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ragapp.errors import ConfigError
from ragapp.ingest.readers.pdfium import Picture
from ragapp.text import CJK

EngineName = Literal["auto", "tesseract", "rapidocr", "off"]
PAGE_SECONDS = 50.0  # less than the reading process may be silent, so that a slow page costs that page alone

_WIDE = re.compile(f"[{CJK}\u3000-\u303f\uff00-\uffef，。、；：？！“”‘’（）《》…—·]")


@dataclass(frozen=True, slots=True)
class Seen:
    """A word as an engine saw it: ``certainty`` from 0 to 1, the box in pixels from the top left of the picture, and
    the running numbers of its line and paragraph. ``glued`` words follow the word before them without a space.
    """

    text: str
    certainty: float
    x0: float
    y0: float
    x1: float
    y1: float
    line: int
    paragraph: int
    glued: bool = False


class EngineFailed(Exception):
    """One page could not be read: the engine died, was stopped, or took too long. The message is the reason."""


class Engine(Protocol):
    """An OCR program. ``name`` tells it from others, and with it the languages that it was told to read."""

    @property
    def name(self) -> str: ...

    def read(self, picture: Picture) -> Sequence[Seen]:
        """The words of a page in reading order, upright or not. Raises EngineFailed."""
        ...

    def stop(self) -> None:
        """Give up what is being read now, from any thread; read raises EngineFailed from then on."""
        ...


def find_engine(name: str, languages: str = "auto", seconds: float = PAGE_SECONDS) -> Engine | None:
    """The engine of that name; "auto" takes tesseract, then rapidocr, then none; None also for "off".

    ``languages`` are tesseract's names, like "eng+chi_sim"; "auto" (or nothing) those of these two that are installed.
    rapidocr's model reads Chinese and English whatever they say. A page is given up after ``seconds``, by tesseract.
    Raises ConfigError for an unknown name, an engine named that is not installed, or a language that is not.
    """
    from ragapp.ingest import rapid, tesseract

    if name not in ("auto", "tesseract", "rapidocr", "off"):
        raise ConfigError(f"There is no OCR engine {name!r}.", "Known are auto, tesseract, rapidocr and off.")
    if name in ("auto", "tesseract"):
        program = tesseract.program()
        if program is not None:
            try:
                return tesseract.Tesseract(program, tesseract.chosen(program, languages), seconds)
            except ConfigError:
                # Nobody has asked for it: one that does not start, or has no data, is as good as none.
                if (name, languages or "auto") != ("auto", "auto"):
                    raise
        elif name == "tesseract":
            raise ConfigError("tesseract is not installed, or not on the PATH.", tesseract.HOW_TO_INSTALL)
    if name in ("auto", "rapidocr"):
        if rapid.is_installed():
            return rapid.Rapid()
        if name == "rapidocr":
            raise ConfigError("rapidocr is not installed.", "Install it with: pip install 'ragapp[ocr]'")
    return None


def certainty_of(words: Sequence[Seen]) -> float:
    """The mean certainty of words, by their letters; 0 for none."""
    size = sum(len(word.text) for word in words)
    return sum(word.certainty * len(word.text) for word in words) / size if size else 0.0


def is_glued(before: str, after: str, gap: float, height: float) -> bool:
    """Whether two words that follow each other on a line have no space between them: no two CJK characters have one,
    beside a single one the white decides (``gap`` and ``height`` of the line in the same unit).
    """
    wide = [_WIDE.match(char) is not None for char in (before[-1:], after[:1])]
    return all(wide) or (any(wide) and gap < 0.3 * height)
