"""Pages drawn in processes of their own: exact widths, bounds, PNG, and what becomes of a process."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragapp.errors import LibraryError
from ragapp.ingest.drawing import Drawers
from ragapp.ingest.readers.pdfium import open_pdf
from ragapp.ingest.readers.pictures import MAX_PIXELS, MAX_SIDE, draw, fitted, png, size, sizes
from tests import pdfs


def pixels(picture: bytes) -> Any:
    image = Image.open(io.BytesIO(picture))
    image.load()
    return np.asarray(image.convert("RGB"))


def order_of(file: Path, **more: Any) -> dict[str, Any]:
    stat = file.stat()
    return {"do": "draw", "page": 1, "path": str(file), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, **more}


@pytest.mark.parametrize("page", [(14_400, 14_400), (14_400, 10), (10, 14_400), (3, 3)])
def test_large_and_narrow_pages_take_little(page: tuple[float, float]) -> None:
    content: Any = [[pdfs.Line("The pump is blue.", x=1, y=1)]]
    with open_pdf("a.pdf", pdfs.pdf(content, size=page), ()) as (pdf, _):
        started = time.perf_counter()
        shape = draw(pdf, 1, 4000).shape
        assert shape[0] * shape[1] <= MAX_PIXELS
        assert max(shape) <= MAX_SIDE
        assert time.perf_counter() - started < 10
        assert sizes(pdf) == [size(pdf, 1)] == [page]


@given(st.floats(0.001, 20_000), st.floats(0.001, 20_000), st.integers(50, 4000))
def test_a_picture_has_the_width_that_was_asked_for_where_it_may(width: float, height: float, wanted: int) -> None:
    columns, rows = fitted(width, height, wanted)
    assert 1 <= columns <= wanted
    assert 1 <= rows <= MAX_SIDE
    assert columns * rows <= MAX_PIXELS
    if 10 < width < 2000 and 0.2 < height / width < 1.4:
        assert columns == wanted
        assert rows == round(wanted * height / width)


@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.randoms(use_true_random=False))
def test_a_png_holds_its_pixels(width: int, height: int, gray: bool, random: Any) -> None:
    made = np.frombuffer(random.randbytes(width * height * 3), dtype=np.uint8).reshape(height, width, 3).copy()
    if gray:
        made[..., 1] = made[..., 2] = made[..., 0]
    assert (pixels(png(made)) == made).all()


def test_a_process_that_ends_is_started_again(tmp_path: Path) -> None:
    file = pdfs.write(tmp_path / "a.pdf", ["The pump is blue."])
    order = order_of(file, width=3000)
    idle = Drawers(1, 20, idle=0.2)
    try:
        assert idle.ask(order)[0] == {"width": 3000, "height": 4243}
        time.sleep(0.8)
        assert idle.ask(order)[0] == {"width": 3000, "height": 4243}
    finally:
        idle.close()
    with pytest.raises(LibraryError, match="closed"):
        idle.ask(order)


def test_a_page_that_takes_too_long_or_too_much(tmp_path: Path) -> None:
    file = pdfs.write(tmp_path / "a.pdf", ["The pump is blue."])
    order = order_of(file, width=4000)
    hasty = Drawers(1, 0.001)
    try:
        assert "width" in hasty.ask(order)[0]  # a new process has time to come up
        assert hasty.ask(order)[0] == {"refused": "damaged", "reason": "it takes longer than 0.001 seconds"}
        assert "width" in hasty.ask(order)[0]
    finally:
        hasty.close()
    narrow = Drawers(1, 20, memory_mb=40)
    try:
        assert narrow.ask(order)[0]["refused"] == "damaged"
    finally:
        narrow.close()
