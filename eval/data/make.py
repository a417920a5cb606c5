"""Render the sample documents to PDF: ``python -m ragapp.eval.data.make [--out DIR] [--cjk-font FILE]``.

The sources are Markdown of the plainest kind, in which every line that is not empty is one block:

    # title            once, the first line
    ## chapter         ### section: the two levels of the outline
    - item             1. item
        command        four spaces in front
    paragraph          anything else; a colon at its end keeps it on one page with the block that follows

The first ``#`` is printed and becomes the title of the PDF; it is not part of the outline. No block is ever broken
across two pages, so that every sentence has one page, and of a list at least three items stand together. Lines are
broken here and not by reportlab, whose rule for Chinese lets a comma begin a line, and so that none is left with a
single word. The same source, fonts and reportlab give the same bytes.

The fonts are embedded: Bitstream Vera as it comes with reportlab (its own free licence), and for Chinese Droid Sans
Fallback (Apache-2.0). The latter has no Latin letters, so Chinese text changes fonts at every letter and digit.

This is a script for development: reportlab is no dependency of the package, and nothing there imports this module.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from reportlab.lib.colors import HexColor  # type: ignore[import-untyped]
from reportlab.lib.pagesizes import A4  # type: ignore[import-untyped]
from reportlab.lib.styles import ParagraphStyle  # type: ignore[import-untyped]
from reportlab.lib.units import mm  # type: ignore[import-untyped]
from reportlab.pdfbase import pdfmetrics  # type: ignore[import-untyped]
from reportlab.pdfbase.ttfonts import TTFError, TTFont  # type: ignore[import-untyped]
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph  # type: ignore[import-untyped]

from ragapp.errors import ConfigError, RagappError

Kind = Literal["title", "chapter", "section", "item", "command", "paragraph"]

HERE = Path(__file__).parent
CJK_FONT = Path("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf")
INK, ACCENT, QUIET, SHADE = HexColor("#1c2126"), HexColor("#1f4e79"), HexColor("#6b7480"), HexColor("#f0f3f6")

_MARKS: tuple[tuple[str, Kind], ...] = (
    (r"# ()(.+)", "title"),
    (r"## ()(.+)", "chapter"),
    (r"### ()(.+)", "section"),
    (r"(-|\d+\.) (.+)", "item"),
    (r" {4}()(.+)", "command"),
    (r"()(.+)", "paragraph"),
)


# What the Chinese font can show; and what a line break never divides: a Chinese character or a word, with the opening
# marks before it and the closing marks and spaces after it.
_HAN = "\u2e80-\U0010ffff"
_PIECE = re.compile(rf"[“（《]*(?:[{_HAN}]|[^\s{_HAN}“”]+)[，。、；：？！）》”…]*\s*|\S\s*")


@dataclass(frozen=True, slots=True)
class Sample:
    """One document: the source's and the PDF's file name, and the language as a BCP 47 tag."""

    source: str
    pdf: str
    language: str


SAMPLES = (
    Sample("manual.en.md", "ragapp-manual.pdf", "en"),
    Sample("manual.zh.md", "ragapp-手册.pdf", "zh-Hans"),
    Sample("handbook.en.md", "lighthouse-handbook.pdf", "en"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """One line of a source. ``mark`` is the number of a numbered item with its full stop, "-" of any other item."""

    kind: Kind
    text: str
    mark: str = ""


def parse(source: str) -> list[Block]:
    """The blocks of a source, in order."""
    return [_block(line.rstrip()) for line in source.splitlines() if line.strip()]


def _block(line: str) -> Block:
    for pattern, kind in _MARKS:
        if match := re.fullmatch(pattern, line):
            return Block(kind, match[2], match[1])
    raise ValueError(f"no block: {line!r}")


def render(source: str, language: str, cjk_font: Path = CJK_FONT) -> bytes:
    """The PDF of a source. Raises ConfigError when a Chinese source is given and ``cjk_font`` cannot be used."""
    blocks = parse(source)
    title = blocks[0].text
    chinese = language.startswith("zh")
    _register(cjk_font if chinese else None)
    out = BytesIO()
    document = BaseDocTemplate(
        out,
        pagesize=A4,
        title=title,
        author="The ragapp project",
        subject="A sample document of ragapp",
        creator="ragapp.eval.data.make",
        lang=language,
        displayDocTitle=True,
        initialFontName="Vera",
        invariant=1,
    )
    margin, top, bottom = 27 * mm, 24 * mm, 25 * mm
    width = A4[0] - 2 * margin
    frame = Frame(margin, bottom, width, A4[1] - top - bottom, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame], onPageEnd=_number_page))
    document.build(_story(blocks, chinese, width))
    return out.getvalue()


def build(out: Path = HERE, cjk_font: Path = CJK_FONT) -> list[Path]:
    """Render all samples into the folder ``out``, which is made if need be, and return the paths of the PDFs."""
    pdfs = {s.pdf: render((HERE / s.source).read_text("utf-8"), s.language, cjk_font) for s in SAMPLES}
    out.mkdir(parents=True, exist_ok=True)
    for name, content in pdfs.items():
        (out / name).write_bytes(content)
    return [out / name for name in pdfs]


def _register(cjk_font: Path | None) -> None:
    # reportlab hands out glyph numbers per font object, so a second document needs fresh ones to give the same bytes.
    pdfmetrics.registerFont(TTFont("Vera", "Vera.ttf"))
    pdfmetrics.registerFont(TTFont("Vera-Bold", "VeraBd.ttf"))
    if cjk_font is None:
        return
    hint = "apt-get install fonts-droid-fallback, or name a TrueType font with Chinese glyphs by --cjk-font FILE"
    if not cjk_font.is_file():
        raise ConfigError(f"the Chinese font {cjk_font} does not exist", hint)
    try:
        pdfmetrics.registerFont(TTFont("CJK", str(cjk_font)))
    except TTFError as error:
        raise ConfigError(f"the Chinese font {cjk_font} cannot be embedded: {error}", hint) from error


def _styles(chinese: bool) -> dict[Kind, Any]:
    size, leading = (10.5, 18) if chinese else (9.6, 15)
    text = ParagraphStyle("paragraph", fontName="Vera", fontSize=size, leading=leading, textColor=INK, spaceAfter=7)

    def derive(name: Kind, **changes: object) -> Any:
        return ParagraphStyle(name, parent=text, **changes)

    def heading(name: Kind, size: float, leading: float, before: float, after: float) -> Any:
        look = {"fontName": "Vera" if chinese else "Vera-Bold", "textColor": ACCENT, "keepWithNext": 1}
        return derive(name, **look, fontSize=size, leading=leading, spaceBefore=before, spaceAfter=after)

    box = {"leftIndent": 8, "rightIndent": 8, "borderPadding": (4, 8, 3, 8), "backColor": SHADE, "spaceBefore": 5}
    return {
        "title": heading("title", 21, 28, 0, 12),
        "chapter": heading("chapter", 14.5, 20, 19, 6),
        "section": heading("section", 11, 16, 8, 4),
        "item": derive("item", leftIndent=17, bulletFontName="Vera", bulletFontSize=9.6, spaceAfter=3.5),
        "command": derive("command", **box, fontSize=size - 0.4, leading=16, spaceAfter=14),
        "paragraph": text,
    }


def _story(blocks: Sequence[Block], chinese: bool, width: float) -> list[Any]:
    """The flowables. A run of commands is one shaded box; the last item of a list has a paragraph's space below."""
    styles = _styles(chinese)
    story: list[Any] = []
    for kind, run in groupby(blocks, key=lambda block: block.kind):
        style, group = styles[kind], list(run)
        if kind == "command":
            story.append(_Whole(Block(kind, "\n".join(block.text for block in group)), style, chinese, width))
            continue
        flowables = [_Whole(block, style, chinese, width) for block in group]
        if kind == "item":
            for flowable in (*flowables[:2], *flowables[-3:]):
                flowable.keepWithNext = 1
            flowables[-1].keepWithNext = 0
            flowables[-1].spaceAfter = styles["paragraph"].spaceAfter
        story += flowables
    return story


