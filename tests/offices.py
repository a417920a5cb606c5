"""Office, web and mail files made for tests, in memory: what they say is what the test wrote."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Any

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
ODF = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in (("office", "office"), ("text", "text"), ("table", "table"), ("style", "style"),
                         ("fo", "xsl-fo-compatible"), ("draw", "drawing"), ("meta", "meta"))
)  # fmt: skip

Rows = Sequence[Sequence[Any]]


def docx(*blocks: str | tuple[int, str] | Rows | bytes, title: str = "", author: str = "", header: str = "") -> bytes:
    """Paragraphs, headings as ``(level, text)``, tables as rows, "- " and "# " items, and raw XML of the body.

    A paragraph "\\f" is a page break.
    """
    import docx as library
    from docx.oxml import parse_xml

    document = library.Document()
    document.core_properties.title, document.core_properties.author = title, author
    if header:
        document.sections[0].header.paragraphs[0].text = header
    for block in blocks:
        if isinstance(block, bytes):
            document.element.body.insert(-1, parse_xml(block))
        elif block == "\f":
            document.add_page_break()
        elif isinstance(block, str):
            style = {"- ": "List Bullet", "# ": "List Number"}.get(block[:2])
            document.add_paragraph(block[2:] if style else block, style=style)
        elif isinstance(block, tuple):
            document.add_heading(block[1], block[0])
        else:
            _fill(document.add_table(len(block), len(block[0])), block)
    return _saved(document)


def _fill(table: Any, rows: Rows) -> None:
    """Cells; None is merged into its left neighbour, "^" into the cell above."""
    for i, row in enumerate(rows):
        for j, text in enumerate(row):
            if text is None:
                table.cell(i, j - 1).merge(table.cell(i, j))
            elif text == "^":
                table.cell(i - 1, j).merge(table.cell(i, j))
            else:
                table.cell(i, j).text = str(text)


def _saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def pptx(*slides: Mapping[str, Any], title: str = "") -> bytes:
    """Slides with ``title``, ``body`` (a line each), ``notes``, ``table`` (rows), ``chart`` (heads, then rows)."""
    import pptx as library
    from pptx.util import Inches

    deck = library.Presentation()
    deck.core_properties.title = title
    for facts in slides:
        slide = deck.slides.add_slide(deck.slide_layouts[1 if "body" in facts else 5 if "title" in facts else 6])
        if "title" in facts:
            slide.shapes.title.text = facts["title"]
        if "body" in facts:
            slide.placeholders[1].text_frame.text = "\n".join(facts["body"])
        if "notes" in facts:
            slide.notes_slide.notes_text_frame.text = facts["notes"]
        if "table" in facts:
            rows = facts["table"]
            size = (Inches(1), Inches(3), Inches(6), Inches(2))
            _fill(slide.shapes.add_table(len(rows), len(rows[0]), *size).table, rows)
        if "chart" in facts:
            _add_chart(slide, facts["chart"])
    return _saved(deck)


def _add_chart(slide: Any, rows: Rows) -> None:
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    data = CategoryChartData()
    data.categories = [row[0] for row in rows[1:]]
    for n, name in enumerate(rows[0][1:], 1):
        data.add_series(name, [row[n] for row in rows[1:]])
    size = (Inches(1), Inches(5), Inches(6), Inches(2))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *size, data)


def xlsx(sheets: Mapping[str, Rows], *, merged: Mapping[str, Sequence[str]] | None = None, percent: str = "") -> bytes:
    """Sheets by name; ``merged`` are ranges by sheet; the cell ``percent`` of the first sheet is shown as one."""
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
        for span in (merged or {}).get(name, ()):
            sheet.merge_cells(span)
    if percent:
        book.worksheets[0][percent].number_format = "0%"
    return _saved(book)


def packed(members: Mapping[str, str | bytes], *, compressed: bool = True) -> bytes:
    """A zip file; a member "mimetype" is stored as the first, uncompressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, body in members.items():
            deflated = compressed and name != "mimetype"
            file.writestr(name, body, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    return out.getvalue()


def epub(chapters: Mapping[str, str], *, title: str = "", toc: Mapping[str, str] | None = None, **extra: str) -> bytes:
    """Chapters as bodies of HTML by file name; ``toc`` names files; ``extra`` are more members (encryption="…")."""
    items = "".join(f'<item id="i{n}" href="{name}"/>' for n, name in enumerate(chapters))
    spine = "".join(f'<itemref idref="i{n}"/>' for n, _ in enumerate(chapters))
    links = "".join(f'<li><a href="{name}">{label}</a></li>' for name, label in (toc or {}).items())
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
                                  '<rootfile full-path="book/content.opf"/></rootfiles></container>',
        "book/content.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
                            f"<metadata><dc:title>{title}</dc:title><dc:creator>Ann Author</dc:creator></metadata>"
                            f'<manifest><item id="nav" href="nav.xhtml" properties="nav"/>{items}</manifest>'
                            f"<spine>{spine}</spine></package>",
        "book/nav.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><body><nav><ol>{links}</ol></nav></body></html>',
        **{f"book/{name}": f'<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head>'
                           f"<title>t</title></head><body>{body}</body></html>" for name, body in chapters.items()},
        **{f"META-INF/{name}.xml": body for name, body in extra.items()},
    }  # fmt: skip
    return packed(members)


