"""Books (epub): chapters in reading order, each a page named as in the table of contents, through unstructured.

pandoc, which unstructured would call, is a program of its own under the GPL; the container is zip and XML and needs
none.
"""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import unquote

from ragapp.errors import ReadError
from ragapp.ingest.readers.archive import Archive, xml_root
from ragapp.ingest.readers.blocks import Block, NewPage, Title, one_line
from ragapp.ingest.readers.web import read_html

_FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_FACTS = {"title": "title", "creator": "author", "date": "date", "language": "language", "publisher": "publisher",
          "identifier": "identifier"}  # fmt: skip


def read_epub(archive: Archive, name: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata of a book. Raises ReadError for a broken or a protected one."""
    if _is_protected(archive, name):
        raise ReadError(f"{name} is protected (DRM) and cannot be read.", "Get a copy without protection.")
    package = _package(archive, name)
    root = xml_root(archive.read(package), name)
    folder = posixpath.dirname(package)
    items = {item.get("id"): item for item in root.iter("{*}item")}
    labels = _labels(archive, items, folder, name)
    blocks: list[Block] = []
    for reference in root.iter("{*}itemref"):
        item = items.get(reference.get("idref"))
        path = _path(folder, item.get("href") or "") if item is not None else ""
        if item is None or path not in archive.names or "nav" in (item.get("properties") or "").split():
            continue
        chapter, facts = read_html(archive.read(path), f"{name} ({path})")
        if not chapter:
            continue
        heading = next((block.text for block in chapter if isinstance(block, Title)), "")
        label = labels.get(path) or one_line(heading) or facts.get("title", "")
        blocks += [NewPage(label), *chapter]
    if not blocks:
        raise ReadError(f"{name} is damaged: none of its chapters can be read.", "Fetch it again from where it came.")
    return blocks, _metadata(root)


def _is_protected(archive: Archive, name: str) -> bool:
    member = "META-INF/encryption.xml"
    if member not in archive.names:
        return False
    methods = xml_root(archive.read(member), name).iter("{*}EncryptionMethod")
    # Fonts are scrambled in books that are free to read.
    return any(method.get("Algorithm") not in _FONT_ALGORITHMS for method in methods)


def _package(archive: Archive, name: str) -> str:
    member = "META-INF/container.xml"
    if member in archive.names:
        for file in xml_root(archive.read(member), name).iter("{*}rootfile"):
            path = file.get("full-path") or ""
            if path in archive.names:
                return path
    found = next((member for member in archive.names if member.endswith(".opf")), None)
    if found is None:
        raise ReadError(f"{name} is damaged: it has no list of its chapters.", "Fetch it again from where it came.")
    return found


def _path(folder: str, href: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))


def _labels(archive: Archive, items: dict[Any, Any], folder: str, name: str) -> dict[str, str]:
    """What the table of contents calls each file; its first entry for a file with several."""
    labels: dict[str, str] = {}
    for item in items.values():
        path = _path(folder, item.get("href") or "")
        is_nav = "nav" in (item.get("properties") or "").split()
        if path not in archive.names or not (is_nav or item.get("media-type") == "application/x-dtbncx+xml"):
            continue
        here = posixpath.dirname(path)
        root = xml_root(archive.read(path), name)
        for link in root.iter("{*}a") if is_nav else ():
            labels.setdefault(_path(here, link.get("href") or ""), one_line("".join(link.itertext())))
        for point in root.iter("{*}navPoint"):
            content, text = point.find("{*}content"), point.find("{*}navLabel/{*}text")
            if content is not None and text is not None:
                labels.setdefault(_path(here, content.get("src") or ""), one_line(text.text or ""))
    return labels


def _metadata(root: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for element in root.iter("{http://purl.org/dc/elements/1.1/}*"):
        key = _FACTS.get(element.tag.rpartition("}")[2])
        value = one_line("".join(element.itertext()))
        if key and value:
            found[key] = f"{found[key]}, {value}" if key == "author" and key in found else found.get(key, value)
    return found
