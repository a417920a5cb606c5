"""Words found in a text: what does not matter, what does, and that offsets are exact."""

from __future__ import annotations

import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import finder
from ragapp.finder import MOST, find


def found(text: str, words: str, limit: int = 100) -> list[str]:
    return [text[start:end] for start, end in find([text], words, limit).spans]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("The Pump. the pump, PUMPS", "pump", ["Pump", "pump", "PUMP"]),
        ("Die Straße, STRASSE", "strasse", ["Straße", "STRASSE"]),
        ("Die Straße, STRASSE", "straße", ["Straße", "STRASSE"]),
        ("ＡＢＣ１２ abc12", "abc12", ["ＡＢＣ１２", "abc12"]),
        ("an oﬃce", "office", ["oﬃce"]),
        ("ｶﾞﾗｽ ガラス", "ガラス", ["ｶﾞﾗｽ", "ガラス"]),
        ("two\n  words and two\u00a0words, twowords", "two words", ["two\n  words", "two\u00a0words"]),
        ("two words", "  two   words ", ["two words"]),
        ("in form and inform", "inform", ["inform"]),
        ("网络\n安全法，2024 年", "网络安全", ["网络\n安全"]),
        ("网络安全", "网络 安全", ["网络安全"]),
        ("2024 年和2024年", "2024年", ["2024 年", "2024年"]),
        ("保修期：二十四个月", "保修期: 二十四", ["保修期：二十四"]),
        ("infor-\nmation and infor\u00ad\nmation", "information", ["infor-\nmation", "infor\u00ad\nmation"]),
        ("well-\nknown, well-known, wellknown", "well-known", ["well-\nknown", "well-known"]),
        ("well-\nknown, well-known, wellknown", "wellknown", ["well-\nknown", "wellknown"]),
        ("1990-\n1995 and 19901995", "19901995", ["19901995"]),
        ("soft\u00adhyphen and zero\u200bwidth", "softhyphen", ["soft\u00adhyphen"]),
        ("soft\u00adhyphen and zero\u200bwidth", "zerowidth", ["zero\u200bwidth"]),
        ("it’s “so” – x‑y", "it's \"so\"", ["it’s “so”"]),
        ("x‑y", "x-y", ["x‑y"]),
        ("cafe\u0301 café cafe", "café", ["cafe\u0301", "café"]),
        ("cafe\u0301 café cafe", "cafe", ["cafe"]),
        ("हिन्दी", "हिन्द", ["हिन्द"]),
        ("a\U0001d400b aAb", "aab", ["a\U0001d400b", "aAb"]),
        ("\U00020000 和 x", "\U00020000和", ["\U00020000 和"]),
        ("aaaa", "aa", ["aa", "aa"]),
        ("x-\nx-x", "x-x", ["x-\nx"]),
        ("nothing", "something", []),
        ("- -", "-", ["-", "-"]),
    ],
)  # fmt: skip
def test_what_matters(text: str, words: str, expected: list[str]) -> None:
    assert found(text, words) == expected


@pytest.mark.parametrize("words", ["", " \n", "\u200b\u00ad"])
def test_nothing_is_found_nowhere(words: str) -> None:
    assert find(["some text \u200b\u00ad"], words, 9) == finder.Matches((), 0)


def test_a_text_in_pieces_is_one_text() -> None:
    pieces = ["The first page ends in the middle of a sen\u00ad\n", "tence that goes on and on.\n"]
    (span,) = find(pieces, "a sentence that", 9, start=100).spans
    assert "".join(pieces)[span[0] - 100 : span[1] - 100] == "a sen\u00ad\ntence that"


def test_the_limit_leaves_the_count() -> None:
    assert find(["a " * 50], "a", 3) == finder.Matches(((0, 1), (2, 3), (4, 5)), 50)
    assert find(["a " * (MOST + 50)], "a", 1).total == MOST


def test_matches_across_blocks_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "BLOCK", 50)
    monkeypatch.setattr(finder, "OVERLAP", 10)
    text = "".join(f"entry {n} of\nthe list; " for n in range(400))
    pieces = [text[at : at + 37] for at in range(0, len(text), 37)]
    spans = find(pieces, "of the", 1000).spans
    assert [text[start:end] for start, end in spans] == ["of\nthe"] * 400
    assert len(find(pieces, "entry 39", 1000).spans) == 11
    assert find(["aa"] * 300, "aaa", 1000) == finder.Matches(tuple((n, n + 3) for n in range(0, 600, 3)), 200)


plain = st.text(alphabet="abAB \n-é\u0301ß中文ﬁ\u00ad", max_size=30)


@given(plain, plain.filter(lambda words: any(char.isalnum() for char in words)), plain)
def test_what_stands_there_is_found_where_it_stands(before: str, words: str, after: str) -> None:
    """Set apart by a sign that folds to itself, words are found at their place, whatever they are."""
    text = f"{before}|{words}|.{after}"
    needle = f"|{words}|"
    start = len(before)
    spans = find([text], needle, 1000).spans
    assert any(left == start and right == start + len(needle) for left, right in spans) or "-" in words


@given(plain, st.text(alphabet="abé中", min_size=1, max_size=3))
def test_every_match_says_the_words(text: str, words: str) -> None:
    def bare(said: str) -> str:
        kept = (c for c in said if not (c.isspace() or c in "-\u00ad"))
        return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", "".join(kept)).casefold())

    spans = find([text], words, 1000).spans
    assert all(bare(words) in bare(text[start:end]) for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


@given(st.lists(plain, max_size=5), st.text(alphabet="abé中", min_size=1, max_size=3))
def test_pieces_do_not_matter(pieces: list[str], words: str) -> None:
    assert find(pieces, words, 99) == find(["".join(pieces)], words, 99)


def test_thousands_of_pages_take_no_time() -> None:
    pages = [f"Page {n} speaks of bolts, seals, hoses — and oil.\n" * 45 for n in range(5000)]
    find(["warm"], "warm", 1)
    started = time.perf_counter()
    assert find(pages, "page 4999 speaks", 10).total == 45
    # 0.3 s on two slow cores; a search that looks at each character in Python takes ten.
    assert time.perf_counter() - started < 3
