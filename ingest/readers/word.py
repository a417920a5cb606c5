"""Word's docx: python-docx for the facts, unstructured for paragraphs, the numbers of lists, and pages.

unstructured reads only what lies directly in the body and in a paragraph's runs. So before it does, tracked changes
are accepted, content controls, text boxes, formulas and notes become plain paragraphs in their places, headings get a
mark with their level, and tables are read whole, merged cells and all. Comments are not read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.readers.archive import Archive, xml_root
from ragapp.ingest.readers.blocks import Block, Grid, Title, headed, one_line
from ragapp.ingest.readers.partition import GUARD, OPEN, Marks, partitioned, unmarked

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_GONE = (f"{W}del", f"{W}moveFrom", f"{MC}Fallback", f"{W}sdtPr", f"{W}sdtEndPr", f"{W}smartTagPr", f"{W}customXmlPr",
         f"{W}rt", f"{W}annotationRef")  # fmt: skip
_WRAPPERS = (f"{W}ins", f"{W}moveTo", f"{W}sdt", f"{W}sdtContent", f"{W}smartTag", f"{W}customXml", f"{W}fldSimple",
             f"{MC}AlternateContent", f"{MC}Choice", f"{W}bdo", f"{W}dir")  # fmt: skip
MAX_HEADING_CHARS = 300


def read_docx(data: bytes, archive: Archive, name: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata of a docx. Raises ReadError."""
    import docx

    try:
        document = docx.Document(io.BytesIO(data))
        body = document.element.body
        if body is None:
            raise ValueError("no body")
        marks = Marks()
        _plain_body(body, _notes(document, archive, name))
        _page_breaks(body)
        levels = _heading_levels(document)
        for table in reversed(list(body.iter(f"{W}tbl"))):
            _take_table(table, marks)
        for paragraph in body.iter(f"{W}p"):
            _mark(paragraph, levels, marks)
        out = io.BytesIO()
        document.save(out)
        metadata = _metadata(document)
    except (MemoryError, RecursionError, ReadError):
        raise
    except Exception as error:  # python-docx raises KeyError, ValueError, AttributeError and its own on broken files
        raise ReadError(
            f"{name} is damaged: its structure cannot be read.", "Open it in Word and save it anew."
        ) from error
    parts = partitioned("docx", out.getvalue(), marks, name)
    if parts.running:
        metadata["running"] = " | ".join(map(one_line, parts.running))
    return parts.blocks, metadata


def _plain_body(body: Any, notes: dict[tuple[str, str], list[Any]]) -> None:
    """What stands in wrappers, boxes, formulas and notes becomes paragraphs and runs of the body."""
    from lxml import etree

    etree.strip_elements(body, *_GONE, with_tail=False)
    for run in [r for r in body.iter(f"{W}r") if r.find(f"{W}rPr/{W}vanish") is not None]:
        # A hidden run shows nothing, unless it says that it is not hidden after all.
        if run.find(f"{W}rPr/{W}vanish").get(f"{W}val") not in ("0", "false", "off"):
            run.getparent().remove(run)
    etree.strip_tags(body, *_WRAPPERS)
    for text in body.iter(f"{W}t"):
        text.text = unmarked(text.text or "")
    for formula in list(body.iter(f"{M}oMath")):
        words = "".join(t.text or "" for t in formula.iter(f"{M}t"))
        formula.getparent().replace(formula, _run(body, words))
    etree.strip_tags(body, f"{M}oMathPara")
    for box in list(body.iter(f"{W}txbxContent")):
        _move_behind(_host(box, body), list(box))
    for kind in ("footnote", "endnote"):
        for reference in reversed(list(body.iter(f"{W}{kind}Reference"))):
            _move_behind(_host(reference, body), notes.get((kind, reference.get(f"{W}id") or ""), []))


def _host(element: Any, body: Any) -> Any:
    """The outermost paragraph that an element lies in, short of table cells."""
    host = element
    while element is not None and element is not body and element.tag != f"{W}tc":
        if element.tag == f"{W}p":
            host = element
        element = element.getparent()
    return host


def _move_behind(host: Any, elements: list[Any]) -> None:
    for element in reversed(elements):
        host.addnext(element)


def _run(near: Any, text: str) -> Any:
    run = near.makeelement(f"{W}r")
    word = near.makeelement(f"{W}t")
    word.text = text
    word.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
    run.append(word)
    return run


def _notes(document: Any, archive: Archive, name: str) -> dict[tuple[str, str], list[Any]]:
    """The paragraphs of foot- and endnotes by kind and id, the number that is shown before their first words."""
    from docx.oxml import parse_xml
    from lxml import etree

    found: dict[tuple[str, str], list[Any]] = {}
    shown: dict[str, dict[str, int]] = {"footnote": {}, "endnote": {}}
    for kind, numbers in shown.items():
        for reference in document.element.body.iter(f"{W}{kind}Reference"):
            numbers.setdefault(reference.get(f"{W}id") or "", len(numbers) + 1)
        part = f"word/{kind}s.xml"
        if not numbers or part not in archive.names:
            continue
        for note in xml_root(archive.read(part), name).iter(f"{W}{kind}"):
            number = numbers.get(note.get(f"{W}id") or "")
            paragraphs = [parse_xml(etree.tostring(p)) for p in note.iter(f"{W}p")]
            if number and paragraphs:
                first = next(paragraphs[0].iter(f"{W}t"), None)
                if first is not None:
                    first.text = f"{number} {(first.text or '').lstrip()}"
                found[kind, note.get(f"{W}id")] = paragraphs
    return found


def _page_breaks(body: Any) -> None:
    """Where Word has not noted the pages it laid out, the breaks that the writer put in are taken for them."""
    if next(body.iter(f"{W}lastRenderedPageBreak"), None) is not None:
        return
    for line_break in [b for b in body.iter(f"{W}br") if b.get(f"{W}type") == "page"]:
        line_break.addnext(body.makeelement(f"{W}lastRenderedPageBreak"))
    for paragraph in list(body.iter(f"{W}p")):
        before = paragraph.find(f"{W}pPr/{W}pageBreakBefore")
        if before is not None and before.get(f"{W}val") not in ("0", "false", "off"):
            _break_before(paragraph)
        section = paragraph.find(f"{W}pPr/{W}sectPr")
        following = paragraph.getnext()
        if section is None or following is None or following.tag != f"{W}p":
            continue
        # The kind of a section's start stands in the section that starts, which ends with the next sectPr.
        after = next((s for s in paragraph.itersiblings() if s.find(f"{W}pPr/{W}sectPr") is not None), None)
        settings = body.find(f"{W}sectPr") if after is None else after.find(f"{W}pPr/{W}sectPr")
        start = settings.find(f"{W}type") if settings is not None else None
        if start is None or start.get(f"{W}val") == "nextPage":
            _break_before(following)


def _break_before(paragraph: Any) -> None:
    run = next(paragraph.iter(f"{W}r"), None)
    if run is None:
        run = _run(paragraph, "")
        paragraph.append(run)
    properties = run.find(f"{W}rPr")
    run.insert(0 if properties is None else 1, paragraph.makeelement(f"{W}lastRenderedPageBreak"))


def _heading_levels(document: Any) -> dict[str, int]:
    """The level of headings by style id: from the style's outline level or its name, its own or inherited."""
    styles = {style.get(f"{W}styleId"): style for style in document.styles.element.iter(f"{W}style")}
    levels = {}
    for identity in styles:
        at, seen = identity, set()
        while at in styles and at not in seen:
            seen.add(at)
            level = _style_level(styles[at])
            if level is not None:
                levels[identity] = level
                break
            based_on = styles[at].find(f"{W}basedOn")
            at = None if based_on is None else based_on.get(f"{W}val")
    return levels


def _style_level(style: Any) -> int | None:
    """1 to 9 for a heading, 0 for what is none, None where the style does not say."""
    outline = style.find(f"{W}pPr/{W}outlineLvl")
    if outline is not None and (outline.get(f"{W}val") or "").isdigit():
        level = int(outline.get(f"{W}val")) + 1
        return level if level < 10 else 0
    label = style.find(f"{W}name")
    words = ((label.get(f"{W}val") if label is not None else "") or "").lower().split()
    if words == ["title"]:
        return 1
    return int(words[1]) if len(words) == 2 and words[0] == "heading" and words[1].isdigit() else None


