"""Questions in a spreadsheet that was saved as CSV or TSV, its columns named in English or Chinese.

The separator is told from the heads; Excel's UTF-16 and the encodings of older systems are read too. A cell of
``answers``, ``document``, ``page``, ``must contain`` or ``where`` may hold several values set apart by semicolons; a
semicolon that is meant is written ``\\;``. In a column ``answer`` or ``quote`` semicolons are a part of the text.

With several documents, pages and quotes have as many values, in their order. Other columns are members of the row
under their own names (see ragapp.eval.entries).
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ragapp.errors import ReadError
from ragapp.eval.sources import Source, whole

COLUMNS = {
    "id": "id no number questionid 编号 序号 题号",
    "question": "question query 问题 提问 题目 查询",
    "answer": "answer expectedanswer correctanswer referenceanswer reference groundtruth "
    "答案 回答 标准答案 参考答案 正确答案",
    "answers": "answers acceptedanswers 可接受答案 所有答案 答案列表",
    "document": "document documents doc file files filename documentname pdf source "
    "文档 文件 文件名 文档名 文档名称 来源 出处",
    "pages": "page pages pagenumber pagenumbers goldpage goldpages 页 页码 页数 所在页 页面",
    "quote": "quote quotes evidence passage excerpt 引文 引用 原文 摘录 证据 段落",
    "must_contain": "mustcontain contains keywords 必须包含 应包含 关键词 关键字",
    "match": "match 匹配 匹配方式",
    "answerable": "answerable 可回答 能否回答 是否可回答 有答案 是否有答案",
    "where": "where scope 范围 检索范围 文档范围",
    "page_base": "pagebase firstpage 起始页码 首页页码",
}
SHAPE = "The first row names the columns: question, answer, document, page, quote; or 问题, 答案, 文档, 页码, 原文."
LISTS = ("answers", "must_contain", "where")
SEPARATORS = (",", ";", "\t", "，", "|")

_MEMBER = {alias: name for name, aliases in COLUMNS.items() for alias in aliases.split()}
_BRACKETS = re.compile(r"[(（\[【].*?[)）\]】]")
_MARKS = re.compile(r"[\W_]+")
_SEMICOLON = re.compile(r"(?<!\\)[;；]")
_EXCEL_SEP = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)


def member(head: str) -> str:
    """What a column's head means, whatever its case, spaces and brackets; the head itself where nobody knows."""
    said = _MARKS.sub("", _BRACKETS.sub("", unicodedata.normalize("NFKC", head)).casefold())
    return _MEMBER.get(said, head.strip())


def source(path: Path) -> Source:
    """The rows of a file. Raises ReadError for one that is no text, has no column of questions, or is damaged."""
    text, warnings = _decoded(path)
    return Source(_rows(path, text), SHAPE, warnings)


def has_questions(text: str) -> bool:
    """Whether the first line of a text looks like the heads of questions."""
    line = next(iter(text.splitlines()), "")
    return "question" in {member(head) for head in next(iter(csv.reader([line], delimiter=_separator(line))), ())}


def values(cell: str) -> list[str]:
    """The values of a cell with several."""
    parts = (part.replace("\\;", ";").replace("\\；", "；").strip() for part in _SEMICOLON.split(cell))
    return [part for part in parts if part]


def _decoded(path: Path) -> tuple[str, tuple[str, ...]]:
    from ragapp.ingest.readers import plain

    data = whole(path)
    if data.startswith(b"PK\x03\x04"):
        raise ReadError(f"{path} is a workbook and no text.", 'In your spreadsheet choose "Save as" and "CSV UTF-8".')
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        text = plain.decoded(data, str(path))
        marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        told = f"1 file is not UTF-8 and was read as {plain.encoding_of(data)}: see that its letters are right."
        return text, () if marked else (told,)


def _rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    chosen = _EXCEL_SEP.match(text)
    text, skipped = (text[chosen.end() :], 1) if chosen else (text, 0)
    separator = chosen[1] if chosen else _separator(text[:65536].lstrip("\r\n"))
    table = _cells(path, text, separator, skipped)
    place, heads = next(table, (f"{path}:1", []))
    names = _names(place, heads)
    for place, cells in table:
        if len(cells) > len(names):
            raise ReadError(
                f"{place}: there are {len(cells)} cells under {len(names)} heads.",
                f'Put a text that holds "{separator}" between quotation marks.',
            )
        said = {name: cell for name, cell in zip(names, cells, strict=False) if name and cell}
        yield place, _row(said, place)


def _cells(path: Path, text: str, separator: str, skipped: int) -> Iterator[tuple[str, list[str]]]:
    """The rows that hold something, with the line where each begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begun = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            while stripped and not stripped[-1]:
                stripped.pop()
            if stripped:
                yield f"{path}:{begun + skipped}", stripped
            begun = reader.line_num + 1
    except csv.Error as error:
        raise ReadError(
            f"{path}:{begun + skipped}: the row is damaged: {error}.",
            'A text with quotation marks stands between quotation marks, and each of its own is doubled: "a ""b"" c".',
        ) from error


def _names(place: str, heads: Sequence[str]) -> list[str]:
    names = [member(head) for head in heads]
    if "question" not in names:
        listed = ", ".join(filter(None, heads)) or "nothing"
        raise ReadError(
            f"{place}: no column is named question; there is: {listed}.",
            SHAPE,
        )
    twice = next((head for head, name in zip(heads, names, strict=True) if name and names.count(name) > 1), "")
    if twice:
        raise ReadError(f'{place}: two columns mean the same as "{twice}".', "Rename or remove one of them.")
    return names


def _separator(text: str) -> str:
    """The separator that makes the most of the heads; a comma where there is but one."""
    line = next(iter(text.splitlines()), "")
    counts = {each: len(next(iter(csv.reader([line], delimiter=each)), ())) for each in SEPARATORS}
    return max(counts, key=lambda each: counts[each])


def _row(said: dict[str, str], place: str) -> dict[str, Any]:
    row: dict[str, Any] = {**said, **{name: values(said[name]) for name in LISTS if name in said}}
    documents = values(said.get("document", ""))
    if len(documents) < 2:
        return {**row, "document": documents[0]} if documents else row
    places = (_shares(said.get(name, ""), len(documents), name, place) for name in ("pages", "quote"))
    row["gold"] = [
        {"document": document, "pages": pages, "quote": quote}
        for document, pages, quote in zip(documents, *places, strict=True)
    ]
    return {name: value for name, value in row.items() if name not in ("document", "pages", "quote")}


def _shares(cell: str, count: int, name: str, place: str) -> list[str]:
    """Each document's part of a cell."""
    parts = values(cell)
    if parts and len(parts) != count:
        raise ReadError(
            f"{place}: {count} documents, and {len(parts)} in the column of {name}.",
            'Give each document its own, in the same order: "a.pdf; b.pdf" and "1-2; 7". Several pages go by commas.',
        )
    return parts or [""] * count