@dataclass(frozen=True, slots=True)
class _Face:
    """A Latin and perhaps a Chinese font, of one size; Vera looks large and is set a little smaller in Chinese."""

    latin: str
    size: float
    chinese: bool

    def runs(self, text: str) -> Iterator[tuple[str, float, str]]:
        """Font, size and text of the runs that make up ``text``."""
        for run in re.findall(rf"[{_HAN}]+|[^{_HAN}]+", text) if self.chinese else [text]:
            han = self.chinese and re.match(f"[{_HAN}]", run)
            yield ("CJK", self.size, run) if han else (self.latin, self.size - 0.9 * self.chinese, run)

    def width(self, text: str) -> float:
        return float(sum(pdfmetrics.stringWidth(run, font, size) for font, size, run in self.runs(text)))

    def markup(self, text: str) -> str:
        """The XML that reportlab's paragraphs want."""
        return "".join(
            f'<font name="{font}" size="{size:g}">{escape(run, quote=False)}</font>'
            for font, size, run in self.runs(text)
        )


def _lines(text: str, face: _Face, width: float) -> list[str]:
    """``text`` broken into lines; a last line of less than a tenth is filled by making the others a bit narrower."""
    lines = _fill(text, face, width)
    for narrower in range(1, 16):
        if len(lines) == 1 or face.width(lines[-1]) >= width / 10:
            break
        candidate = _fill(text, face, width * (1 - narrower / 100))
        if len(candidate) > len(lines):
            break
        lines = candidate
    return lines


