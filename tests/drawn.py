"""Pages made for tests of pure layout code: text and words as a reader of PDFs gives them, without a PDF."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ragapp.ingest.words import Word

BROKEN = "\ufffe"  # pdfium's sign for a hyphen at the end of a line; no line end follows it


@dataclass(frozen=True)
class Put:
    """A line of text and where it is put: points from the top left; letters are half as wide as they are high."""

    text: str
    x: float = 72.0
    y: float = 0.0
    size: float = 10.0
    bold: bool = False


def sheet(lines: Sequence[Put]) -> tuple[str, list[Word], frozenset[int]]:
    """The raw text of lines in the order given, its words, and the numbers of those in bold type."""
    text = ""
    words: list[Word] = []
    bold = set()
    for n, line in enumerate(lines):
        for match in re.finditer(rf"[^\s{BROKEN}]+{BROKEN}?", line.text):
            if line.bold:
                bold.add(len(words))
            left, right = (line.x + k * line.size / 2 for k in match.span())
            words.append(
                Word(
                    len(text) + match.start(),
                    len(text) + match.end(),
                    left,
                    line.y,
                    right,
                    line.y + line.size,
                    line.size,
                )
            )
        text += line.text
        if n < len(lines) - 1 and not line.text.endswith(BROKEN):
            text += "\r\n"
    return text, words, frozenset(bold)


def column(texts: Sequence[str], x: float = 72.0, y: float = 100.0, size: float = 10.0) -> list[Put]:
    """Lines below each other, a fifth of a line apart."""
    return [Put(text, x, y + k * size * 1.2, size) for k, text in enumerate(texts)]
