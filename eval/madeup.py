"""PDFs that are made up on the spot, as many pages as wanted, with questions about them.

Plain English text in Helvetica, one column, about a hundred words a page, written byte by byte, so that no library is
needed for it. Names, parts and figures are drawn by a seeded generator: the same pages and seed give the same
bytes. Every page holds one fact that its question asks for in other words. Such pages show what size costs; they say
little about how well real documents are searched.
"""

from __future__ import annotations

import random
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path

from ragapp.errors import ConfigError
from ragapp.eval.questions import Gold, Question

A_DOCUMENT = 100  # pages
WIDTH = 88  # characters a line
MOST = 1_000_000  # pages

PARTS = (
    "cooling pump", "main breaker", "signal lamp", "fuel valve", "backup battery", "intake filter", "relay cabinet",
    "drive belt", "pressure gauge", "ventilation fan", "water tank", "control panel",
)  # fmt: skip
VERBS = ("inspected", "cleaned", "replaced", "calibrated", "tested")
ASKED = {
    "inspected": "looked at", "cleaned": "washed", "replaced": "changed", "calibrated": "adjusted", "tested": "tried",
}  # fmt: skip
SYLLABLES = ("al", "bor", "cen", "dun", "el", "far", "gil", "hol", "in", "kor", "lan", "mer", "nor", "os", "pel", "rin")
ENDINGS = ("ford", "wick", "stead", "mouth", "dale", "bury", "ham", "field")
FILLERS = (
    "The staff of {place} keep a log in which every shift writes down the weather, the visitors and the deliveries.",
    "Spare parts are stored in room {number} and are counted at the end of each quarter by two people.",
    "Whoever finds a fault reports it to the office, which replies in {number} hours and sets a date for the repair.",
    "In the year {year} the building was extended by a workshop and by a store for tools and protective clothing.",
    "Deliveries arrive at the northern gate between seven and nine in the morning, except on public holidays.",
    "Training takes place twice a year and ends with a short test, which {number} of a hundred people pass at once.",
    "The budget for {year} foresees {number} thousand for upkeep and a reserve for what nobody could foresee.",
    "Visitors sign the book at the entrance and are accompanied by a member of staff as long as they stay.",
)


def check(pages: int) -> None:
    """Raise ConfigError for a number of pages that makes no sense."""
    if not 0 < pages <= MOST:
        raise ConfigError(f"{pages:,} pages cannot be made up.", f"Name a number from 1 to {MOST:,}.")


def write(folder: Path, pages: int, seed: int = 0) -> list[Path]:
    """Write documents with so many pages in all into ``folder``. Raises ConfigError as ``check`` does."""
    check(pages)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, first in enumerate(range(0, pages, A_DOCUMENT)):
        file = folder / name_of(number)
        count = min(A_DOCUMENT, pages - first)
        file.write_bytes(pdf([text_of(number, page, seed) for page in range(1, count + 1)]))
        written.append(file)
    return written


def questions(pages: int, count: int, seed: int = 0) -> tuple[Question, ...]:
    """Questions about ``count`` of the pages (or all, if there are fewer), each with its gold page."""
    picked = sorted(random.Random(f"asked {seed}").sample(range(pages), min(count, pages)))
    return tuple(_question(at // A_DOCUMENT, at % A_DOCUMENT + 1, seed) for at in picked)


def name_of(number: int) -> str:
    return f"station-manual-{number + 1:04d}.pdf"


def _question(number: int, page: int, seed: int) -> Question:
    place, part, verb, weeks, _ = _fact(number, page, seed)
    text = f"How often does the {part} at {place} have to be {ASKED[verb]}?"
    gold = Gold(name_of(number), (page,), f"is {verb} every {weeks} weeks")
    return Question(f"{number + 1}-{page}", text, (gold,), (f"every {weeks} weeks",))


def _fact(number: int, page: int, seed: int) -> tuple[str, str, str, int, random.Random]:
    """Place, part, verb and weeks of a page, and the generator for the rest of it. A place fills ten pages."""
    there = random.Random(f"{seed}:{number}:{(page - 1) // 10}")
    place = ("".join(there.choices(SYLLABLES, k=3)) + there.choice(ENDINGS)).capitalize()
    parts = there.sample(PARTS, 10)
    here = random.Random(f"{seed}:{number}:{page}")
    return place, parts[(page - 1) % 10], here.choice(VERBS), here.randint(2, 51), here


def text_of(number: int, page: int, seed: int = 0) -> str:
    """The lines of a page."""
    place, part, verb, weeks, dice = _fact(number, page, seed)
    chosen = dice.sample(FILLERS, 5)
    facts = [line.format(place=place, number=dice.randint(3, 97), year=dice.randint(1960, 2025)) for line in chosen]
    facts.insert(dice.randrange(1, 5), f"The {part} of the station {place} is {verb} every {weeks} weeks by its crew.")
    heading = f"{place}: the {part} (section {number + 1}.{page})"
    return "\n".join([heading, "", *textwrap.wrap(" ".join(facts), WIDTH)])


def pdf(texts: list[str]) -> bytes:
    """A PDF 1.4 with a page for each text; characters of ASCII only (ISO 32000-1, 7.5)."""
    out, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(_objects(texts), 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, start)
    return bytes(out)


def _objects(texts: list[str]) -> Iterator[bytes]:
    """Catalog, page tree, font, and two objects a page: itself, and what it draws."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * at) for at in range(len(texts)))
    yield b"<< /Type /Catalog /Pages 2 0 R >>"
    yield b"<< /Type /Pages /Count %d /Kids [%b] >>" % (len(texts), kids)
    yield b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
    for at, text in enumerate(texts):
        yield (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F 3 0 R >> >> "
            b"/Contents %d 0 R >>" % (5 + 2 * at)
        )
        drawn = zlib.compress(_drawn(text))
        yield b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(drawn), drawn)


def _drawn(text: str) -> bytes:
    shown = (line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in text.splitlines())
    lines = b"".join(b"(%b) Tj T*\n" % line.encode("ascii", "replace") for line in shown)
    return b"BT /F 11 Tf 14 TL 60 770 Td\n" + lines + b"ET"
