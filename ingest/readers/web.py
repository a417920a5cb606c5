"""Web pages and Markdown: the tree is made ready for unstructured, its tables are read whole, and it parts the rest.

What is taken off is what a browser does not show as text (scripts, menus, form controls). Forms, figures, details and
unknown elements, which unstructured drops whole or reads as a part of a line, become plain containers.
"""

from __future__ import annotations

import re
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.readers.blocks import MAX_COLUMNS, Block, Grid, headed, one_line
from ragapp.ingest.readers.partition import GUARD, ITEM, LINE_END, Marks, partitioned, unmarked
from ragapp.ingest.readers.plain import decoded

MAX_DEPTH = 200
MAX_COLSPAN, MAX_ROWSPAN = 1000, 65_534  # HTML's own limits
_KEPT = frozenset((
    "html", "body", "h1", "h2", "h3", "h4", "h5", "h6", "p", "div", "pre", "ul", "ol", "li", "dl", "dt", "dd", "table",
    "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "br", "hr", "blockquote", "address", "nav",
))  # fmt: skip
_BOXES = frozenset((
    "form", "figure", "figcaption", "details", "summary", "dialog", "fieldset", "legend", "article", "aside", "section",
    "main", "header", "footer", "hgroup", "center", "search", "menu", "dir",
))  # fmt: skip
_GONE = (
    "script", "style", "noscript", "template", "head", "iframe", "object", "embed", "audio", "video", "canvas", "svg",
    "select", "textarea", "button", "input", "datalist", "img", "noembed", "noframes", "title", "meta", "link",
)  # fmt: skip
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_XML_CHARSET = re.compile(rb"""^\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([\w.:-]{2,40})""")
_XML_DECLARATION = re.compile(r"^\s*<\?xml.*?\?>", re.DOTALL)
_FRONT = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_LINE = re.compile(r"^([A-Za-z][\w-]{0,40}):[ \t]+(\S.*)$", re.MULTILINE)
_METADATA = {"author": "author", "description": "description", "keywords": "keywords", "date": "date",
             "dcterms.created": "created", "article:published_time": "created"}  # fmt: skip


def declared_encoding(data: bytes) -> str | None:
    """The encoding that a page names in its head."""
    head = data[:4096]
    found = _CHARSET.search(head) or _XML_CHARSET.match(head)
    label = found[1].decode("ascii", "ignore").lower() if found else None
    # Browsers read these labels as their supersets.
    return {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "iso-8859-1": "cp1252"}.get(label or "", label)


