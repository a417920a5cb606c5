"""PDFs made for tests, in memory or as files: what a page says is what the test wrote."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

WIDTH, HEIGHT = A4
LEFT, TOP = 72.0, HEIGHT - 72
BODY = 10.0
CHINESE = "STSong-Light"


@dataclass(frozen=True)
class Line:
    """A line of text; ``outline`` 1, 2, … also makes it an entry of the outline at that level."""

    text: str
    size: float = BODY
    x: float = LEFT
    y: float | None = None  # from the bottom; below the line before when None
    outline: int = 0


@dataclass(frozen=True)
class Picture:
    """Something dark without text."""


Content = Line | Picture | str
PageContent = str | Sequence[Content]


def pdf(
    pages: Sequence[PageContent],
    *,
    title: str = "",
    author: str = "",
    password: str | None = None,
    owner_password: str = "owner",
    rotation: int = 0,
    labels: Sequence[tuple[int, str, int]] = (),
    size: tuple[float, float] = A4,
) -> bytes:
    """The bytes of a PDF with these pages; a string is a page of lines in body type.

    ``password`` encrypts it, an empty one so that it opens without. ``labels`` are ``(page from 0, style, start)``.
    """
    out = io.BytesIO()
    encrypt = None if password is None else StandardEncryption(password, owner_password, strength=128)
    canvas = Canvas(out, pagesize=size, invariant=1, encrypt=encrypt)
    canvas.setTitle(title)
    canvas.setAuthor(author)
    for page, style, start in labels:
        canvas.addPageLabel(page, style, start)
    entries = 0
    for content in pages:
        if rotation:
            canvas.setPageRotation(rotation)
        y = size[1] - 72
        for item in content.split("\n") if isinstance(content, str) else content:
            if isinstance(item, Picture):
                canvas.rect(100, 300, 200, 200, fill=1)
                continue
            line = Line(item) if isinstance(item, str) else item
            y = y if line.y is None else line.y
            canvas.setFont(_font(line.text), line.size)
            canvas.drawString(line.x, y, line.text)
            if line.outline:
                entries += 1
                canvas.bookmarkPage(f"e{entries}", fit="XYZ", top=y + line.size)
                canvas.addOutlineEntry(line.text, f"e{entries}", level=line.outline - 1)
            y -= line.size * 1.3
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _font(text: str) -> str:
    if text.encode("cp1252", "ignore").decode("cp1252") == text:
        return "Helvetica"
    if CHINESE not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(UnicodeCIDFont(CHINESE))
    return CHINESE


def write(path: Path, pages: Sequence[PageContent], **options: object) -> Path:
    """``pdf`` as a file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pdf(pages, **options))  # type: ignore[arg-type]
    return path


def prose(subject: str, sentences: int = 6) -> str:
    """Lines of plain sentences about a subject, each different."""
    return "\n".join(
        f"The {subject} has the property number {n} and the value {n * 37 % 101}." for n in range(sentences)
    )


def folder(root: Path, count: int, *, pages: int = 1) -> Path:
    """``count`` small documents with different words, named 00.pdf, 01.pdf, …"""
    for n in range(count):
        write(root / f"{n:02}.pdf", [prose(f"subject{n}x{page}") for page in range(pages)])
    return root


def recursive_page_tree() -> bytes:
    """A page tree whose only kid is itself."""
    return assembled([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"])


def assembled(objects: Sequence[bytes]) -> bytes:
    """A PDF of these objects, numbered from 1; the first is its catalog."""
    out = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, xref)
