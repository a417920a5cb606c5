"""What a page shows, as the layout code sees it: words and ruled lines. Points, origin at the top left of the page as
it is shown, y downwards; x0 <= x1 and y0 <= y1. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """A run of characters without white space: ``text[start:end]`` of the page's raw text, in type of ``size``."""

    start: int
    end: int
    x0: float
    y0: float
    x1: float
    y1: float
    size: float


@dataclass(frozen=True, slots=True)
class Rule:
    """A ruled line, or a rectangle so thin that it is one. A drawn box is given as its four sides."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def is_horizontal(self) -> bool:
        """Whether it is at least as wide as it is high."""
        return self.x1 - self.x0 >= self.y1 - self.y0
