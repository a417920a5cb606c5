"""Archives and XML from strangers: what they would unpack to is known before anything is unpacked."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.limits import Limits

MAX_RATIO = 1000  # deflate cannot do better than 1,032 : 1, and a document never comes near it
RATIO_FROM_BYTES = 16 << 20  # below this size no ratio is a danger
MAX_MEMBERS = 100_000

_XML_HEADS = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00<")
_ENTITY = re.compile(rb"<!ENTITY", re.IGNORECASE)
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError)


class Bomb(ReadError):
    """An archive that would unpack to more than it may."""


class Archive:
    """A zip file whose sizes were checked. Raises ReadError for damage, encryption and bombs."""

    def __init__(self, data: bytes, name: str, limits: Limits) -> None:
        self._name, self._limits = name, limits
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            members = self._zip.infolist()
        except _DAMAGED as error:
            raise ReadError(
                f"{name} is damaged: its archive is cut short or broken.", "Fetch it again from where it came."
            ) from error
        self.names = [member.filename for member in members]
        if any(member.flag_bits & 1 for member in members):
            raise encrypted(name)
        expanded = sum(member.file_size for member in members)
        packed = sum(member.compress_size for member in members)
        is_bomb = expanded > RATIO_FROM_BYTES and expanded > MAX_RATIO * max(packed, 1)
        # Members that overlap are counted as often as they are listed; what the headers claim is held to in read().
        if expanded > limits.expanded_bytes or is_bomb or len(members) > MAX_MEMBERS:
            raise Bomb(
                f"{name} would unpack to {expanded / 1e6:,.0f} MB from {len(data) / 1e6:,.1f} MB, more than it may.",
                "If it is meant to be that large, raise the limits of [ingest].",
            )

    def read(self, member: str) -> bytes:
        """A member, no longer than it claims to be. Raises ReadError when it is missing or broken."""
        try:
            with self._zip.open(member) as file:
                claimed = self._zip.getinfo(member).file_size
                data = file.read(claimed + 1)
        except _DAMAGED as error:
            raise ReadError(f"{self._name} is damaged: its part {member} cannot be read.", "Save it anew.") from error
        if len(data) > claimed:
            raise ReadError(f"{self._name} is damaged: its part {member} is larger than it claims.", "Save it anew.")
        return data

    def check_parts(self) -> None:
        """Refuse XML parts that define entities, and archives inside the archive that would unpack to too much."""
        for member in self.names:
            head = self._head(member)
            if head.startswith(_XML_HEADS):
                check_entities(self.read(member), self._name)
            elif head.startswith(b"PK\x03\x04"):
                self._check_nested(member)

    def _check_nested(self, member: str) -> None:
        """An archive in the archive (a workbook behind a chart) is not read, so it may be broken, but no bomb."""
        try:
            Archive(self.read(member), self._name, self._limits)
        except Bomb:
            raise
        except ReadError:
            return

    def _head(self, member: str) -> bytes:
        try:
            with self._zip.open(member) as file:
                return file.read(64).lstrip()
        except _DAMAGED as error:
            raise ReadError(f"{self._name} is damaged: its part {member} cannot be read.", "Save it anew.") from error


def encrypted(name: str) -> ReadError:
    return ReadError(
        f"{name} is encrypted with a password.", "Open it, save it without a password, and ingest that file."
    )


def check_entities(xml: bytes, name: str) -> None:
    """Refuse XML that defines entities of its own: no office program does, bombs do."""
    # In UTF-16 every other byte is null.
    if _ENTITY.search(xml.replace(b"\x00", b"")):
        raise ReadError(f"{name} defines XML entities, which is how bombs are made.", "Save it anew in its program.")


def xml_root(xml: bytes, name: str) -> Any:
    """The root of an XML part: no entities, no network, no document type from elsewhere. Raises ReadError."""
    from lxml import etree

    check_entities(xml, name)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True,
                             remove_pis=True, recover=True)  # fmt: skip
    try:
        root = etree.fromstring(xml, parser)
    except (etree.LxmlError, ValueError) as error:
        raise ReadError(f"{name} is damaged: its XML cannot be read.", "Save it anew.") from error
    if root is None or any(entry.type_name in ("ERR_NAME_TOO_LONG", "ERR_RESOURCE_LIMIT") or "depth" in entry.message
                           for entry in parser.error_log):  # fmt: skip
        raise ReadError(f"{name} is damaged: its XML is nested too deeply or cut short.", "Save it anew.")
    return root
