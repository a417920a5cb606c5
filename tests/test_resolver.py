"""The resolver: marks become citations while an answer streams, however it is cut; strict lets through what stands."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragapp.resolver import Resolver
from ragapp.testing import document_of, passage_of
from ragapp.text import collapse
from ragapp.types import Cited, Event, Token
from tests.test_citations import Held

DOCUMENT = document_of(
    "The tank of the model nine holds 42 litres of fuel. It is made of steel.",
    "It weighs 1,204 kilograms. Nobody knows why.",
    "最大功率为九千瓦。公司位于格拉茨。员工不得吸烟。",
)
LIBRARY = Held(DOCUMENT)
PASSAGES = {page.number: passage_of(DOCUMENT, page.start, page.end) for page in DOCUMENT.pages}


def resolve(*pieces: str, strict: bool = False, question: str = "") -> tuple[Resolver, list[Event]]:
    """The resolver after all these pieces, its events checked against what it holds."""
    resolver = Resolver(PASSAGES, LIBRARY, strict, question)
    events = [event for piece in pieces for event in resolver.feed(piece)] + resolver.end()
    assert "".join(event.text for event in events if isinstance(event, Token)) == resolver.text
    assert [event.citation for event in events if isinstance(event, Cited)] == resolver.citations
    spelled = ""
    for event in events:
        spelled += event.text if isinstance(event, Token) else ""
        assert not isinstance(event, Cited) or f"[{event.citation.marker}]" in spelled
    for citation in resolver.citations:
        assert citation.passage == PASSAGES[citation.marker]
        assert (citation.end > citation.start) == (citation.state != "not found")
        assert citation.state == "not found" or collapse(DOCUMENT.text[citation.start : citation.end]) == citation.quote
    assert all(resolver.text[figure.start : figure.end] == figure.text for figure in resolver.figures)
    return resolver, events


def seen(text: str) -> list[tuple[int, str, str, int]]:
    return [(c.marker, c.quote, c.state, c.page) for c in resolve(text)[0].citations]


TANK = "The tank of the model nine holds 42 litres"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{TANK} [1].", [(1, TANK, "verified", 1)]),
        (f"{TANK}. [1]", [(1, TANK, "verified", 1)]),
        (f"Yes. {TANK}.[1] Bye.", [(1, TANK, "verified", 1)]),
        (f"{TANK} of fuel. [1] It is red. [1]", [
            (1, f"{TANK} of fuel", "verified", 1), (1, "It is red", "not found", 1)]),
        (f"{TANK} [1], it is made of steel [1].", [
            (1, TANK, "verified", 1), (1, "It is made of steel", "verified", 1)]),
        ("Nobody knows why [1, 2].", [(1, "Nobody knows why", "elsewhere", 2), (2, "Nobody knows why", "verified", 2)]),
        ("Nobody knows why [1] [2].", [
            (1, "Nobody knows why", "elsewhere", 2), (2, "Nobody knows why", "verified", 2)]),
        ("Nobody knows why [2]. Nobody knows why [2].", [(2, "Nobody knows why", "verified", 2)]),
        ("According to [2], nobody knows why.", [(2, "Nobody knows why", "verified", 2)]),
        ("According to [1], it is made of steel [2].", [
            (1, "It is made of steel", "verified", 1), (2, "It is made of steel", "elsewhere", 1)]),
        ("[2] says that nobody knows why.", [(2, "Nobody knows why", "verified", 2)]),
        (f"{TANK} [1] and 43 more.", [(1, f"{TANK} and 43 more", "not found", 1)]),
        ("- [1] It is made of steel\n- Nobody knows why [2]", [
            (1, "It is made of steel", "verified", 1), (2, "Nobody knows why", "verified", 2)]),
        ("It is made of steel.\n[2] Nobody knows why.", [(2, "Nobody knows why", "verified", 2)]),
        ("It is made of steel.\n[1]\n\nNobody knows why.", [(1, "It is made of steel", "verified", 1)]),
        ("1. It is made of steel [1]\n2. Nobody knows why [2]", [
            (1, "It is made of steel", "verified", 1), (2, "Nobody knows why", "verified", 2)]),
        ("**It is made of steel.** [1] **Nobody knows why.** [2]", [
            (1, "It is made of steel", "verified", 1), (2, "Nobody knows why", "verified", 2)]),
        ("| It is made of steel | [1] |\n|---|---|\n| Nobody knows why | [2] |", [
            (1, "It is made of steel", "verified", 1), (2, "Nobody knows why", "verified", 2)]),
        ("It is made\nof steel [1].", [(1, "It is made of steel", "verified", 1)]),
        ("最大功率为九千瓦[3]。公司位于格拉茨。[3]员工可以吸烟【3】。", [
            (3, "最大功率为九千瓦", "verified", 3), (3, "公司位于格拉茨", "verified", 3),
            (3, "员工可以吸烟", "not found", 3)]),
        ("They write “It is made of steel” [1].", [(1, "It is made of steel", "verified", 1)]),
        ("It is not made of steel [1].", [(1, "It is not made of steel", "not found", 1)]),
        ("`x[1]` and [9] and [text](url).", []),
        ("[1]", [(1, "", "not found", 1)]),
        ("", []),
    ],
)  # fmt: skip
def test_every_use_of_a_mark_is_looked_up(text: str, expected: list[tuple[int, str, str, int]]) -> None:
    assert seen(text) == expected


def test_a_page_border_gives_a_citation_for_each_page() -> None:
    document = document_of("The guarantee lasts", "for seven years. More.")
    resolver = Resolver({1: passage_of(document)}, Held(document))
    resolver.feed("The guarantee lasts for seven years [1].")
    resolver.end()
    assert [(c.marker, c.quote, c.state, c.page) for c in resolver.citations] == [
        (1, "The guarantee lasts", "verified", 1), (1, "for seven years", "verified", 2),
    ]  # fmt: skip


def test_numbers_are_those_that_the_model_was_told() -> None:
    resolver = Resolver({2: PASSAGES[2], 5: PASSAGES[1]}, LIBRARY)
    resolver.feed("It is made of steel [5]. Nobody knows why [2]. And so on [1].")
    resolver.end()
    assert [(c.marker, c.state, c.passage) for c in resolver.citations] == [
        (5, "verified", PASSAGES[1]), (2, "verified", PASSAGES[2]),
    ]  # fmt: skip
    assert resolver.text.endswith("And so on.")


# -- streaming ---------------------------------------------------------------------------------------------------------


def test_text_flows_and_citations_follow_when_the_next_sentence_begins() -> None:
    resolver = Resolver(PASSAGES, LIBRARY)
    assert resolver.feed("It is made") == [Token("It is made")]
    assert resolver.feed(" of steel [") == [Token(" of steel")]
    assert resolver.feed("1]") == [Token(" [1]")]
    assert resolver.feed(".") == [Token(".")]
    told = resolver.feed(" No")
    assert [type(event) for event in told] == [Token, Cited, Token] or [type(event) for event in told] == [Cited, Token]
    assert resolver.citations[0].state == "verified"


REPLIES = [
    f"{TANK} [1]. It weighs 1,205 kilograms [2][9]. Nobody knows why. [1, 2]",
    "- **It is made of steel** [[1]]\n- Nobody knows 77 [x](u) [2\n\n3. 最大功率为九千瓦【3】。公司位于罗马[3]！",
    "Sure! 🎉 [1]It is made of steel.[1]Then [999] `a[1]` “Nobody knows why” [2-3]. ",
    "| It is made of steel | 12% | [1] |\n|---|---|---|\n| x | 43 | [1] |\n```\ncode[1] 88\n```\nNobody knows why [2]",
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(REPLIES), st.lists(st.integers(0, 200), max_size=12), st.booleans())
def test_how_the_text_was_cut_changes_nothing(reply: str, cuts: Sequence[int], strict: bool) -> None:
    borders = sorted({0, len(reply), *(cut for cut in cuts if cut < len(reply))})
    pieces = [reply[a:b] for a, b in pairwise(borders)]
    one, other = resolve(reply, strict=strict)[0], resolve(*pieces, strict=strict)[0]
    assert (one.text, one.citations, one.figures) == (other.text, other.citations, other.figures)


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("strict", [False, True])
def test_every_single_cut_and_one_character_at_a_time(reply: str, strict: bool) -> None:
    whole = resolve(reply, strict=strict)[0]
    for pieces in [list(reply), *([reply[:at], reply[at:]] for at in range(1, len(reply), 3))]:
        cut = resolve(*pieces, strict=strict)[0]
        assert (cut.text, cut.citations, cut.figures) == (whole.text, whole.citations, whole.figures)


@settings(max_examples=150, deadline=None)
@given(st.text("ab .[]12“”\n。0-|`*九", max_size=60), st.booleans())
@example("[1]\n[1]\n.", True)
def test_any_text_obeys_the_laws(text: str, strict: bool) -> None:
    resolver, _ = resolve(*text, strict=strict)
    uses = [(c.marker, c.start, c.end, c.quote) for c in resolver.citations]
    assert len(set(uses)) == len(uses)


# -- strict ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"Sure! {TANK} [1]. It is red [1]. Nobody knows why. [2] Bye.", f"{TANK} [1]. Nobody knows why. [2]"),
        ("It is red [1]. It is blue.", ""),
        ("It is made of steel. It is made of iron. Nobody knows why.", "It is made of steel. Nobody knows why."),
        ("It is made of steel [1] and it is made of iron [1].", ""),
        ("Nobody knows why [1].", "Nobody knows why [1]."),  # in the document, though not there
        ("It is made of steel.\n\nIt is red.\nNobody knows why.", "It is made of steel.\n\nNobody knows why."),
        ("Facts:\n- It is made of steel [1]\n- It is red [1]\n- Nobody knows why [2]\n",
         "- It is made of steel [1]\n- Nobody knows why [2]\n"),
        ("It is made of steel [1].\n---\nIt is red.\n---\nNobody knows why.",
         "It is made of steel [1].\n---\nNobody knows why."),
        ("公司位于格拉茨[3]。公司位于罗马[3]。员工不得吸烟[3]。", "公司位于格拉茨[3]。员工不得吸烟[3]。"),
        ("**It is red.** **It is made of steel.** It is blue.", "**It is made of steel.**"),
        ("1. It is red\n2. It is made of steel.", "2. It is made of steel."),
        ("", ""),
    ],
)  # fmt: skip
def test_strict_leaves_out_what_does_not_stand_there(text: str, kept: str) -> None:
    resolver, _ = resolve(text, strict=True)
    assert resolver.text.rstrip("\n") == kept.rstrip("\n")
    assert all(citation.state != "not found" for citation in resolver.citations)
    assert resolver.figures == []


def test_strict_lets_a_sentence_out_as_soon_as_it_was_checked() -> None:
    resolver = Resolver(PASSAGES, LIBRARY, strict=True)
    assert resolver.feed("It is made of steel [1].") == []
    first = resolver.feed(" It is r")
    assert first[0] == Token("It is made of steel [1].")
    assert isinstance(first[1], Cited)
    assert resolver.feed("ed. Nobody knows why") == []
    assert resolver.end() == [Token(" Nobody knows why")]


# -- figures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        (f"{TANK} [1].", []),
        ("It holds 43 litres [1].", ["43"]),
        ("It weighs 1204 kilograms [2].", []),
        ("It weighs 1,204 kilograms [1].", []),  # the words stand in the document
        ("The weight is 1,204 [1].", ["1,204"]),  # the figure stands in another passage than the one cited
        ("The weight is 1,204.", []),
        ("The weight is 1,204 [1][2].", []),
        ("1. First\n2. Second [1]", []),
        ("It won 12 % and $4 million in 2018 [1].", ["12 %", "4 million"]),  # 2018 is asked for
        ("功率为9千瓦[3]。功率为八千瓦[3]。", ["八千"]),
        ("See page 2 of passage 3.", []),
    ],
)
def test_figures_that_stand_nowhere_are_flagged(text: str, flagged: list[str]) -> None:
    resolver, _ = resolve(text, question="What happened in 2018?")
    assert [figure.text for figure in resolver.figures] == flagged


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["It holds 42 litres [1].", "It holds 43 litres [1].", "Then 42 [2]!", "77 more"]), max_size=5
    )
)
def test_a_figure_is_flagged_where_it_stands(sentences: list[str]) -> None:
    resolver, _ = resolve(" ".join(sentences))
    wrong = sum({"It holds 43 litres [1].": 1, "Then 42 [2]!": 1, "77 more": 1}.get(each, 0) for each in sentences)
    assert len(resolver.figures) == wrong
