"""Running text among the pieces of a page, so that it is not taken for a table or for a part of one. Pure geometry,
standard library only: paragraphs are stacks of long pieces that begin at one place and end near another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ragapp.ingest.segments import Line, Piece, is_number


@dataclass(slots=True)
class _Block:
    """A stack of long pieces that may be a paragraph."""

    x0: float
    x1: float
    y0: float
    y1: float
    pieces: list[Piece] = field(default_factory=list)
    beside: int = 0  # how many of them have a figure to their right on the line

    @property
    def is_wordy(self) -> bool:
        """Whether its lines hold more words than labels do."""
        return sum(p.text.count(" ") + 1 for p in self.pieces) >= 8 * len(self.pieces)


def running_text(lines: Sequence[Line], em: float) -> set[tuple[int, ...]]:
    """The pieces of running text, by their words. ``em`` is a word's height."""
    blocks = _blocks(lines, em)
    blocks = [b for b in blocks if len(b.pieces) >= 3 and (b.beside <= 0.4 * len(b.pieces) or b.is_wordy)]
    prose = {p.words for b in blocks for p in b.pieces}
    for line in lines:
        for piece in line.pieces:
            if len(line.pieces) == 1 and piece.text.count(" ") >= 11 and piece.x1 - piece.x0 > 24 * em:
                prose.add(piece.words)
    for block in blocks:
        _add_rest(lines, block, prose, em)
    return prose


def _blocks(lines: Sequence[Line], em: float) -> list[_Block]:
    done: list[_Block] = []
    live: list[_Block] = []
    for line in lines:
        done += [block for block in live if line.y0 - block.y1 > 1.7 * em]
        live = [block for block in live if line.y0 - block.y1 <= 1.7 * em]
        for k, piece in enumerate(line.pieces):
            width = piece.x1 - piece.x0
            if width < 11 * em or is_number(piece.text):
                continue
            beside = k + 1 < len(line.pieces) and line.pieces[k + 1].is_number
            block = next((b for b in live if _fits(b, piece, em)), None)
            if block is None:
                block = _Block(piece.x0, piece.x1, piece.y0, piece.y1)
                live.append(block)
            block.pieces.append(piece)
            block.x0, block.x1 = min(block.x0, piece.x0), max(block.x1, piece.x1)
            block.y1 = piece.y1
            block.beside += beside
    return done + live


def _fits(block: _Block, piece: Piece, em: float) -> bool:
    """Whether a piece goes on with the block: it begins or ends where the block does, and covers most of its width."""
    begins = abs(piece.x0 - block.x0) <= 2.5 * em
    return begins and abs(piece.x1 - block.x1) <= 0.3 * (block.x1 - block.x0)


def _add_rest(lines: Sequence[Line], block: _Block, prose: set[tuple[int, ...]], em: float) -> None:
    """The rest of a paragraph: lines within it whose words stand far apart, and the short line in which it ends."""
    for line in lines:
        if line.y1 < block.y0 - 0.8 * em or line.y0 > block.y1 + 0.8 * em:
            continue
        under = [p for p in line.pieces if p.x0 < block.x1 and p.x1 > block.x0]
        inside = all(p.x0 > block.x0 - 0.5 * em and p.x1 < block.x1 + 0.5 * em for p in under)
        full = under and under[0].x0 < block.x0 + 2.5 * em and under[-1].x1 > block.x1 - em
        stretched = full and not any(p.is_number for p in under) and line.y1 > block.y0 - 0.8 * em
        if inside and ((line.y0 > block.y0 and line.y1 < block.y1) or stretched):
            prose.update(p.words for p in under)
        elif len(under) == 1 and line.y0 - block.y1 > -0.3 * em and _ends(block, under[0], em):
            prose.add(under[0].words)


def _ends(block: _Block, piece: Piece, em: float) -> bool:
    """Whether a piece below a block may be its last line."""
    return abs(piece.x0 - block.x0) <= 2.5 * em and piece.x1 <= block.x1 + em
