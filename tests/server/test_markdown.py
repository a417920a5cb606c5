"""Markdown of answers: nothing harmful comes out, and blocks that come one by one are the whole."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.server.markdown import ATTRIBUTES, TAGS, Blocks, harmless, render


class Looked(HTMLParser):
    """What a browser would make of it: tags with their attributes, and comments."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.strange: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_comment(self, data: str) -> None:
        self.strange.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def assert_harmless(html: str) -> None:
    looked = Looked(html)
    assert looked.strange == []
    for tag, attributes in looked.tags:
        assert tag in TAGS
        allowed = {*ATTRIBUTES.get(tag, ()), *(("rel", "target") if tag == "a" else ())}
        allowed |= {"align"} if tag in ("td", "th") else set()
        assert set(attributes) <= allowed
        if tag == "a":
            assert attributes["rel"] == "noopener noreferrer nofollow"
            assert attributes["target"] == "_blank"
            assert re.match(r"(https?://|mailto:)", attributes.get("href") or "https://") is not None


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>1</script></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<!-- <img src=x onerror=alert(1)> -->",
    "<![CDATA[<script>1</script>]]>",
    "<?php echo 1 ?>",
    "<style>*{display:none}</style>",
    "<base href='https://evil.example/'>",
    "<a href='javascript:alert(1)'>x</a>",
    "<form action='https://evil.example'><input name=q></form>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "[x](//evil.example/a)",
    "[x](/v1/documents)",
    "[x](#top)",
    "[x](https://a.example \"t\\\" onclick=\\\"alert(1)\")",
    "[x](https://a.example/\"onclick=alert(1))",
    "<javascript:alert(1)>",
    "<https://a.example/?q=<script>>",
    "![x](https://evil.example/track.png)",
    "![x](javascript:alert(1))",
    "![<script>](data:image/svg+xml;base64,PHN2Zz4=)",
    "[![x](https://evil.example/a.png)](https://a.example)",
    "[a [b](https://b.example)](https://a.example)",
    "[1]: javascript:alert(1)\n\n[1]",
    "[1]: https://evil.example\n\nSee [1] and [here][1].",
    "```html\n<script>alert(1)</script>\n```",
    "```\"><img src=x onerror=alert(1)>\ncode\n```",
    "    <script>alert(1)</script>",
    "`<img src=x onerror=alert(1)>`",
    "| <script>1</script> | b |\n|:-:|--|\n| <img src=x> | c |",
    "# <b onclick=1>x</b>",
    "> <iframe>",
    "- <script>\n  x\n- </script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<a\x00href=javascript:alert(1)>x",
    "**bold <i>x** y</i>",
    "\ud800 half a pair",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_harmful_comes_out(text: str) -> None:
    for each in (text, f"Before [1].\n\n{text}\n\nAfter.", f"- {text}", f"> {text}", f"*{text}*"):
        assert_harmless(render(each))
        assert "evil.example" not in "".join(str(a.get("href")) for _, a in Looked(render(each)).tags)


@given(st.text(alphabet="<>/\"'=&#;:![]()`*_~|-\n ajscriptonhref\u202e\u00ad", max_size=120))
def test_nothing_harmful_comes_out_of_anything(text: str) -> None:
    assert_harmless(render(text))


def test_pictures_become_words_and_marks_stay() -> None:
    assert render("![a *red* pump](https://x.example/y.png) lasts [1].") == "<p>a red pump lasts [1].</p>\n"
    assert render("[1]: https://x.example\n") == "<p>[1]: https://x.example</p>\n"
    assert render("x [1][2](y)") == "<p>x [1][2](y)</p>\n"


def test_what_turns_text_around_is_taken_out() -> None:
    assert render("pay \u202e001\u202c \u2066x\u2069\u200b euro") == "<p>pay 001 x euro</p>\n"
    assert harmless("שלום") == "שלום"
    assert harmless("a\r\nb\rc\x00") == "a\nb\nc\ufffd"


def test_what_answers_are_written_in() -> None:
    text = (
        "## Head\n\n1. **a**\n2. ~~b~~\n\n| x | y |\n|:--|--:|\n| 1 | `2` |\n\n---\n\n[k](https://a.example/?b=1&c)\n"
    )
    html = render(text)
    assert '<th align="left">x</th>' in html
    assert '<td align="right"><code>2</code></td>' in html
    assert "<h2>Head</h2>" in html
    assert "<ol>\n<li><strong>a</strong></li>\n<li><s>b</s></li>\n</ol>" in html
    assert "<hr>" in html
    assert '<a href="https://a.example/?b=1&amp;c" target="_blank" rel="noopener noreferrer nofollow">k</a>' in html
    assert render("保修期为**二十四**个月。[1]") == "<p>保修期为<strong>二十四</strong>个月。[1]</p>\n"


# -- block by block ----------------------------------------------------------------------------------------------------

WHOLE = (
    "Intro\nlazy line\n\n- a\n- b\n\n  more of b\n\n\n- c\nlazy\n\n1. x\n\n2. y\n\n```py\ncode\n\n# no head\n```\n"
    "after\n# Head\ntext\n===\n\n> quote\nlazy\n\n> another\n\n    indented\n\n    still\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\nend\n\n"
    "para\n| c |\n|---|\n| 3 |\n\n***\n[1]: https://x.example\n\n保修期为二十四个月。\n\n~~~\nopen fence\n\n"
)


def streamed(pieces: list[str]) -> tuple[list[str], list[str]]:
    blocks = Blocks()
    early = [html for piece in pieces for html in blocks.feed(piece)]
    return early, blocks.finish()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_blocks_joined_are_the_whole(size: int) -> None:
    for text in (WHOLE, WHOLE.replace("\n", "\r\n"), WHOLE.replace("\n", "\r"), "\n\n" + WHOLE + "x"):
        early, late = streamed([text[at : at + size] for at in range(0, len(text), size)])
        assert "".join(early + late) == render(text)


line = st.sampled_from([
    "", "  ", "text", "- item", "  more", "    deep", "1. one", "2. two", "> quote", "# head", "===", "---", "```",
    "~~~", "| a | b |", "|---|---|", "[1]: https://x.example", "[x](https://x.example", "**bold", "中文。", "<b>",
    "\ttab", "* * *", "-", "10) x", "&amp;", "\\", "a\u2028b", "\x0bc", "![x](y)",
])  # fmt: skip


@given(st.lists(line, max_size=14), st.data())
def test_blocks_joined_are_the_whole_whatever_it_is(lines: list[str], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(["\n", "\r\n"])).join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    early, late = streamed(pieces)
    assert "".join(early + late) == render(text)


def test_a_block_is_there_as_soon_as_it_is_finished() -> None:
    blocks = Blocks()
    assert blocks.feed("A **bold") == []
    assert blocks.tail == "A **bold"
    assert blocks.feed("** word.\n") == []
    assert blocks.feed("\nNext") == ["<p>A <strong>bold</strong> word.</p>\n"]
    assert blocks.tail == "Next"
    assert blocks.feed("\n- a\n") == ["<p>Next</p>\n"]
    assert blocks.feed("\n- b\n") == []
    assert blocks.feed("\nend") == []
    assert blocks.finish() == [render("- a\n\n- b\n\nend")]
    assert blocks.tail == ""


def test_the_tail_is_harmless_too() -> None:
    blocks = Blocks()
    blocks.feed("pay \u202e001\r")
    assert blocks.tail == "pay 001"
    blocks.feed("\nx")
    assert blocks.tail == "pay 001\nx"


@pytest.mark.parametrize(
    "unit",
    ["- item\n", "word ", "word\n", "```\n", "para\n\n", "> q\n", "1. a\n\n", "| a |\n", "    c\n", "# h\n", "\n"],
)
def test_long_answers_cost_no_more_by_the_word(unit: str) -> None:
    def seconds(count: int) -> float:
        blocks = Blocks()
        started = time.thread_time()
        for _ in range(count):
            blocks.feed(unit)
        blocks.finish()
        return time.thread_time() - started

    seconds(100)
    small = min(seconds(500) for _ in range(2))
    # 8 times as long: 64 times as much where it is quadratic.
    assert min(seconds(4000) for _ in range(2)) < 40 * small + 0.2