def read_html(data: bytes, name: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata (title, author, …) of a page. Raises ReadError."""
    return html_blocks(decoded(data, name, declared_encoding(data)), name)


def html_blocks(text: str, name: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata of a page that is text already."""
    root = _tree(text, name)
    if root is None:
        return [], {}
    metadata = _metadata(root)
    return tree_blocks(root, Marks(), name), metadata


def tree_blocks(root: Any, marks: Marks, name: str) -> list[Block]:
    """The blocks of a tree of HTML elements, which is used up."""
    from lxml import etree

    _prepare(root, marks, name)
    # The parser of unstructured would take a nest of lists for broken from its own depth on.
    source = etree.tostring(root, encoding="unicode", method="html")
    return partitioned("html", f"<!DOCTYPE html>{source}", marks, name).blocks


def read_markdown(text: str, name: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata (the simple lines of a front matter) of a Markdown text: CommonMark with tables."""
    from markdown_it import MarkdownIt

    metadata = {}
    front = _FRONT.match(text)
    if front:
        metadata = {key.lower(): value.strip().strip("\"'") for key, value in _FRONT_LINE.findall(front[1])}
        text = text[front.end() :]
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    found, _ = html_blocks(f"<html><body>{page}</body></html>", name)
    return found, metadata


def table_of(html: str) -> Grid | None:
    """The first table of a piece of HTML; None when it holds none with rows."""
    root = _tree(html, "a table")
    table = root.find(".//table") if root is not None else None
    grid = _grid(table, list(table.iter("tr"))) if table is not None else None
    return grid if grid is not None and grid.rows else None


def _tree(text: str, name: str) -> Any:
    from lxml import etree

    source = unmarked(_XML_DECLARATION.sub("", text, count=1))
    if not source.strip():
        return None
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=True)
    try:
        root = etree.fromstring(source.encode("utf-8", "replace"), parser)
    except etree.LxmlError as error:
        raise ReadError(f"{name} is damaged: it cannot be read as a web page.", "Save it anew.") from error
    if any("depth" in entry.message.lower() for entry in parser.error_log):
        raise _nested(name)
    return root


def _nested(name: str) -> ReadError:
    return ReadError(f"{name} is nested too deeply to be read.", "Save it anew, or as plain text.")


def _metadata(root: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    title = root.find(".//head/title")
    title = root.find(".//title") if title is None else title
    if title is not None and title.text and title.text.strip():
        found["title"] = one_line(title.text)
    for meta in root.iter("meta"):
        key = _METADATA.get((meta.get("name") or meta.get("property") or "").lower())
        value = one_line(meta.get("content") or "")
        if key and value:
            found.setdefault(key, value)
    return found


def _prepare(root: Any, marks: Marks, name: str) -> None:
    from lxml import etree

    etree.strip_elements(root, *_GONE, with_tail=False)
    for element in [e for e in root.iter() if e.get("hidden") is not None or _HIDDEN.search(e.get("style") or "")]:
        if element is not root and element.getparent() is not None:
            _replace(element, None)
    inline = set()
    for element in root.iter():
        if element.tag in _BOXES:
            element.tag = "div"
        elif element.tag not in _KEPT:
            inline.add(element.tag)
    inline.discard(root.tag)
    etree.strip_tags(root, *inline)
    _break_lines(root)
    for table in reversed(list(root.iter("table"))):
        _take_table(table, marks)
    _number_items(root)
    _guard(root)
    _check_depth(root, name)


def _replace(element: Any, other: Any) -> None:
    """Another element, or none, in an element's place; the text behind it stays."""
    parent = element.getparent()
    tail = element.tail
    element.tail = None
    if other is not None:
        other.tail = tail
        parent.replace(element, other)
        return
    before = element.getprevious()
    parent.remove(element)
    if tail and before is not None:
        before.tail = (before.tail or "") + tail
    elif tail:
        parent.text = (parent.text or "") + tail


def _break_lines(root: Any) -> None:
    from lxml import etree

    for line_break in root.iter("br"):
        line_break.tail = LINE_END + (line_break.tail or "")
    etree.strip_tags(root, "br")


def _take_table(table: Any, marks: Marks) -> None:
    """A table of data becomes a mark; one that only sets blocks side by side becomes those blocks."""
    rows = list(table.iter("tr"))
    holds_blocks = any(part is not table for part in table.iter("h1", "h2", "h3", "h4", "h5", "h6", "table", "pre"))
    holds_marks = any(block.get("data-mark") for block in table.iter("p"))
    grid = _grid(table, rows)
    if holds_blocks or holds_marks or max((len(row) for row in grid.rows), default=0) < 2:
        for part in table.iter("table", "caption", "thead", "tbody", "tfoot", "tr", "td", "th"):
            part.tag = "div"
        return
    mark = table.makeelement("p", {"data-mark": "1"})
    mark.text = marks.put(grid)
    _replace(table, mark)


def _grid(table: Any, rows: list[Any]) -> Grid:
    caption = table.find("./caption")
    lines: list[list[str]] = []
    wides: list[list[tuple[int, int]]] = []
    marked, in_head = 0, True
    hanging: dict[int, tuple[str, int]] = {}  # column -> text that hangs down, and for how many rows yet
    for row in rows:
        cells = [cell for cell in row if cell.tag in ("td", "th")]
        is_head = bool(cells) and (row.getparent().tag == "thead" or all(cell.tag == "th" for cell in cells))
        in_head = in_head and is_head
        marked += in_head
        wides.append([])
        lines.append(_grid_row(cells, hanging, wides[-1]))
    return headed(lines, wides, marked, one_line(_cell(caption)) if caption is not None else "")


def _grid_row(cells: list[Any], hanging: dict[int, tuple[str, int]], wide: list[tuple[int, int]]) -> list[str]:
    """A row's cells. One that hangs down stands in every row that it stands beside; one that is wide stands once, and
    ``wide`` is told its column and width."""
    line: list[str] = []

    def hang() -> None:
        while len(line) in hanging:
            text, left = hanging.pop(len(line))
            if left > 1:
                hanging[len(line)] = text, left - 1
            line.append(text)

    for cell in cells:
        hang()
        text = _cell(cell)
        width, height = _span(cell, "colspan", MAX_COLSPAN), _span(cell, "rowspan", MAX_ROWSPAN)
        if width > 1:
            wide.append((len(line), width))
        for n in range(min(width, MAX_COLUMNS - len(line))):
            shown = text if n == 0 else ""
            if height > 1:
                hanging[len(line)] = shown, height - 1
            line.append(shown)
    hang()
    return line


def _span(cell: Any, name: str, most: int) -> int:
    digits = re.match(r"\s*(\d{1,6})", cell.get(name) or "")
    return max(1, min(int(digits[1]), most)) if digits else 1


def _cell(cell: Any) -> str:
    return one_line(" ".join(cell.itertext()).replace(LINE_END, " "))


def _number_items(root: Any) -> None:
    """List items begin with the dash or the number that a browser shows."""
    for items in root.iter("ul", "ol", "dl"):
        number = _span(items, "start", 999_999) if items.get("start") else 1
        is_numbered = items.tag == "ol" and items.get("type", "1") == "1"
        for item in items:
            if item.tag != "li":
                continue
            if item.get("value"):
                number = _span(item, "value", 999_999)
            _begin(item, f"{ITEM}{number}. " if is_numbered else f"{ITEM}- ")
            number += 1


def _begin(element: Any, text: str) -> None:
    """Text before an element's own first words, however deep they lie."""
    while not (element.text or "").strip() and len(element) and element[0].tag in ("p", "div"):
        if element[0].get("data-mark"):
            break
        element = element[0]
    element.text = text + (element.text or "").lstrip()


def _guard(root: Any) -> None:
    for element in root.iter():
        if isinstance(element.tag, str):
            element.text = _guarded(element.text)
            element.tail = _guarded(element.tail)


def _guarded(text: str | None) -> str | None:
    return text if not text or not text.strip() else re.sub(r"\A(\s*)", rf"\1{GUARD}", text, count=1)


def _check_depth(root: Any, name: str) -> None:
    """Containers that only wrap are taken off; what is deep without them is no document."""
    from lxml import etree

    depths = {root: 0}
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "end":
            depths.pop(element, None)
            continue
        parent = element.getparent()
        depths[element] = depths.get(parent, 0) + 1
        if depths[element] > MAX_DEPTH:
            raise _nested(name)