def _mark(paragraph: Any, levels: dict[str, int], marks: Marks) -> None:
    """A guard before a paragraph's first words, and its level if it is a heading."""
    texts = [t for t in paragraph.iter(f"{W}t") if t.text]
    if not texts or texts[0].text.startswith(OPEN):
        return
    outline = paragraph.find(f"{W}pPr/{W}outlineLvl")
    style = paragraph.find(f"{W}pPr/{W}pStyle")
    level = levels.get(style.get(f"{W}val"), 0) if style is not None else 0
    if outline is not None and (outline.get(f"{W}val") or "").isdigit():
        level = (int(outline.get(f"{W}val")) + 1) % 10
    is_heading = 0 < level < 10 and sum(len(t.text) for t in texts) <= MAX_HEADING_CHARS
    texts[0].text = GUARD + (marks.put(Title(level, "")) if is_heading else "") + texts[0].text


def _take_table(table: Any, marks: Marks) -> None:
    """A table of data becomes marks, one for each page that it stands on; one of layout becomes what its cells hold."""
    rows = [row for row in table if row.tag == f"{W}tr"]
    cells = [cell for row in rows for cell in row if cell.tag == f"{W}tc"]
    holds_marks = any((t.text or "").startswith(OPEN) for t in table.iter(f"{W}t"))
    if holds_marks or max((len(row.findall(f"{W}tc")) for row in rows), default=0) < 2:
        contents = [block for cell in cells for block in cell if block.tag == f"{W}p"]
    else:
        contents = list(_table_paragraphs(table, rows, marks))
    for block in contents:
        table.addprevious(block)
    table.getparent().remove(table)


def _table_paragraphs(table: Any, rows: list[Any], marks: Marks) -> Iterator[Any]:
    lines, wides = _grid_rows(rows)
    marked = 0
    for row in rows:
        if row.find(f"{W}trPr/{W}tblHeader") is None:
            break
        marked += 1
    grid = headed(lines, wides, marked)
    breaks = [next(row.iter(f"{W}lastRenderedPageBreak"), None) is not None for row in rows]
    starts = [0, *(i for i in range(1, len(rows)) if breaks[i]), len(rows)]
    for n, start in enumerate(starts[:-1]):
        part = Grid(grid.rows[start : starts[n + 1]], max(0, grid.heads - start), "", grid.columns)
        paragraph = table.makeelement(f"{W}p")
        paragraph.append(_run(table, marks.put(part)))
        if breaks[start]:
            _break_before(paragraph)
        yield paragraph


def _grid_rows(rows: list[Any]) -> tuple[list[list[str]], list[list[tuple[int, int]]]]:
    """Texts of the cells by row, and the wide ones (column, width). A cell that hangs down stands in each row."""
    lines: list[list[str]] = []
    wides: list[list[tuple[int, int]]] = []
    for row in rows:
        before = row.find(f"{W}trPr/{W}gridBefore")
        line: list[str] = [""] * _number(before)
        wide = []
        for cell in row.findall(f"{W}tc"):
            merge = cell.find(f"{W}tcPr/{W}vMerge")
            span = max(1, _number(cell.find(f"{W}tcPr/{W}gridSpan")))
            text = one_line(" ".join(_paragraph_text(p) for p in cell.iter(f"{W}p")))
            above = lines[-1] if lines else []
            if merge is not None and merge.get(f"{W}val") != "restart" and not text and len(line) < len(above):
                text = above[len(line)]
            if span > 1:
                wide.append((len(line), span))
            line += [text, *[""] * (span - 1)]
        lines.append(line)
        wides.append(wide)
    return lines, wides


def _number(element: Any) -> int:
    value = element.get(f"{W}val") if element is not None else None
    return min(int(value), 1000) if value and value.isdigit() else 0


def _paragraph_text(paragraph: Any) -> str:
    parts = {f"{W}tab": " ", f"{W}br": " ", f"{W}cr": " ", f"{W}noBreakHyphen": "-"}
    return "".join((e.text or "") if e.tag == f"{W}t" else parts.get(e.tag, "") for e in paragraph.iter())


def _metadata(document: Any) -> dict[str, str]:
    facts = document.core_properties
    found = {}
    for key in ("title", "author", "subject", "keywords", "category", "last_modified_by", "created", "modified"):
        try:
            value = getattr(facts, key)
        except ValueError:  # a date that is none
            continue
        text = one_line(value.isoformat(sep=" ") if hasattr(value, "isoformat") else str(value or ""))
        if text:
            found[key] = text
    return found
