"""Markdown of answers as HTML that is safe to show, whole or block by block while it is written.

markdown-it-py renders CommonMark with tables and struck-out text; raw HTML in it stays text. nh3 then keeps only the
tags, attributes and schemes that are named here, whatever came out before. A picture becomes its alternative text,
because showing it would ask a stranger for it; ``[1]`` stays as it is written, because there are no link references:
the target of one may come after all the text that uses it.

A document is a row of blocks (paragraphs, lists, tables, …), and the HTML of a text is that of its blocks, one after
the other. ``Blocks`` gives each as soon as nothing that follows can change it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

TAGS = frozenset((
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol",
    "li", "a", "table", "thead", "tbody", "tr", "th", "td",
))  # fmt: skip
ATTRIBUTES: dict[str, set[str]] = {"a": {"href"}, "ol": {"start"}, "*": set()}  # *: nh3 would allow title and lang
ALIGNS = {"left", "center", "right"}
SCHEMES = frozenset(("http", "https", "mailto"))
SMALL = 1_000  # characters that are parsed again with every line
GROWTH = 1.3  # how much longer an unfinished text must be than when it was last parsed: keeps the sum of all linear

_TARGET = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
_ALIGNED = re.compile(r' style="text-align:(left|center|right)">')
_LINE_END = re.compile(r"\r\n?")
# What turns text around or hides it: an answer could show another address, or another number, than it holds.
_UNSEEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SETTLED = frozenset(("paragraph_open", "heading_open", "hr", "fence", "table_open", "blockquote_open"))


def render(text: str) -> str:
    """The HTML of a text. Raises nothing, whatever the text is."""
    return _safe(_renderer().render(harmless(text)))


def harmless(text: str) -> str:
    """The text with line ends as they are here, and without characters that nobody sees or that turn text around."""
    return _CONTROL.sub("\ufffd", _UNSEEN.sub("", _LINE_END.sub("\n", text)))


class Blocks:
    """A text that arrives in pieces, as HTML by whole blocks: all of them joined are ``render`` of the whole text.

    ``feed`` takes a piece and returns the HTML of each block that is finished by it, most often none; ``tail`` is the
    text behind them, which belongs to no block yet; ``finish`` returns the rest. The work is linear in the text,
    however small the pieces are.
    """

    def __init__(self) -> None:
        self._lines = ""  # whole lines that are in no finished block
        self._rest: list[str] = []  # what came since
        self._held = ""  # a "\r" that may be half of a line end
        self._next_try = 0

    @property
    def tail(self) -> str:
        """The text behind the finished blocks."""
        return self._lines + "".join(self._rest)

    def feed(self, text: str) -> list[str]:
        """The HTML of every block that this piece has finished."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        text = harmless(text.removesuffix("\r"))
        self._rest.append(text)
        if "\n" not in text:
            return []
        whole, _, begun = "".join(self._rest).rpartition("\n")
        self._lines += whole + "\n"
        self._rest = [begun] if begun else []
        if len(self._lines) > SMALL and len(self._lines) < self._next_try:
            return []
        return self._taken()

    def finish(self) -> list[str]:
        """The HTML of what is left, at the end of the text."""
        rest = self.tail + ("\n" if self._held else "")
        self._lines, self._rest, self._held = "", [], ""
        html = _safe(_renderer().render(rest))
        return [html] if html else []

    def _taken(self) -> list[str]:
        """Render the blocks that are finished, and go on behind them."""
        # str.splitlines would also split at characters that are no line ends here.
        lines = [line + "\n" for line in self._lines.split("\n")[:-1]]
        ends = _finished(_blocks(self._lines), lines)
        found: list[str] = []
        start = 0
        for end in ends:
            found.append(_safe(_renderer().render("".join(lines[start:end]))))
            start = end
        if start:
            self._lines = "".join(lines[start:])
        self._next_try = int(len(self._lines) * GROWTH)
        return found


def _blocks(text: str) -> list[Token]:
    """The outermost blocks of a text, each as the token that opens it."""
    tokens: list[Token] = []
    renderer = _renderer()
    renderer.block.parse(text, renderer, {}, tokens)
    return [token for token in tokens if token.level == 0 and token.nesting >= 0]


def _finished(blocks: Sequence[Token], lines: Sequence[str]) -> list[int]:
    """The line behind each block that nothing can change any more.

    A block with another one behind it is finished: the parser goes through the lines once, and has left it. The last
    one is where an empty line ends its kind.
    """
    ends = [block.map[0] for block in blocks[1:] if block.map]
    if blocks and blocks[-1].map and blocks[-1].type in _SETTLED:
        last = blocks[-1].map[1]
        if last < len(lines) and not lines[last].strip(" \t\n"):
            ends.append(last + 1)
    return ends


@lru_cache(maxsize=1)
def _renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": False, "xhtmlOut": False, "linkify": False})
    made.enable(["table", "strikethrough"])
    made.disable(["reference", "html_block", "html_inline"])
    made.validateLink = lambda url: _TARGET.match(url.strip()) is not None  # type: ignore[method-assign]
    made.add_render_rule("image", _alternative)
    return made


def _alternative(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """A picture as its alternative text."""
    from markdown_it.common.utils import escapeHtml

    return escapeHtml(renderer.renderInlineAsText(tokens[at].children or [], options, env))


def _safe(html: str) -> str:
    import nh3

    # A style would need a looser policy for the whole window; the attribute of older HTML says the same.
    html = _ALIGNED.sub(r' align="\1">', html)
    return nh3.clean(
        html,
        tags=set(TAGS),
        attributes=ATTRIBUTES,
        tag_attribute_values={"th": {"align": ALIGNS}, "td": {"align": ALIGNS}},
        set_tag_attribute_values={"a": {"target": "_blank"}},
        url_schemes=set(SCHEMES),
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )
