"""rapidocr, from the extra `ragapp[ocr]`: its models come in its wheel, so nothing is fetched. Chinese and English.

It finds lines, not columns or paragraphs; those are made here from the lines' boxes by cutting the page where white
runs through it (the recursive XY-cut, Nagy and Seth 1984). A page that lies on its side or its head is turned until
its lines are read surely. The models run inside this process and cannot be stopped in the middle of a page.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

from ragapp.ingest.engines import EngineFailed, Seen
from ragapp.ingest.readers.pdfium import Picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SURE = 0.8  # a page whose lines are read less surely may stand on its head
MAX_PIXELS = 4_000_000  # A4 at 200 dpi; more reads no better, and the memory it takes is not given back
APART = 0.9  # white of this many line heights sets paragraphs apart
COLUMN_LINES, COLUMN_WIDTH = 3, 7.0  # lines of a column of prose, and their usual width in line heights

Rect = tuple[float, float, float, float]
_READING = threading.Lock()  # one page takes every core already, and the models are not made to be shared


@dataclass(frozen=True, slots=True)
class Line:
    """A line as rapidocr found it, ``words`` with their boxes; pixels of the picture turned upright."""

    text: str
    certainty: float
    box: Rect
    words: tuple[tuple[str, float, Rect], ...] = ()

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]


def is_installed() -> bool:
    """Whether the extra is there."""
    return all(importlib.util.find_spec(name) for name in ("rapidocr", "onnxruntime"))


class Rapid:
    """rapidocr behind the contract. The models are loaded once a process, on first use."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    @property
    def name(self) -> str:
        return "rapidocr"

    def read(self, picture: Picture) -> Sequence[Seen]:
        """The words of a page in reading order. Raises EngineFailed."""
        import numpy as np

        gray = np.frombuffer(picture.gray, np.uint8).reshape(picture.height, picture.width)
        step = 1
        while gray.size > MAX_PIXELS * step**2:
            step += 1
        turn, lines = self._upright(_shrunk(gray, step))
        found: list[Seen] = []
        number = 0
        for paragraph, rows in enumerate(paragraphs(lines)):
            for row in rows:
                for text, certainty, box, glued in _words_of(row):
                    x0, y0, x1, y1 = unturned(box, turn, picture.width / step, picture.height / step)
                    place = (x0 * step, y0 * step, x1 * step, y1 * step)
                    found.append(Seen(text, certainty, *place, number, paragraph, glued))
                number += 1
        return found

    def stop(self) -> None:
        self._stopped.set()

    def _upright(self, gray: NDArray[np.uint8]) -> tuple[int, list[Line]]:
        """The lines of a page, and by how many quarters it was turned against the clock to read them."""
        import numpy as np

        lines = self._look(gray)
        best = 0, lines
        if not lines:
            return best
        if sum(line.height > 1.5 * (line.box[2] - line.box[0]) for line in lines) > len(lines) / 2:
            others: tuple[int, ...] = (1, 3)
        else:
            others = () if _certainty(lines) >= SURE else (2,)
        for turn in others:
            turned = self._look(np.rot90(gray, turn))
            # Lines that stand are read as if they lay, so only the turned pages say which side is up.
            if _certainty(turned) > _certainty(best[1]) or (best[0] == 0 and turn == 1):
                best = turn, turned
        return best

    def _look(self, gray: NDArray[np.uint8]) -> list[Line]:
        import numpy as np

        with _READING:
            if self._stopped.is_set():
                raise EngineFailed("it was stopped")
            try:
                # As three equal colours: the library takes a picture of one for a file of two dimensions it must guess.
                found = _models()(np.repeat(gray[:, :, None], 3, axis=2), use_cls=False, return_word_box=True)
            except MemoryError:
                raise
            except Exception as error:
                raise EngineFailed(f"rapidocr: {error}") from error
        if found.boxes is None or not found.txts:
            return []
        words = found.word_results or [()] * len(found.txts)
        return [
            Line(text, float(score), _rect(box), tuple((w, float(s), _rect(b)) for w, s, b in parts if b is not None))
            for text, score, box, parts in zip(found.txts, found.scores, found.boxes, words, strict=True)
        ]


