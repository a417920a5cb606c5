"""A table before its heads are read: columns, heads that may span columns, and rows, all as word indices."""

from __future__ import annotations

from dataclasses import dataclass

Cell = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HeadCell:
    """A cell of the head over the columns ``first`` to ``last``, both included."""

    first: int
    last: int
    words: Cell


@dataclass(frozen=True, slots=True)
class Cells:
    """``spans`` are the columns' (x0, x1) from the left; every row has a cell for each. ``sure`` says that the head
    differs in kind from the rows below it, and was not taken for one only because it stands first.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    spans: tuple[tuple[float, float], ...]
    head: tuple[tuple[HeadCell, ...], ...]
    rows: tuple[tuple[Cell, ...], ...]
    sure: bool
    title: Cell = ()

    def indices(self) -> list[int]:
        """All its words."""
        heads = [i for row in self.head for cell in row for i in cell.words]
        return [*self.title, *heads, *(i for row in self.rows for cell in row for i in cell)]
