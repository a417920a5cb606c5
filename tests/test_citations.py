"""Quotes: verified when they stand there, and never when they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.citations import cite_claims, cite_span, find, locate
from ragapp.testing import document_of, passage_of
from ragapp.types import Document


class Held:
    """ports.Library over documents in memory."""

    def __init__(self, *documents: Document) -> None:
        self.documents = {document.id: document for document in documents}

    def text_of(self, document_id: str) -> str:
        return self.documents[document_id].text

    def words(self, document_id: str, start: int, end: int) -> str:
        return self.text_of(document_id)[start:end]

    def page_at(self, document_id: str, offset: int) -> int:
        return next(p.number for p in self.documents[document_id].pages if p.start <= offset < p.end)

    def page_parts(self, document_id: str, start: int, end: int) -> list[tuple[int, int, int]]:
        pages = self.documents[document_id].pages
        return [(p.number, max(start, p.start), min(end, p.end)) for p in pages if p.start < end and p.end > start]


DOCUMENT = document_of(
    "The tank holds 42 litres. It is made of steel and", "weighs ten kilograms. Nobody knows why.", "最大功率为九千瓦。"
)
LIBRARY = Held(DOCUMENT)
FIRST = passage_of(DOCUMENT, 0, DOCUMENT.pages[0].end)
WHOLE = passage_of(DOCUMENT)


# -- find --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("cash flow", "the cash  flow"),
        ("cash flow", "the cash\nflow"),
        ("example", "an exam\u00ad\nple"),
        ("example", "an exam\u00adple"),
        ("example", "an exam-\nple"),
        ("example", "an exam- \n ple"),
        ("efficient flow", "eﬃcient ﬂow"),
        ("eﬃcient", "an efficient way"),
        ("it's “so”", 'it’s "so"'),
        ("2018-2019", "2018–2019"),
        ("现金流量", "现金\n流量"),
        ("ＡＢＣ", "ABC"),
        ("café", "cafe\u0301"),
        ("10²", "10² metres"),
        ("zero\u200bwidth", "zerowidth"),
    ],
)
def test_find_forgives_the_setting_of_type(quote: str, text: str) -> None:
    span = find(quote, text)
    assert span is not None
    start, end = span
    assert not text[start].isspace()
    assert not text[end - 1].isspace()


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("42 litres", "43 litres"),
        ("Steel", "steel"),
        ("not allowed", "allowed"),
        ("102", "10² metres"),
        ("H2O", "H₂O"),
        ("1/2", "½ a litre"),
        ("cafe", "café"),
        ("wellknown", "well-known"),
        ("1,000", "1.000"),
        ("", "text"),
        (" \u00ad\n", "text"),
        ("longer than", "long"),
    ],
)
def test_find_forgives_nothing_else(quote: str, text: str) -> None:
    assert find(quote, text) is None


PIECES = st.lists(st.sampled_from([*"abcXYZ123.,é现金", "ﬁ", "²", "-", "\u00ad", " ", "\n"]), min_size=1, max_size=40)


@given(PIECES, st.data())
def test_any_part_of_a_text_is_found_and_is_what_it_says(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    start = data.draw(st.integers(0, len(text) - 1))
    part = text[start : data.draw(st.integers(start + 1, len(text)))]
    # A hyphen at the cut may be a line end's in the text and not in the part.
    span = find(part.strip("-"), text)
    if not any(c.isalnum() for c in part):
        return
    assert span is not None
    found = find(text[span[0] : span[1]], part)
    assert found is not None


@given(PIECES, st.data())
def test_one_letter_more_or_other_is_not_found(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    at = data.draw(st.integers(0, len(text)))
    assert find(f"{text[:at]}q{text[at:]}", text) is None
    assert find(f"{text[:at]}q{text[at + 1 :]}", text) is None


@given(PIECES, st.lists(st.integers(0, 40), max_size=5))
def test_white_space_makes_no_difference(pieces: list[str], places: list[int]) -> None:
    text = "".join(piece for piece in pieces if piece != "-")
    spaced = text
    for place in places:
        spaced = f"{spaced[:place]} {spaced[place:]}"
    assert (find(spaced, text) is None) == (find(text, text) is None)


# -- locate ------------------------------------------------------------------------------------------------------------


def test_locate_looks_in_the_passage_then_in_the_document_then_gives_up() -> None:
    here = locate("holds 42 litres", FIRST, LIBRARY)
    assert (here.state, DOCUMENT.text[here.start : here.end]) == ("verified", "holds 42 litres")
    there = locate("Nobody knows why.", FIRST, LIBRARY)
    assert (there.state, DOCUMENT.text[there.start : there.end]) == ("elsewhere", "Nobody knows why.")
    nowhere = locate("holds 43 litres", FIRST, LIBRARY)
    assert (nowhere.state, nowhere.start) == ("not found", nowhere.end)


def test_offsets_of_a_passage_that_starts_late() -> None:
    late = passage_of(DOCUMENT, DOCUMENT.pages[1].start)
    place = locate("ten kilograms", late, LIBRARY)
    assert DOCUMENT.text[place.start : place.end] == "ten kilograms"


# -- cite_span ---------------------------------------------------------------------------------------------------------


def test_a_span_over_a_page_border_is_cited_once_a_page() -> None:
    start = DOCUMENT.text.index("It is made")
    end = DOCUMENT.text.index(" Nobody")
    one, other = cite_span(WHOLE, start, end, 3, LIBRARY)
    assert (one.marker, one.page, one.quote, one.state) == (3, 1, "It is made of steel and", "verified")
    assert (other.marker, other.page, other.quote, other.state) == (4, 2, "weighs ten kilograms.", "verified")
    assert DOCUMENT.text[other.start : other.end] == "weighs ten kilograms."


def test_a_page_that_the_span_touches_with_white_space_only_is_not_cited() -> None:
    border = DOCUMENT.pages[0].end
    assert [c.page for c in cite_span(WHOLE, border - 1, border + 6, 1, LIBRARY)] == [2]


def test_words_that_the_library_does_not_hold_are_not_verified() -> None:
    class Changed(Held):
        def words(self, document_id: str, start: int, end: int) -> str:
            return super().words(document_id, start, end).replace("42", "43")

    (found,) = cite_span(WHOLE, 0, 25, 1, Changed(DOCUMENT))
    assert (found.state, found.start) == ("not found", found.end)


# -- cite_claims -------------------------------------------------------------------------------------------------------


def claims(text: str) -> list[tuple[int, str, str, int]]:
    passages = [FIRST, passage_of(DOCUMENT, DOCUMENT.pages[1].start)]
    return [(c.marker, c.quote, c.state, c.page) for c in cite_claims(text, passages, LIBRARY)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The tank holds 42 litres [1].", [(1, "The tank holds 42 litres", "verified", 1)]),
        ("The tank holds 42 litres. [1]", [(1, "The tank holds 42 litres", "verified", 1)]),
        ("Yes. The tank holds 42 litres.[1]", [(1, "The tank holds 42 litres", "verified", 1)]),
        ("It holds 42 [1].", [(1, "It holds 42", "not found", 1)]),
        ("They write “is made of steel” [1].", [(1, "is made of steel", "verified", 1)]),
        ("Nobody knows why [1].", [(1, "Nobody knows why", "elsewhere", 2)]),
        (
            "weighs ten kilograms [2][1]",
            [(2, "weighs ten kilograms", "verified", 2), (1, "weighs ten kilograms", "elsewhere", 2)],
        ),
        ("最大功率为九千瓦[2]。", [(2, "最大功率为九千瓦", "verified", 3)]),
        ("One [1] and two [1].", [(1, "One", "not found", 1)]),
        ("No such passage [3] or [0] or [x].", []),
        ("[1]", [(1, "", "not found", 1)]),
        ("", []),
    ],
)
def test_claims(text: str, expected: list[tuple[int, str, str, int]]) -> None:
    assert claims(text) == expected


@given(st.text("ab .[]12“”\n。", max_size=60))
def test_any_text_gives_each_marker_once_and_only_what_it_has(text: str) -> None:
    found = cite_claims(text, [FIRST, WHOLE], LIBRARY)
    assert len({c.marker for c in found}) == len(found)
    assert all(f"[{c.marker}]" in text for c in found)
    assert all((c.end > c.start) == (c.state != "not found") for c in found)


@pytest.mark.parametrize("text", ["a well-\nknown fact", "a well-known fact"])
def test_a_hyphen_at_a_lines_end_may_belong_to_the_word(text: str) -> None:
    assert find("well-known", text) == (2, text.index(" fact"))
