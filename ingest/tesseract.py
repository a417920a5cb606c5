"""tesseract, as a program: a picture goes in through a pipe, words with boxes come out of one. Nothing lies on disk.

A page is read with one thread, pages are read beside each other. Languages of Latin and other letters are read
together; each of Chinese, Japanese and Korean is read alone, and only where the first reading was unsure: together
they cost twice the time and read both worse (see eval/LOG.md). Format: tesseract's TSV, one row a word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from ragapp.errors import ConfigError
from ragapp.ingest.engines import PAGE_SECONDS, EngineFailed, Seen, certainty_of, is_glued
from ragapp.ingest.readers.pdfium import Picture
from ragapp.text import has_cjk

HOW_TO_INSTALL = (
    "On Debian and Ubuntu: apt install tesseract-ocr tesseract-ocr-chi-sim; on macOS: brew install tesseract."
)
DEFAULT_LANGUAGES = ("eng", "chi_sim")
SURE = 0.8  # a reading of this certainty needs no second one
START_SECONDS = 20.0

_ALONE = ("chi_", "jpn", "kor")
_WORD_LEVEL = "5"


def program() -> str | None:
    """Where tesseract lies; None where it is not installed."""
    return shutil.which("tesseract")


def chosen(path: str, languages: str) -> tuple[str, ...]:
    """The languages to read with, of those installed, "osd" last when it is there. Raises ConfigError."""
    installed = _installed(path)
    named = [name for name in languages.replace(",", "+").split("+") if name.strip()]
    if named in ([], ["auto"]):
        named = [name for name in DEFAULT_LANGUAGES if name in installed] or [n for n in installed if n != "osd"][:1]
    missing = [name for name in named if name not in installed]
    if missing or not named:
        raise ConfigError(
            f"tesseract has no data for {', '.join(missing) or 'any language'}; it has: {', '.join(installed)}.",
            f"On Debian and Ubuntu: apt install tesseract-ocr-{(missing or ['eng'])[0].replace('_', '-')}",
        )
    return (*dict.fromkeys(named), *(["osd"] if "osd" in installed else []))


def _installed(path: str) -> list[str]:
    try:
        done = subprocess.run([path, "--list-langs"], capture_output=True, timeout=START_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"tesseract does not start: {error}.", HOW_TO_INSTALL) from error
    return [line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines()[1:] if line.strip()]


def readings(languages: Sequence[str]) -> tuple[str, ...]:
    """What tesseract is asked to read a page with, in this order until it is sure: "eng+deu", "chi_sim"."""
    together = [name for name in languages if not name.startswith(_ALONE)]
    return (*(["+".join(together)] if together else []), *(name for name in languages if name.startswith(_ALONE)))


def parse(tsv: str) -> list[Seen]:
    """The words in tesseract's TSV, in its reading order. Rows that are not words, or hold none, are left out."""
    found: list[Seen] = []
    lines: dict[tuple[str, ...], int] = {}
    paragraphs: dict[tuple[str, ...], int] = {}
    for row in tsv.split("\n"):
        cells = row.split("\t", 11)
        if len(cells) < 12 or cells[0] != _WORD_LEVEL or not cells[11].strip():
            continue
        left, top, width, height, certainty = (float(cell) for cell in cells[6:11])
        line = lines.setdefault(tuple(cells[1:5]), len(lines))
        paragraph = paragraphs.setdefault(tuple(cells[1:4]), len(paragraphs))
        text = cells[11].strip()
        glued = False
        if found and found[-1].line == line:
            before = found[-1]
            gap = max(left - before.x1, top - before.y1, before.x0 - left - width, before.y0 - top - height)
            glued = is_glued(before.text, text, gap, min(width, height) if len(text) > 1 else height)
        found.append(
            Seen(text, max(0.0, certainty) / 100, left, top, left + width, top + height, line, paragraph, glued)
        )
    return found


class Tesseract:
    """One tesseract a page. ``languages`` as ``chosen`` gives them; a page is given up after ``seconds``."""

    def __init__(self, path: str, languages: Sequence[str], seconds: float = PAGE_SECONDS) -> None:
        self._path = path
        self._languages = [name for name in languages if name != "osd"]
        self._readings = readings(self._languages)
        # Page segmentation 1 turns the page upright first, which needs the data for orientation; 3 does not.
        self._segmentation = "1" if "osd" in languages else "3"
        self._seconds = seconds
        self._first = self._readings[0]  # what the last page was best read with: the next one most likely is too
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return f"tesseract {'+'.join(self._languages)}"

    def read(self, picture: Picture) -> Sequence[Seen]:
        """The surest reading of a page. Raises EngineFailed."""
        image = b"P5 %d %d 255\n" % (picture.width, picture.height) + picture.gray
        dpi = max(70, round(picture.width / max(1.0, picture.page_width) * 72))
        until = time.monotonic() + self._seconds
        best: list[Seen] = []
        first = self._first
        for language in sorted(self._readings, key=lambda reading: reading != first):
            words = parse(self._run(image, dpi, language, until))
            if certainty_of(words) > certainty_of(best):
                best, self._first = words, language
            if self._is_sure(language, words):
                break
        return best

    def _is_sure(self, language: str, words: Sequence[Seen]) -> bool:
        """A reading in Chinese also takes Latin letters for its own, so it is sure only of a page of Chinese."""
        if certainty_of(words) < SURE:
            return False
        if not language.startswith(_ALONE):
            return True
        return sum(len(word.text) for word in words if has_cjk(word.text)) > 0.5 * sum(len(word.text) for word in words)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()

    def _run(self, image: bytes, dpi: int, language: str, until: float) -> str:
        command = [self._path, "-", "-", "-l", language, "--psm", self._segmentation, "--dpi", str(dpi)]
        process = self._start([*command, "-c", "tessedit_create_tsv=1"])
        try:
            out, _ = process.communicate(image, timeout=max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise EngineFailed(f"tesseract took longer than {self._seconds:g} seconds") from None
        finally:
            self._end(process)
        if process.returncode != 0:
            raise EngineFailed(f"tesseract ended with code {process.returncode}")
        return out.decode("utf-8", "replace")

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise EngineFailed("it was stopped")
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "OMP_THREAD_LIMIT": "1"},
                )
            except OSError as error:
                raise EngineFailed(f"tesseract does not start: {error}") from error
            self._running.add(process)
        _limit_time(process.pid, self._seconds)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not yet written to a dead process cannot be flushed
                    pipe.close()


def _limit_time(pid: int, seconds: float) -> None:
    """Let the system end the process too, so that it does not go on when this one has been killed (Linux only)."""
    if sys.platform != "linux":
        return
    import resource

    limit = int(seconds) + 1
    with suppress(OSError):  # it has ended already
        resource.prlimit(pid, resource.RLIMIT_CPU, (limit, limit))
