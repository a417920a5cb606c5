"""Rich Text Format: a tokenizer and a small state machine, after Microsoft's specification 1.9.1.

pandoc, which unstructured would call, is a program of its own under the GPL. Read are text in every code page and in
Unicode, headings (outline levels of paragraphs and styles), list labels, tables, footnotes and page breaks. Pictures,
objects, headers, footers, hidden and deleted text are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from ragapp.errors import ReadError
from ragapp.ingest.readers.blocks import Block, NewPage, Para, Title, headed, one_line

MAX_GROUPS = 5000
_TOKEN = re.compile(rb"\\([a-z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-z'])|([{}])|[\r\n]+|([^\\{}\r\n]+)")
_SKIPPED = frozenset((
    "fonttbl", "colortbl", "pict", "object", "header", "headerl", "headerr", "headerf", "footer", "footerl",
    "footerr", "footerf", "fldinst", "listtable", "listoverridetable", "revtbl", "rsidtbl", "generator",
    "themedata", "colorschememapping", "datastore", "latentstyles", "xmlnstbl", "filetbl", "bkmkstart", "bkmkend",
    "pgptbl", "nonshppict", "shprslt", "sp", "nonesttables", "template", "atnid", "atnauthor", "annotation",
    "atrfstart", "atrfend", "ftnsep", "ftnsepc", "aftnsep", "aftnsepc", "doccomm", "operator", "company",
    "category", "hlinkbase", "tc", "xe",
))  # fmt: skip
_KEPT_STARRED = frozenset({"shppict", "shpinst", "shptxt", "nesttableprops"})
_FACTS = {"title": "title", "author": "author", "subject": "subject", "keywords": "keywords"}
_CHARACTERS = {"tab": "\t", "line": "\n", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“",
               "rdblquote": "”", "bullet": "•", "emspace": " ", "enspace": " ", "qmspace": " ", "softline": "\n",
               "lbr": "\n"}  # fmt: skip
_CHARSETS = {0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 134: "gb18030", 136: "big5hkscs", 161: "cp1253",
             162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
             238: "cp1250"}  # fmt: skip
_PAGES = {936: "gb18030", 950: "big5hkscs", 10000: "mac_roman", 65001: "utf-8", 1361: "johab"}


@dataclass(slots=True)
class _State:
    """What a group inherits and gives back at its end."""

    skip: bool = False
    target: str = "text"  # or a fact of the document, a style's name, a list label, a note
    codec: str = ""
    skip_after_unicode: int = 1
    hidden: bool = False
    starts: bool = True  # nothing but the brace has been read of the group


@dataclass(slots=True)
class _Paragraph:
    """What has been gathered of the paragraph at work."""

    text: str = ""
    label: str = ""
    level: int = 0
    in_table: bool = False


@dataclass(slots=True)
class _Table:
    rows: list[tuple[str, ...]] = field(default_factory=list)
    row: list[str] = field(default_factory=list)
    cell: str = ""
    heads: int = 0
    is_head: bool = False


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self.blocks: list[Block] = []
        self.metadata: dict[str, str] = {}
        self._state = _State()
        self._stack: list[_State] = []
        self._codec = "cp1252"
        self._fonts: dict[int, str] = {}
        self._font = -1
        self._default_font = -1
        self._style = -1
        self._style_levels: dict[int, int] = {}
        self._bytes = bytearray()
        self._unicode_skip = 0
        self._surrogate = 0
        self._paragraph = _Paragraph()
        self._note = ""
        self._notes: list[str] = []
        self._name_text = ""
        self._table = _Table()

    def read(self, data: bytes) -> None:
        at, length = 0, len(data)
        while at < length:
            match = _TOKEN.match(data, at)
            if match is None:  # a lone backslash at the end
                at += 1
                continue
            at = match.end()
            word, number, code, symbol, brace, text = match.groups()
            if word == b"bin":
                at += max(0, int(number or 0))
            elif word is not None:
                self._word(word.decode("ascii"), int(number) if number else None)
            elif code is not None:
                self._raw(bytes([int(code, 16)]))
            elif symbol is not None:
                self._symbol(symbol)
            elif brace is not None:
                self._brace(brace == b"{")
            elif text is not None:
                self._state.starts = False
                self._raw(text)
        self._flush()
        self._end_paragraph()
        self._end_table()

    def _brace(self, opens: bool) -> None:
        self._flush()
        if opens:
            if len(self._stack) >= MAX_GROUPS:
                raise ReadError(f"{self._name} is nested too deeply to be read.", "Save it anew.")
            self._stack.append(self._state)
            self._state = replace(self._state, starts=True)
            return
        closed, self._state = self._state, self._stack.pop() if self._stack else _State()
        if closed.target == "note" and self._state.target != "note" and self._note.strip():
            self._notes.append(self._note.strip())
            self._note = ""
        elif closed.target == "stylesheet" and self._style >= 0:
            self._end_style()

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            # A starred destination may be passed over by whoever does not know it; the next word says which it is.
            self._state.target = f"*{self._state.target}"
        elif symbol in (b"\n", b"\r"):
            self._word("par", None)
        else:
            self._flush()
            self._say({b"~": "\u00a0", b"_": "-", b"-": ""}.get(symbol, symbol.decode("latin-1")))
            self._state.starts = False

    def _word(self, word: str, number: int | None) -> None:
        state = self._state
        if state.target.startswith("*"):
            state.target = state.target[1:]
            if word not in _KEPT_STARRED:
                state.skip = True
        if word == "u" and number is not None:
            self._unicode(number)
            return
        self._flush()
        if state.starts:
            state.starts = False
            self._destination(word)
        if state.skip:
            self._font_table(word, number)
            return
        if word in _CHARACTERS:
            self._say(_CHARACTERS[word])
        elif word in ("par", "sect", "page", "cell", "nestcell", "row", "nestrow", "trowd", "trhdr", "intbl", "pard"):
            self._structure(word)
        else:
            self._property(word, number)

    def _destination(self, word: str) -> None:
        state = self._state
        if word in _SKIPPED:
            state.skip = True
            if word == "fonttbl":
                state.target = "fonts"
        elif word in ("info", "stylesheet") or (word in _FACTS and state.target == "info"):
            state.target = word
        elif word in ("listtext", "pntext"):
            state.target = "label"
        elif word == "footnote":
            state.target = "note"
        elif state.target == "info":
            state.skip = True

    def _font_table(self, word: str, number: int | None) -> None:
        if self._state.target == "fonts" and word == "f" and number is not None:
            self._font = number
        elif self._state.target == "fonts" and word == "fcharset" and number is not None:
            codec = _CHARSETS.get(number)
            if codec:
                self._fonts[self._font] = codec

    def _structure(self, word: str) -> None:
        if self._state.target == "note":
            self._note += "\n"
        elif self._state.target != "text":
            return
        elif word == "par":
            self._end_paragraph()
        elif word in ("page", "sect"):
            self._end_paragraph()
            self._end_table()
            self.blocks.append(NewPage())
        elif word == "pard":
            self._paragraph.level = 0
            self._paragraph.in_table = False
        elif word == "intbl":
            self._paragraph.in_table = True
        elif word == "trowd":
            self._table.is_head = False
        elif word == "trhdr":
            self._table.is_head = True
        elif word in ("cell", "nestcell"):
            table, paragraph = self._table, self._paragraph
            text = one_line(f"{table.cell} {paragraph.label}{paragraph.text}")
            table.row.append(text)
            table.cell = ""
            self._paragraph = _Paragraph(in_table=True)
        else:
            self._end_row()

    def _property(self, word: str, number: int | None) -> None:
        state = self._state
        if word == "ansicpg" and number:
            self._codec = _PAGES.get(number, f"cp{number}")
        elif word == "mac":
            self._codec = "mac_roman"
        elif word == "deff" and number is not None:
            self._default_font = number
        elif word in ("f", "af") and number is not None:
            state.codec = self._fonts.get(number, "")
        elif word == "plain":
            state.codec, state.hidden = self._fonts.get(self._default_font, ""), False
        elif word in ("v", "deleted"):
            state.hidden = number != 0
        elif word == "uc" and number is not None:
            state.skip_after_unicode = max(0, min(number, 100))
        elif word == "s" and number is not None:
            self._style = number
            if state.target == "text":
                self._paragraph.level = self._style_levels.get(number, 0)
        elif word == "outlinelevel" and number is not None:
            if state.target == "stylesheet":
                self._style_levels[self._style] = (number + 1) % 10
            elif state.target == "text":
                self._paragraph.level = (number + 1) % 10

    def _end_style(self) -> None:
        found = re.search(r"heading (\d)", self._name_text, re.IGNORECASE)
        if found:
            self._style_levels.setdefault(self._style, int(found[1]))
        elif self._name_text.strip(" ;").lower() == "title":
            self._style_levels.setdefault(self._style, 1)
        self._style, self._name_text = -1, ""

    def _unicode(self, number: int) -> None:
        self._flush()
        self._state.starts = False
        code = number & 0xFFFF if number < 0x10000 else number
        self._unicode_skip = self._state.skip_after_unicode
        if 0xD800 <= code < 0xDC00:
            self._surrogate = code
            return
        if 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((self._surrogate - 0xD800) << 10) + (code - 0xDC00) if self._surrogate else 0xFFFD
        self._surrogate = 0
        skip, self._unicode_skip = self._unicode_skip, 0
        self._say(chr(code) if code < 0x110000 else "\ufffd")
        self._unicode_skip = skip

    def _raw(self, data: bytes) -> None:
        self._state.starts = False
        if self._unicode_skip:
            skipped = min(self._unicode_skip, len(data))
            self._unicode_skip -= skipped
            data = data[skipped:]
        self._bytes += data

    def _flush(self) -> None:
        """The bytes gathered so far as text: characters of two bytes come as two tokens."""
        self._unicode_skip = 0
        if not self._bytes:
            return
        data, self._bytes = bytes(self._bytes), bytearray()
        try:
            text = data.decode(self._state.codec or self._codec, "replace")
        except LookupError:
            text = data.decode("cp1252", "replace")
        self._say(text)

    def _say(self, text: str) -> None:
        state = self._state
        if state.skip or state.hidden:
            return
        target = state.target.lstrip("*")
        if target == "text":
            self._paragraph.text += text
        elif target == "label":
            self._paragraph.label += text
        elif target == "note":
            self._note += text
        elif target == "stylesheet":
            self._name_text += text
        elif target in _FACTS:
            self.metadata[_FACTS[target]] = one_line(self.metadata.get(_FACTS[target], "") + text)

    def _end_paragraph(self) -> None:
        paragraph = self._paragraph
        if paragraph.in_table:
            self._table.cell += f"{paragraph.label}{paragraph.text} "
        else:
            self._end_table()
            label = one_line(paragraph.label)
            text = paragraph.text.strip("\n")
            if label:
                text = f"{label if label[-1:].isalnum() or label[-1:] in '.)' else '-'} {text.strip()}"
            if paragraph.level and text.strip():
                self.blocks.append(Title(paragraph.level, text))
            elif text.strip():
                self.blocks.append(Para(text.replace("\t", " ") if label else text, tight=bool(label)))
            self.blocks += [Para(note) for note in self._notes]
            self._notes = []
        self._paragraph = _Paragraph(level=paragraph.level, in_table=paragraph.in_table)

    def _end_row(self) -> None:
        table = self._table
        if table.row:
            if table.is_head and table.heads == len(table.rows):
                table.heads += 1
            table.rows.append(tuple(table.row))
        table.row, table.cell = [], ""
        self._paragraph.in_table = False

    def _end_table(self) -> None:
        table, self._table = self._table, _Table()
        if table.row:
            table.rows.append(tuple(table.row))
        if table.rows:
            self.blocks.append(headed(table.rows, (), table.heads))


def read_rtf(data: bytes, name: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata of an RTF file. Raises ReadError."""
    if not data.lstrip().startswith(b"{\\rtf"):
        raise ReadError(f"{name} is not Rich Text.", "Give it the ending of what it is.")
    reader = _Reader(name)
    reader.read(data)
    return reader.blocks, reader.metadata
