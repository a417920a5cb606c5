"""A conversation as Markdown, for people: questions, answers, and under each answer its sources. Pure functions.

Answers are Markdown already and stay as they are; everything else is escaped, and no text can begin an HTML tag, so
that no document, name or model puts an element into a page made from the file. Not covered: where links in a model's
answer lead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragapp.shapes import place
from ragapp.text import collapse, is_chinese

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&!$])")
_RULE = re.compile(r"^([-+=])")
_NUMBER = re.compile(r"^(\d+)([.)])")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_LINE_END = re.compile(r"\r\n|\r|\n")  # Markdown knows no others
_FENCE = re.compile(r"`{3,}|~{3,}")
_INNER_FENCE = re.compile(r"(?<=[^`])`{3,}|(?<=[^~])~{3,}")


@dataclass(frozen=True, slots=True)
class _Words:
    untitled: str
    question: str
    answer: str
    sources: str
    unanswered: str
    states: Mapping[str, str]


_ENGLISH = _Words(
    "Conversation", "Question", "Answer", "Sources", "(This answer was stopped.)",
    {"verified": "verified", "elsewhere": "stands elsewhere", "not found": "not found"},
)  # fmt: skip
_CHINESE = _Words(
    "对话", "问题", "回答", "来源", "（此回答已中止。）",
    {"verified": "已核实", "elsewhere": "在别处", "not found": "未找到"},
)  # fmt: skip


def markdown(talk: Mapping[str, Any]) -> str:
    """A conversation, as ``Talks.export`` gives it; in Chinese where its title or first message is."""
    messages = talk["messages"]
    first = messages[0]["text"] if messages else ""
    words = _CHINESE if is_chinese(f"{talk['title']}\n{first}") else _ENGLISH
    parts = [f"# {escaped(talk['title']) or words.untitled}", f"*{talk['created']}*"]
    for message in messages:
        parts += _question(message, words) if message["role"] == "user" else _answer(message, words)
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text on one line that Markdown shows as it is.

    >>> print(escaped("1. a_b <i>"))
    1\\. a\\_b \\<i\\>
    """
    return _NUMBER.sub(r"\1\\\2", _RULE.sub(r"\\\1", _SPECIAL.sub(r"\\\1", collapse(text))))


def without_tags(text: str) -> str:
    """Markdown in which no HTML can begin; code between fences stays, and a fence that is left open is closed."""
    made, fence = [], ""
    lines = _LINE_END.split(text)
    # Where a fence stands inside a list or a quote, only a whole parser knows where it ends: then no code is spared.
    spares = not any(_INNER_FENCE.search(line) for line in lines)
    for line in lines:
        mark = _FENCE.match(line)
        if fence:
            made.append(line)
            if mark and line.rstrip(" \t") == mark[0] and mark[0].startswith(fence):
                fence = ""
        elif spares and mark and (mark[0][0] == "~" or "`" not in line[mark.end() :]):
            made.append(line)
            fence = mark[0]
        else:
            made.append(_TAG.sub(r"\\<", line))
    return "\n".join([*made, fence] if fence else made)


def _question(message: Mapping[str, Any], words: _Words) -> list[str]:
    lines = [f"> {escaped(line)}".rstrip() for line in message["text"].splitlines()] or [">"]
    return [f"## {words.question}", "\n".join(lines)]


def _answer(message: Mapping[str, Any], words: _Words) -> list[str]:
    answer = message["answer"] or {}
    stopped = message["answer"] is None or answer.get("finish_reason") == "cancelled"
    parts = [f"## {words.answer}", without_tags(message["text"]), words.unanswered if stopped else ""]
    sources = [_source(citation, words) for citation in answer.get("citations", ())]
    if sources:
        parts += [f"### {words.sources}", "\n".join(sources)]
    return [part for part in parts if part]


def _source(citation: Mapping[str, Any], words: _Words) -> str:
    """``- [1] pump.pdf, page 3 (verified): “quote”``."""
    where = escaped(_place(citation, chinese=words is _CHINESE))
    state = words.states.get(citation["state"], citation["state"])
    return f"- \\[{citation['marker']}\\] {where} ({state}): “{escaped(citation['quote'])}”"


def _place(citation: Mapping[str, Any], *, chinese: bool) -> str:
    document, page, label = citation["document"], citation["page"], citation.get("label", "")
    if chinese and (not label or document.lower().endswith(".pdf")):
        return f"{document}，第 {page} 页" + (f"（{label}）" if label else "")
    return place(document, page, label)