def odt(body: str, *, styles: str = "", title: str = "") -> bytes:
    """The XML of an OpenDocument text's body, with its automatic styles."""
    content = (
        f"<office:document-content {ODF}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:text>{body}</office:text></office:body></office:document-content>"
    )
    meta = (
        f'<office:document-meta {ODF} xmlns:dc="http://purl.org/dc/elements/1.1/"><office:meta>'
        f"<dc:title>{title}</dc:title></office:meta></office:document-meta>"
    )
    mimetype = "application/vnd.oasis.opendocument.text"
    return packed({"mimetype": mimetype, "content.xml": content, "meta.xml": meta})


def eml(text: str = "", html: str = "", attachments: Mapping[str, bytes] | None = None, **headers: str) -> bytes:
    """A mail with a plain and an HTML version of its body, as far as they are given."""
    message = EmailMessage()
    for key, value in {"From": "Ann <ann@example.org>", "To": "bo@example.org", **headers}.items():
        message[key] = value
    if text or not html:
        message.set_content(text)
        if html:
            message.add_alternative(html, subtype="html")
    else:
        message.set_content(html, subtype="html")
    for name, data in (attachments or {}).items():
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return bytes(message)


RTF = (
    rb"{\rtf1\ansi\ansicpg936\deff0{\fonttbl{\f0\fcharset134 SimSun;}{\f1\fcharset0 Arial;}}"
    rb"{\stylesheet{\s0 Normal;}{\s1\outlinelevel0 heading 1;}}{\info{\title The pump paper}{\author Al}}"
    rb"{\header running head}\pard\s1 Head \'b1\'ea\'cc\'e2\par\pard\s0\plain\f0 The \u27700?\u27893? moves {\b 42} "
    rb"litres, caf\f1\'e9\f0 .{\v hidden}\par{\listtext\tab \u8226?\tab}item\par{\listtext 2.\tab}second\par"
    rb"\trowd\cellx1\cellx2 Item\intbl\cell 2018\cell\row\trowd\intbl Net\cell 7\cell\row\pard after"
    rb"{\footnote a note}\par\page next page{\shp{\*\shpinst{\sp{\sn x}{\sv 1}}{\shptxt  boxed}}{\shprslt twice}}\par}"
)


def samples() -> dict[str, bytes]:
    """One small file of every kind that can be read, by its name."""
    rows = [["Item", "2018"], ["Net sales", "1,234"]]
    html = "<html><head><title>The page</title></head><body><h1>Pump 水泵</h1><p>It moves 42 litres.</p></body></html>"
    return {
        "a.docx": docx((1, "Pump 水泵"), "It moves 42 litres.", rows),
        "a.pptx": pptx({"title": "Pump 水泵", "body": ["It moves", "42 litres."]}, {"title": "More", "table": rows}),
        "a.xlsx": xlsx({"Sales": rows, "数据": [["水泵", "流量"], ["a", "42 litres"]]}),
        "a.html": html.encode(),
        "a.md": "# Pump 水泵\n\nIt moves 42 litres.\n\n| Item | 2018 |\n|---|---|\n| Net | 1 |\n".encode(),
        "a.txt": "Pump 水泵\n\nIt moves 42 litres.\n".encode(),
        "a.csv": 'Item,2018\nNet sales,"42 litres"\n水泵,3\n'.encode(),
        "a.tsv": b"Item\t2018\nNet sales\t42 litres\n",
        "a.eml": eml("It moves 42 litres.\n", Subject="Pump 水泵"),
        "a.epub": epub({"1.xhtml": "<h1>Pump 水泵</h1><p>It moves 42 litres.</p>"}, title="The book"),
        "a.odt": odt('<text:h text:outline-level="1">Pump 水泵</text:h><text:p>It moves 42 litres.</text:p>'),
        "a.rtf": RTF,
    }
