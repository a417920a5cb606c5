"""Pages laid out word by word, so that every place on them is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ragapp.ingest.tables import FoundTable, find_tables
from ragapp.ingest.words import Rule, Word

PROSE = (
    "The company reports its results in four segments and the board reviews them every quarter with the auditors of "
    "the group before they are published in the annual report that is sent to all of its owners in the spring"
)


LABELS = [(72.0, "left"), (320.0, "right"), (390.0, "right"), (460.0, "right")]
FIGURES = [
    ["Net sales", "32,765", "31,657", "30,109"],
    ["Cost of sales", "(16,682)", "(16,055)", "(15,118)"],
    ["Margin", "49.1%", "49.3%", "49.8%"],
    ["Other", "—", "12", "n/a"],
]


@dataclass
class Sheet:
    """A page that is written on: ``put`` sets text at a place, in a face whose letters are half as wide as high."""

    size: float = 10.0
    words: list[Word] = field(default_factory=list)
    text: str = ""
    rules: list[Rule] = field(default_factory=list)

    def width(self, text: str) -> float:
        return sum(1.0 if ord(c) > 0x2E80 else 0.25 if c == " " else 0.5 for c in text) * self.size

    def put(self, x: float, y: float, text: str, align: str = "left", space: float = 0.25) -> None:
        parts = text.split(" ")
        total = sum(self.width(part) for part in parts) + space * self.size * (len(parts) - 1)
        x -= {"left": 0.0, "right": total, "middle": total / 2}[align]
        for part in parts:
            start = len(self.text)
            right = x + self.width(part)
            self.words.append(Word(start, start + len(part), x, y, right, y + 1.15 * self.size, self.size))
            self.text += f"{part} "
            x = right + space * self.size
        self.text += "\r\n"

    def rows(
        self, y: float, columns: Sequence[tuple[float, str]], rows: Sequence[Sequence[str]], step: float = 14
    ) -> None:
        for row in rows:
            for (x, align), cell in zip(columns, row, strict=False):
                if cell:
                    self.put(x, y, cell, align)
            y += step

    def grid(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.rules += [Rule(xs[0], y, xs[-1], y) for y in ys]
        self.rules += [Rule(x, ys[0], x, ys[-1]) for x in xs]

    def tables(self) -> list[FoundTable]:
        return find_tables(self.words, self.text, self.rules)

    def say(self, cell: Sequence[int]) -> str:
        return " ".join(self.text[self.words[i].start : self.words[i].end] for i in cell)

    def cells(self, table: FoundTable) -> list[list[str]]:
        return [[self.say(cell) for cell in row] for row in table.rows]

    def only(self) -> FoundTable:
        tables = self.tables()
        assert len(tables) == 1, [self.cells(table) for table in tables]
        return tables[0]


def column(sheet: Sheet, x: float, y: float, lines: int, *, width: float, step: float = 12.5) -> None:
    """Justified prose: lines as wide as the column, their spaces stretched."""
    words = iter(PROSE.split() * 40)
    word = next(words)
    for k in range(lines):
        line: list[str] = []
        while sum(sheet.width(w) for w in [*line, word]) + 2.5 * len(line) <= width:
            line.append(word)
            word = next(words)
        spare = width - sum(sheet.width(w) for w in line)
        sheet.put(x, y + step * k, " ".join(line), space=spare / (len(line) - 1) / sheet.size)


def typewritten(sheet: Sheet, x: float, y: float, lines: Sequence[str]) -> None:
    for k, line in enumerate(lines):
        place = 0
        for part in line.split(" "):
            if part:
                sheet.put(x + 5 * place, y + 12 * k, part)
            place += len(part) + 1


def statement() -> Sheet:
    sheet = Sheet()
    sheet.put(72, 60, "Consolidated Statement of Income")
    sheet.put(365, 80, "Years ended December 31", "middle")
    sheet.rows(94, LABELS, [["(Millions)", "2018", "2017", "2016"], *FIGURES])
    return sheet


def ruled() -> Sheet:
    sheet = Sheet()
    sheet.put(60, 60, "Exhibit 9. Types of assessments")
    sheet.grid([60, 160, 260, 360], [80, 110, 150, 175])
    sheet.put(65, 82, "Type")
    sheet.put(165, 82, "All of the")
    sheet.put(165, 95, "students")
    sheet.put(265, 82, "Some")
    sheet.put(65, 112, "Content")
    sheet.put(165, 112, "Students who")
    sheet.put(165, 125, "need other ways")
    sheet.put(265, 112, "Grade level")
    sheet.put(65, 152, "Achievement")
    sheet.put(265, 152, "Modified")
    return sheet