@cache
def _models() -> Any:
    """The models in the wheel, in one instance a process."""
    from rapidocr import RapidOCR

    # Without the arena the memory that a large page took is given back; the reading process has a limit.
    return RapidOCR(params={"Global.log_level": "critical", "EngineConfig.onnxruntime.enable_cpu_mem_arena": False,
                            "Rec.rec_batch_num": 2})  # fmt: skip


def paragraphs(lines: Sequence[Line]) -> Iterator[list[list[Line]]]:
    """Paragraphs in reading order, as rows of lines that stand side by side."""
    if not lines:
        return
    height = median(line.height for line in lines)
    parts = _beside(lines, height) or _above(lines, height)
    if parts is None:
        yield _rows(lines)
    else:
        yield from paragraphs(parts[0])
        yield from paragraphs(parts[1])


def _beside(lines: Sequence[Line], height: float) -> tuple[list[Line], list[Line]] | None:
    """The lines left and right of the first white lane between two columns of prose."""
    across = sorted(lines, key=lambda line: line.box[0])
    reach = across[0].box[2]
    for k, line in enumerate(across):
        left, right = across[:k], across[k:]
        if line.box[0] - reach > 0.5 * height and _is_prose(left, height) and _is_prose(right, height):
            return left, right
        reach = max(reach, line.box[2])
    return None


def _is_prose(lines: Sequence[Line], height: float) -> bool:
    if len(lines) < COLUMN_LINES:
        return False
    return median(line.box[2] - line.box[0] for line in lines) >= COLUMN_WIDTH * height


def _above(lines: Sequence[Line], height: float) -> tuple[list[Line], list[Line]] | None:
    """The lines above and below the widest white that runs across."""
    down = sorted(lines, key=lambda line: line.box[1])
    reach, widest, cut = down[0].box[3], APART * height, 0
    for k, line in enumerate(down):
        if line.box[1] - reach > widest:
            widest, cut = line.box[1] - reach, k
        reach = max(reach, line.box[3])
    return (down[:cut], down[cut:]) if cut else None


def _rows(lines: Sequence[Line]) -> list[list[Line]]:
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.box[1] + line.box[3]):
        middle = (line.box[1] + line.box[3]) / 2
        if rows and rows[-1][0].box[1] < middle < rows[-1][0].box[3]:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.box[0]) for row in rows]


def _words_of(row: Sequence[Line]) -> Iterator[tuple[str, float, Rect, bool]]:
    """Words with certainty, box and whether they follow without a space, as the text of their line says."""
    for line in row:
        if "".join(word for word, _, _ in line.words) != "".join(line.text.split()):
            # Words that are not the line's cannot be trusted to say where its parts lie.
            yield line.text.strip(), line.certainty, line.box, False
            continue
        at = 0
        for word, certainty, box in line.words:
            start = line.text.index(word[0], at)
            yield word, certainty, box, start == at > 0
            at = start + len(word)


def unturned(box: Rect, turn: int, width: float, height: float) -> Rect:
    """A rectangle of a picture turned by ``turn`` quarters against the clock, in the picture as it was."""
    x0, y0, x1, y1 = box
    if turn == 1:
        return width - y1, x0, width - y0, x1
    if turn == 2:
        return width - x1, height - y1, width - x0, height - y0
    if turn == 3:
        return y0, height - x1, y1, height - x0
    return box


def _shrunk(gray: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Every square of ``step`` times ``step`` pixels as one, their mean."""
    if step == 1:
        return gray
    height, width = gray.shape[0] // step, gray.shape[1] // step
    cells = gray[: height * step, : width * step].reshape(height, step, width, step)
    mean: NDArray[np.uint8] = cells.mean(axis=(1, 3)).astype(cells.dtype)
    return mean


def _certainty(lines: Sequence[Line]) -> float:
    size = sum(len(line.text) for line in lines)
    return sum(line.certainty * len(line.text) for line in lines) / size if size else 0.0


def _rect(box: Any) -> Rect:
    across, down = [float(x) for x, _ in box], [float(y) for _, y in box]
    return min(across), min(down), max(across), max(down)