def _fill(text: str, face: _Face, width: float) -> list[str]:
    """Greedy lines. A break is allowed at a space and beside a Chinese character, but not before ，or after （."""
    lines, line = [], ""
    for piece in _PIECE.findall(text):
        if line and face.width((line + piece).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
    return [*lines, line.rstrip()]


class _Whole(Paragraph):  # type: ignore[misc]
    """A paragraph that stays on one page, and enters itself into the outline if it is a heading."""

    def __init__(self, block: Block, style: Any, chinese: bool, width: float) -> None:
        face = _Face(style.fontName, style.fontSize, chinese)
        inner = width - style.leftIndent - style.rightIndent - 0.5
        lines = [line for part in block.text.split("\n") for line in _lines(part, face, inner)]
        bullet = "\u2022" if block.mark == "-" else block.mark or None
        super().__init__("<br/>".join(face.markup(line) for line in lines), style, bulletText=bullet)
        self.block = block
        if block.text.endswith((":", "：")):
            self.keepWithNext = 1

    def split(self, _width: float, _height: float) -> list[Any]:
        return []

    def draw(self) -> None:
        if self.block.kind in ("chapter", "section"):
            key = "heading-" + sha256(self.block.text.encode()).hexdigest()[:12]
            self.canv.bookmarkHorizontal(key, 0, self.height)
            self.canv.addOutlineEntry(self.block.text, key, level=int(self.block.kind == "section"), closed=0)
            self.canv.showOutline()
        super().draw()


def _number_page(canvas: Any, document: Any) -> None:
    canvas.setFont("Vera", 8.5)
    canvas.setFillColor(QUIET)
    canvas.drawCentredString(A4[0] / 2, 13 * mm, str(document.page))


def main(argv: Sequence[str] | None = None) -> int:
    """The script; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ragapp.eval.data.make", description="Render the sample PDFs.")
    parser.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="folder for the PDFs (default: %(default)s)"
    )
    parser.add_argument("--cjk-font", type=Path, default=CJK_FONT, metavar="FILE", help="(default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        paths = build(options.out, options.cjk_font)
    except RagappError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        return error.exit_code
    sys.stdout.writelines(f"{path} {path.stat().st_size} bytes\n" for path in paths)
    return 0


if __name__ == "__main__":
    sys.exit(main())
