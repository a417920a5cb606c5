"""Mail (eml): the standard library takes it apart, a body that is a web page goes through unstructured.

A mail is one page that begins with its subject and its lines From, To, Cc, Date; each attachment that can be read is a
further page with its name. All attachments are named in the metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.utils import parsedate_to_datetime
from pathlib import PurePath
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.readers.blocks import Block, NewPage, Para, Title, one_line
from ragapp.ingest.readers.plain import blocks as plain_blocks
from ragapp.ingest.readers.plain import decoded
from ragapp.ingest.readers.web import declared_encoding, html_blocks

MAX_PARTS = 1000
HTML_ENOUGH = 0.8  # of the words of the plain version: less, and the web page is a stub ("see the text")
_FLOWED = re.compile(r"(?<=\S) \n(?=[^>\s])")
_HEADER = re.compile(rb"\A(?:[\x21-\x39\x3b-\x7e]+:[^\n]*\n(?:[ \t][^\n]*\n)*)+", re.ASCII)

ReadPart = Callable[[bytes, str], list[Block]]
"""The blocks of an attachment, from its bytes and its name. Raises ReadError."""


def read_eml(data: bytes, name: str, read_part: ReadPart) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata of a mail. Raises ReadError when it is none."""
    if not _HEADER.match(data.lstrip(b"\r\n").replace(b"\r\n", b"\n")[: 1 << 16]):
        raise ReadError(
            f"{name} is not a mail: it does not begin with header lines.", "Save it anew from the mail program."
        )
    try:
        message = message_from_bytes(data, policy=policy.default)
        return _read(message, name, read_part)
    except (MemoryError, RecursionError, ReadError):
        raise
    except Exception as error:  # the parser of headers raises IndexError, AttributeError and others on broken ones
        raise ReadError(
            f"{name} is damaged: it cannot be read as a mail.", "Save it anew from the mail program."
        ) from error


def _read(message: Any, name: str, read_part: ReadPart) -> tuple[list[Block], dict[str, str]]:
    subject = _header(message, "Subject")
    metadata = {key: value for key, header in (("title", "Subject"), ("subject", "Subject"), ("author", "From"),
                ("sender", "From"), ("recipients", "To"), ("cc", "Cc"), ("message_id", "Message-ID"))
                if (value := _header(message, header))}  # fmt: skip
    date = _header(message, "Date")
    if date:
        metadata["date"] = _iso(date)
    blocks: list[Block] = [Title(1, subject)] if subject else []
    blocks += [Para(f"{key}: {value}", tight=True) for key in ("From", "To", "Cc", "Date")
               if (value := _header(message, key))]  # fmt: skip
    bodies, attachments = _parts(message)
    blocks += _body(bodies, name)
    unread = []
    for part, file_name in attachments:
        try:
            read = read_part(_bytes(part), file_name)
        except ReadError:
            unread.append(file_name)
            continue
        blocks += [] if read and isinstance(read[0], NewPage) else [NewPage(file_name)]
        blocks += [block if not isinstance(block, NewPage) else NewPage(_label(file_name, block)) for block in read]
    if attachments:
        metadata["attachments"] = ", ".join(file_name for _, file_name in attachments)
    if unread:
        metadata["attachments_unread"] = ", ".join(unread)
    return blocks, metadata


def _label(file_name: str, page: NewPage) -> str:
    return f"{file_name}, {page.label}" if page.label else file_name


def _header(message: Message, key: str) -> str:
    """A header as text; raw bytes in it, against the standard and yet frequent, in their likeliest encoding."""
    for name, raw in message.raw_items():
        if name.lower() == key.lower():
            if any("\udc80" <= char <= "\udcff" for char in str(raw)):
                return one_line(decoded(str(raw).encode("utf-8", "surrogateescape"), key))
            return one_line(str(message[key]))
    return ""


def _iso(date: str) -> str:
    try:
        return parsedate_to_datetime(date).isoformat(sep=" ")
    except ValueError:
        return date


def _parts(message: Any) -> tuple[list[Any], list[tuple[Any, str]]]:
    """The texts that make up the mail, and the files that came with it, with their names."""
    bodies: list[Any] = []
    attachments: list[tuple[Any, str]] = []
    pending = [message]
    seen = 0
    while pending and seen < MAX_PARTS:
        part = pending.pop(0)
        seen += 1
        file_name = one_line(str(part.get_filename() or ""))
        kind = part.get_content_type()
        if kind == "message/rfc822" and part is not message:
            attachments.append((part, file_name or "mail.eml"))
        elif part.is_multipart():
            pending = [*part.get_payload(), *pending]
        elif file_name or part.get_content_disposition() == "attachment":
            is_inline = part.get("Content-ID") and part.get_content_disposition() != "attachment"
            # A picture inside the text of a page is no file that somebody sent.
            if not (is_inline and kind.startswith("image/")):
                attachments.append((part, PurePath(file_name.replace("\\", "/")).name or "attachment"))
        elif kind in ("text/plain", "text/html"):
            bodies.append(part)
    return bodies, attachments


def _body(parts: list[Any], name: str) -> list[Block]:
    plain = [block for part in parts if part.get_content_type() == "text/plain" for block in _plain(part, name)]
    pages = [block for part in parts if part.get_content_type() == "text/html" for block in _page(part, name)]
    return pages if _words(pages) >= HTML_ENOUGH * _words(plain) and pages else plain


def _words(blocks: list[Block]) -> int:
    texts = (block.text for block in blocks if isinstance(block, Para | Title))
    cells = (cell for block in blocks for row in getattr(block, "rows", ()) for cell in row)
    return sum(len(text.split()) for text in (*texts, *cells))


def _bytes(part: Any) -> bytes:
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload()
        return bytes(inner[0]) if isinstance(inner, list) and inner else b""
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _declared(part: Any) -> str | None:
    charset = str(part.get_content_charset() or "").lower()
    return {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "iso-8859-1": "cp1252", "us-ascii": None,
            "": None}.get(charset, charset)  # fmt: skip


def _plain(part: EmailMessage, name: str) -> list[Block]:
    text = decoded(_bytes(part), name, _declared(part))
    if str(part.get_param("format", "")).lower() == "flowed":
        text = _FLOWED.sub(" ", text)
    return list(plain_blocks(text))


def _page(part: EmailMessage, name: str) -> list[Block]:
    data = _bytes(part)
    return html_blocks(decoded(data, name, _declared(part) or declared_encoding(data)), name)[0]
