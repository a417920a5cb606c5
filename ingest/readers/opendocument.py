"""OpenDocument text (odt): its XML becomes a tree of HTML elements, which goes the way of web pages.

pandoc, which unstructured would call, is a program of its own under the GPL. Deleted text of tracked changes and
comments are not read.
"""

from __future__ import annotations

from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.readers.archive import Archive, encrypted, xml_root
from ragapp.ingest.readers.blocks import MAX_COLUMNS, Block, NewPage, one_line
from ragapp.ingest.readers.partition import LINE_END, Marks, unmarked
from ragapp.ingest.readers.web import tree_blocks

TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
FO = "{urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0}"
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
MAX_REPEATED_ROWS = 1000
_GONE = frozenset({f"{TEXT}tracked-changes", f"{OFFICE}annotation", f"{OFFICE}annotation-end", f"{OFFICE}forms",
                   f"{TEXT}sequence-decls", f"{TEXT}note-citation", f"{TABLE}covered-table-cell",
                   f"{TEXT}variable-decls", f"{OFFICE}event-listeners", f"{TEXT}ruby-text"})  # fmt: skip
_BOXES = {f"{TABLE}table": "table", f"{TABLE}table-header-rows": "thead", f"{TABLE}table-row": "tr",
          f"{TABLE}table-cell": "td", f"{TEXT}list-item": "li", f"{TEXT}list-header": "div",
          f"{TEXT}note-body": "div"}  # fmt: skip
_SPACES = {f"{TEXT}s": " ", f"{TEXT}tab": " ", f"{TEXT}line-break": LINE_END}
_FACTS = {"title": "title", "creator": "author", "initial-creator": "author", "subject": "subject", "date": "modified",
          "creation-date": "created", "keyword": "keywords", "description": "description"}  # fmt: skip


