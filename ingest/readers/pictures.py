"""Pages as pictures for people: sizes, a page drawn at an exact width, and PNG.

Points are those of the page as it is shown: cut to its crop box and turned. Not covered: forms of the kind XFA, and
layers that are switched off.
"""

from __future__ import annotations

import math
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragapp.ingest.readers.pdfium import Unreadable

MAX_PIXELS = 24_000_000  # an A4 page 4,000 pixels wide; three bytes each while it is drawn
MAX_SIDE = 16_384  # pixels; browsers show no longer picture
FLAT = 0.02  # of an inch: a page less wide or high is no page
LEVEL = 3  # of zlib: higher ones take twice the time for a tenth of the bytes

Pixels = NDArray[np.uint8]


def sizes(pdf: Any) -> list[tuple[float, float]]:
    """Width and height of every page in points, as shown; zeros where a page cannot be loaded. Hold ``PDFIUM``."""
    return [_size(pdf, index) for index in range(len(pdf))]


def size(pdf: Any, number: int) -> tuple[float, float]:
    """Width and height of a page, as in ``sizes``. Raises Unreadable when there is no such page."""
    if not 1 <= number <= len(pdf):
        raise Unreadable("it has no such page")
    return _size(pdf, number - 1)


def _size(pdf: Any, index: int) -> tuple[float, float]:
    import pypdfium2

    try:
        width, height = pdf.get_page_size(index)
    except pypdfium2.PdfiumError:
        return 0.0, 0.0
    return round(width, 2), round(height, 2)


def fitted(width: float, height: float, wanted: int) -> tuple[int, int]:
    """Pixels of the picture of a page of ``width`` by ``height`` points that is to be ``wanted`` pixels wide.

    It is less wide where it would have more pixels, or a longer side, than is drawn.
    """
    shape = max(height, FLAT) / max(width, FLAT)
    wide = min(float(wanted), MAX_SIDE, MAX_SIDE / shape, math.sqrt(MAX_PIXELS / shape))
    columns = max(1, math.floor(wide))
    return columns, max(1, min(MAX_SIDE, MAX_PIXELS // columns, round(columns * shape)))


def with_forms(pdf: Any) -> None:
    """Let the fields of a form be drawn. For a document that was just opened; hold ``PDFIUM``."""
    import pypdfium2

    # Without them there is a page to look at; of what a form may do, nothing is built into this pdfium but looks.
    with suppress(pypdfium2.PdfiumError):
        pdf.init_forms()


def draw(pdf: Any, number: int, wanted: int) -> Pixels:
    """A page on white with its annotations and, after ``with_forms``, what its fields hold: ``(height, width, 3)``, red
    first. Hold ``PDFIUM``.

    Raises Unreadable when there is no such page or it cannot be drawn.
    """
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        page = pdf[number - 1] if 1 <= number <= len(pdf) else None
    except pypdfium2.PdfiumError as error:
        raise Unreadable("the page cannot be loaded") from error
    if page is None:
        raise Unreadable("it has no such page")
    try:
        width, height = page.get_size()
        columns, rows = fitted(width, height, wanted)
        bitmap = pypdfium2.PdfBitmap.new_native(columns, rows, pdfium.FPDFBitmap_BGR, rev_byteorder=True)
        try:
            bitmap.fill_rect((255, 255, 255, 255), 0, 0, columns, rows)
            # Not page.render: it rounds a scale, and a width that is one pixel off is blurred by the screen.
            flags = pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER
            pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, columns, rows, 0, flags)
            if pdf.formenv:
                pdfium.FPDF_FFLDraw(pdf.formenv, bitmap, page, 0, 0, columns, rows, 0, flags)
            return np.array(bitmap.to_numpy().reshape(rows, columns, 3), dtype=np.uint8)
        finally:
            bitmap.close()
    except pypdfium2.PdfiumError as error:
        raise Unreadable("the page cannot be drawn") from error
    finally:
        page.close()


def png(pixels: Pixels) -> bytes:
    """A PNG file (ISO/IEC 15948) of ``(height, width, 3)`` pixels; in one channel where none has a colour."""
    height, width, _ = pixels.shape
    gray = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
    lines = np.ascontiguousarray(pixels[..., 0] if gray else pixels).reshape(height, -1)
    # Each line as its difference from the one above (filter 2): paper and smooth pictures become runs of zeros.
    body = np.empty((height, lines.shape[1] + 1), dtype=np.uint8)
    body[:, 0] = 2
    body[0, 1:] = lines[0]
    body[1:, 1:] = lines[1:] - lines[:-1]
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if gray else 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(body.data, LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
