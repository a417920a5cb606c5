"""PowerPoint's pptx: python-pptx for the facts, unstructured for the order of shapes, paragraphs and pages.

Tables, charts, diagrams and speaker notes, which unstructured flattens or passes over, become text boxes with marks in
the places where they stand on the slide. Slide numbers, dates and footers are no part of the text.
"""

from __future__ import annotations

import io
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.readers.blocks import Block, Grid, NewPage, Para, Title, headed, one_line
from ragapp.ingest.readers.partition import GUARD, ITEM, Marks, partitioned, unmarked

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
DIAGRAM = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
MAX_POINTS = 20_000  # of a chart
_BELOW = 1 << 30  # EMU: below everything on any slide


def read_pptx(data: bytes, name: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata of a pptx, a page for every slide. Raises ReadError."""
    import pptx

    marks = Marks()
    footers: list[str] = []
    try:
        presentation = pptx.Presentation(io.BytesIO(data))
        count = 0
        for slide in presentation.slides:
            count += 1
            for text in slide.element.iter(f"{A}t"):
                text.text = unmarked(text.text or "")
            _prepare(slide.shapes, slide.shapes.title, marks, footers)
            _add_notes(slide, marks)
        out = io.BytesIO()
        presentation.save(out)
        metadata = _metadata(presentation)
    except (MemoryError, RecursionError, ReadError):
        raise
    except Exception as error:  # python-pptx raises KeyError, AttributeError, ValueError and its own on broken files
        raise ReadError(
            f"{name} is damaged: its structure cannot be read.", "Open it in PowerPoint and save it anew."
        ) from error
    if footers:
        metadata["running"] = " | ".join(dict.fromkeys(footers))
    if not count:
        return [], metadata
    found = partitioned("pptx", out.getvalue(), marks, name).blocks
    blocks: list[Block] = [NewPage("slide 1")]
    number = 1
    for block in found:
        if isinstance(block, NewPage):
            number += 1
            block = NewPage(f"slide {number}")  # noqa: PLW2901  the same border, now with its name
        blocks.append(block)
    return blocks, metadata


def _prepare(shapes: Any, title: Any, marks: Marks, footers: list[str]) -> None:
    from pptx.enum.shapes import PP_PLACEHOLDER

    running = (PP_PLACEHOLDER.SLIDE_NUMBER, PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER)
    for shape in list(shapes):
        if shape.is_placeholder and shape.placeholder_format.type in running:
            text = one_line(shape.text_frame.text) if shape.has_text_frame else ""
            if text and shape.placeholder_format.type == PP_PLACEHOLDER.FOOTER:
                footers.append(text)
            shape._element.getparent().remove(shape._element)
        elif hasattr(shape, "shapes"):
            _prepare(shape.shapes, title, marks, footers)
        elif getattr(shape, "has_table", False) and shape.has_table:
            _replace(shapes, shape, [_grid(shape.table)], marks)
        elif getattr(shape, "has_chart", False) and shape.has_chart:
            _replace(shapes, shape, _chart(shape.chart), marks)
        elif _is_diagram(shape):
            _replace(shapes, shape, _diagram(shape), marks)
        elif shape.has_text_frame:
            is_title = title is not None and shape.shape_id == title.shape_id
            _mark(shape, is_title, marks)


def _replace(shapes: Any, shape: Any, blocks: list[Block], marks: Marks) -> None:
    left, top = max(0, shape.left or 0), max(0, shape.top or 0)
    box = shapes.add_textbox(left, top, shape.width or 0, shape.height or 0)
    box.text_frame.text = "".join(marks.put(block) for block in blocks)
    shape._element.getparent().remove(shape._element)


def _mark(shape: Any, is_title: bool, marks: Marks) -> None:
    """Guards and marks in a text; what hangs over the upper left edge is moved in, so that it is not passed over."""
    if (shape.left or 0) < 0 < (shape.left or 0) + (shape.width or 0):
        shape.left = 0
    if (shape.top or 0) < 0 < (shape.top or 0) + (shape.height or 0):
        shape.top = 0
    paragraphs = [p for p in shape.text_frame.paragraphs if p.text.strip()]
    number: dict[int, int] = {}
    for n, paragraph in enumerate(paragraphs):
        first = next((t for t in paragraph._p.iter(f"{A}t") if t.text), None)
        if first is None:
            continue
        automatic = paragraph._p.find(f"{A}pPr/{A}buAutoNum")
        level = paragraph.level or 0
        number = {k: v for k, v in number.items() if k <= level} if automatic is not None else {}
        prefix = GUARD
        if is_title and n == 0:
            prefix += marks.put(Title(1, ""))
        elif automatic is not None:
            number[level] = number.get(level, int(automatic.get("startAt", "1")) - 1) + 1
            prefix += f"{ITEM}{number[level]}. " if automatic.get("type", "").startswith("arabic") else ITEM
        elif paragraph._p.find(f"{A}pPr/{A}buChar") is not None:
            prefix += f"{ITEM}- "
        elif len(paragraphs) > 1:
            prefix += ITEM
        first.text = prefix + first.text


def _grid(table: Any) -> Grid:
    lines: list[list[str]] = []
    wides = []
    for row in table.rows:
        line, wide = [], []
        for n, cell in enumerate(row.cells):
            text = one_line(cell.text)
            if cell.is_spanned:
                # Beside a cell that hangs down its text holds too; beside a wide one nothing stands.
                above = lines[-1][n] if lines and cell._tc.vMerge and not cell._tc.hMerge else ""
                text = text or above
            elif cell.is_merge_origin and cell.span_width > 1:
                wide.append((n, cell.span_width))
            line.append(text)
        lines.append(line)
        wides.append(wide)
    # The style of a first row that is set off says that it heads the columns.
    marked = 0 if wides and wides[0] else int(table.first_row)
    return headed(lines, wides, marked)


def _chart(chart: Any) -> list[Block]:
    """A chart's numbers as a table; of kinds that python-pptx does not know, the words and numbers line by line."""
    try:
        return [_numbers(chart)]
    except Exception:  # noqa: BLE001  python-pptx raises errors of many kinds on charts that it does not know
        texts = chart._chartSpace.iter("{*}v", f"{A}t")
        return [Para(one_line(text.text), tight=True) for text in texts if (text.text or "").strip()]


def _numbers(chart: Any) -> Grid:
    """Categories down, series across."""
    title = chart.chart_title.text_frame.text if chart.has_title and chart.chart_title.has_text_frame else ""
    rows: list[tuple[str, ...]] = []
    for plot in chart.plots:
        series = [(one_line(s.name or ""), list(s.values)[:MAX_POINTS]) for s in plot.series]
        categories = [one_line(str(c)) for c in plot.categories][:MAX_POINTS]
        length = max([len(categories), *(len(values) for _, values in series)], default=0)
        rows.append(("", *(label for label, _ in series)))
        for n in range(length):
            cells = [f"{v[n]:.15g}" if n < len(v) and v[n] is not None else "" for _, v in series]
            rows.append((categories[n] if n < len(categories) else "", *cells))
    return headed(rows, (), 1, one_line(title))


def _is_diagram(shape: Any) -> bool:
    return next(shape._element.iter(f"{{{DIAGRAM}}}relIds"), None) is not None


def _diagram(shape: Any) -> list[Block]:
    """The texts of a diagram (SmartArt), a line for each of its points."""
    from lxml import etree

    relation = next(shape._element.iter(f"{{{DIAGRAM}}}relIds")).get(f"{RELATION}dm")
    root = etree.fromstring(shape.part.related_part(relation).blob, etree.XMLParser(resolve_entities=False))
    points = ("".join(t.text or "" for t in point.iter(f"{A}t")) for point in root.iter(f"{{{DIAGRAM}}}pt"))
    return [Para(one_line(text), tight=True) for text in points if text.strip()]


def _add_notes(slide: Any, marks: Marks) -> None:
    if not slide.has_notes_slide or slide.notes_slide.notes_text_frame is None:
        return
    notes = slide.notes_slide.notes_text_frame.text.strip()
    if notes:
        slide.shapes.add_textbox(0, _BELOW, 0, 0).text_frame.text = marks.put(Para(unmarked(notes)))


def _metadata(presentation: Any) -> dict[str, str]:
    facts = presentation.core_properties
    found = {}
    for key in ("title", "author", "subject", "keywords", "category", "last_modified_by", "created", "modified"):
        value = getattr(facts, key)
        text = one_line(value.isoformat(sep=" ") if hasattr(value, "isoformat") else str(value or ""))
        if text:
            found[key] = text
    return found