def read_odt(archive: Archive, name: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata of an odt. Raises ReadError."""
    if "META-INF/manifest.xml" in archive.names and b"encryption-data" in archive.read("META-INF/manifest.xml"):
        raise encrypted(name)
    root = xml_root(archive.read("content.xml"), name)
    body = root.find(f"{OFFICE}body/{OFFICE}text")
    if body is None:
        raise ReadError(f"{name} is damaged: it holds no text document.", "Open it in its program and save it anew.")
    marks = Marks()
    page = _Converter([root, *_styles(archive, name)], marks).converted(body)
    return tree_blocks(page, marks, name), _metadata(archive, name)


def _styles(archive: Archive, name: str) -> list[Any]:
    return [xml_root(archive.read("styles.xml"), name)] if "styles.xml" in archive.names else []


class _Converter:
    """Walks an OpenDocument text and writes HTML elements."""

    def __init__(self, roots: list[Any], marks: Marks) -> None:
        self._marks = marks
        self._parents: dict[str, str] = {}
        self._breaks: set[str] = set()
        self._numbered: set[str] = set()
        for root in roots:
            for style in root.iter(f"{STYLE}style"):
                key = style.get(f"{STYLE}name") or ""
                self._parents[key] = style.get(f"{STYLE}parent-style-name") or ""
                facts = style.find(f"{STYLE}paragraph-properties")
                if facts is not None and facts.get(f"{FO}break-before") == "page":
                    self._breaks.add(key)
            for style in root.iter(f"{TEXT}list-style"):
                first = next(iter(style), None)
                if first is not None and first.tag == f"{TEXT}list-level-style-number":
                    self._numbered.add(style.get(f"{STYLE}name") or "")

    def converted(self, body: Any) -> Any:
        from lxml import etree

        page = etree.Element("html")
        self._children(body, etree.SubElement(page, "body"), "")
        return page

    def _children(self, source: Any, target: Any, list_style: str) -> None:
        _say(target, unmarked(source.text or ""))
        for child in source:
            if isinstance(child.tag, str) and child.tag not in _GONE:
                self._element(child, target, list_style)
            _say(target, unmarked(child.tail or ""))

    def _element(self, source: Any, target: Any, list_style: str) -> None:
        from lxml import etree

        tag = source.tag
        if tag in (f"{TEXT}p", f"{TEXT}h"):
            self._paragraph(source, target, list_style)
        elif tag == f"{TEXT}list":
            style = source.get(f"{TEXT}style-name") or list_style
            self._children(source, etree.SubElement(target, "ol" if style in self._numbered else "ul"), style)
        elif tag in _SPACES:
            _say(target, _SPACES[tag])
        elif tag == f"{TEXT}soft-page-break":
            # Inside a table the break cannot part the text: the table stays on the page where it begins.
            if next(source.iterancestors(f"{TABLE}table"), None) is None:
                _say(target, self._marks.put(NewPage()))
        elif tag == f"{TABLE}table-row":
            self._row(source, target, list_style)
        elif tag == f"{TABLE}table-cell":
            self._cell(source, target, list_style)
        elif tag in _BOXES:
            self._children(source, etree.SubElement(target, _BOXES[tag]), list_style)
        else:
            self._children(source, target, list_style)

    def _row(self, source: Any, target: Any, list_style: str) -> None:
        from lxml import etree

        for _ in range(_count(source, f"{TABLE}number-rows-repeated", MAX_REPEATED_ROWS)):
            row = etree.SubElement(target, "tr")
            self._children(source, row, list_style)
            if not "".join(row.itertext()).strip():
                break

    def _cell(self, source: Any, target: Any, list_style: str) -> None:
        from lxml import etree

        for _ in range(_count(source, f"{TABLE}number-columns-repeated", MAX_COLUMNS)):
            cell = etree.SubElement(target, "td")
            for ours, theirs in (("colspan", "columns"), ("rowspan", "rows")):
                span = source.get(f"{TABLE}number-{theirs}-spanned")
                if span:
                    cell.set(ours, span)
            self._children(source, cell, list_style)

    def _paragraph(self, source: Any, target: Any, list_style: str) -> None:
        from lxml import etree

        style = source.get(f"{TEXT}style-name") or ""
        family = self._family(style)
        tag = "p"
        if source.tag == f"{TEXT}h":
            tag = f"h{min(6, _count(source, f'{TEXT}outline-level', 10))}"
        elif "Title" in family:
            tag = "h1"
        if self._breaks & family and target.tag == "body" and len(target):
            etree.SubElement(target, "p").text = self._marks.put(NewPage())
        element = etree.SubElement(target, tag)
        self._children(source, element, list_style)
        # What hangs on a paragraph (notes, frames with text) follows it as paragraphs of its own.
        for inner in reversed([e for e in element if e.tag in ("p", "div", "table", "ul", "ol") or e.tag[0] == "h"]):
            tail, inner.tail = inner.tail, None
            before = inner.getprevious()
            if before is not None:
                before.tail = (before.tail or "") + (tail or "")
            else:
                element.text = (element.text or "") + (tail or "")
            element.addnext(inner)

    def _family(self, style: str) -> set[str]:
        """A style and those it inherits from."""
        family: set[str] = set()
        while style and style not in family:
            family.add(style)
            style = self._parents.get(style, "")
        return family


def _say(target: Any, text: str | None) -> None:
    if not text:
        return
    # What marks there are in the text are those that the converter has put there itself.
    if len(target):
        target[-1].tail = (target[-1].tail or "") + text
    else:
        target.text = (target.text or "") + text


def _count(element: Any, name: str, most: int) -> int:
    value = element.get(name) or "1"
    return max(1, min(int(value), most)) if value.isdigit() else 1


def _metadata(archive: Archive, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if "meta.xml" not in archive.names:
        return found
    for element in xml_root(archive.read("meta.xml"), name).iter():
        key = _FACTS.get(str(element.tag).rpartition("}")[2])
        value = unmarked(one_line(element.text or ""))
        if key and value:
            found.setdefault(key, value)
    return found
