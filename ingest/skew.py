"""Pages that were laid crooked on the glass: how crooked, and set straight. Pure, on arrays of grey pixels.

The slope is the one along which the rows of pixels differ most in their darkness, as lines of print and the white
between them do (projection profiles: Postl 1986). Pages are sheared, not turned: below five degrees letters lean so
little that no engine minds, and the way back for a box is one addition. Not covered: pages that are bent.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Gray = NDArray[np.uint8]

STEEPEST = 0.1  # nearly six degrees
FINEST = 0.008  # half a degree: engines bear less by themselves, and moved pixels do small type no good
SMALL = 600  # pixels of the side on which the slope is looked for

__all__ = ["FINEST", "STEEPEST", "sheared", "slope_of"]


def slope_of(gray: Gray) -> float:
    """How many pixels down the lines of a page go for every pixel to the right; 0.0 for a straight or empty page."""
    step = max(1, min(gray.shape) // SMALL)
    ink = (255.0 - gray[::step, ::step]).astype(np.float32)
    ink[ink < 96] = 0  # the grey of paper and shadows
    if not ink.any():
        return 0.0
    slope = max(np.linspace(-STEEPEST, STEEPEST, 41), key=lambda tried: _contrast(ink, tried))
    slope = max(np.linspace(slope - 0.005, slope + 0.005, 11), key=lambda tried: _contrast(ink, tried))
    # A drawing has some best slope too; only where rows become far clearer are they lines of print.
    is_clear = _contrast(ink, slope) > 2.5 * _contrast(ink, 0.0)
    return float(slope) if is_clear and abs(slope) >= FINEST else 0.0


def _contrast(ink: NDArray[np.float32], slope: float) -> float:
    """How much neighbouring rows differ when the page is sheared by a slope."""
    height, width = ink.shape
    profile = np.zeros(height, np.float32)
    for start, end, shift in _bands(width, slope):
        part = ink[:, start:end].sum(axis=1)
        if shift >= 0:
            profile[: height - shift] += part[shift:]
        else:
            profile[-shift:] += part[:shift]
    return float(np.square(np.diff(profile)).sum())


def sheared(gray: Gray, slope: float) -> Gray:
    """The page with its columns moved up by ``slope`` times their place, white where nothing was."""
    height, width = gray.shape
    straight = np.full_like(gray, 255)
    for start, end, shift in _bands(width, slope):
        if shift >= 0:
            straight[: height - shift, start:end] = gray[shift:, start:end]
        else:
            straight[-shift:, start:end] = gray[:shift, start:end]
    return straight


def _bands(width: int, slope: float) -> list[tuple[int, int, int]]:
    """Columns that move by the same whole number of pixels: first, end, and how far up."""
    shifts = np.round((np.arange(width) - width / 2) * slope).astype(int)
    edges = [0, *(np.flatnonzero(np.diff(shifts)) + 1).tolist(), width]
    return [(start, end, int(shifts[start])) for start, end in pairwise(edges)]
