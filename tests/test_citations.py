"""Quotes: verified when they stand there, and never when they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.citations import Places, cite_claim, cite_span, find
from ragapp.testing import document_of, passage_of
from ragapp.text import collapse
from ragapp.types import Document, Passage


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

    def around(self, document_id: str, start: int, end: int) -> None:
        """Nothing is known of what lies around."""

    def core(self, passage: Passage) -> Passage:
        return passage


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


@pytest.mark.parametrize("text", ["a well-\nknown fact", "a well-known fact"])
def test_a_hyphen_at_a_lines_end_may_belong_to_the_word(text: str) -> None:
    assert find("well-known", text) == (2, text.index(" fact"))


# -- places ------------------------------------------------------------------------------------------------------------


def located(claim: str, passage: Passage = FIRST, library: Held = LIBRARY) -> tuple[str, str]:
    place = Places(library).locate(claim, passage)
    return place.state, DOCUMENT.text[place.start : place.end]


def test_a_claim_is_looked_up_in_the_passage_then_on_its_page_then_in_the_document() -> None:
    half = passage_of(DOCUMENT, 0, DOCUMENT.text.index(" It is made"))
    assert located("The tank holds 42 litres.") == ("verified", "The tank holds 42 litres")
    assert located("It is made of steel.", half) == ("verified", "It is made of steel")
    assert located("Nobody knows why.", half) == ("elsewhere", "Nobody knows why")
    assert located("The tank holds 43 litres.", half) == ("not found", "")


def test_offsets_of_a_passage_that_starts_late() -> None:
    assert located("weighs ten kilograms", passage_of(DOCUMENT, DOCUMENT.pages[1].start))[1] == "weighs ten kilograms"


def test_what_was_not_found_leads_to_the_nearest_sentence() -> None:
    place = Places(LIBRARY).locate("Anybody knows why.", WHOLE)
    assert (place.state, place.start) == ("not found", DOCUMENT.text.index("Nobody knows"))


@pytest.mark.parametrize(
    ("claim", "state"),
    [
        ("They write “is made of steel”.", "verified"),
        ("It says: “Nobody knows why.”", "elsewhere"),
        ("The manual says that it “is made of steel”", "verified"),
        ("文中写道：“最大功率为九千瓦”", "elsewhere"),
        ("They write “is made of iron”.", "not found"),
        ("They never write “is made of steel”.", "not found"),
        ("It does not say “is made of steel”.", "not found"),
        ("文中没有写道：“最大功率为九千瓦”", "not found"),
        ("The engine “is made of steel”.", "not found"),
        ("In 1998 they write “is made of steel”.", "not found"),
        ("They write “s made of steel”.", "not found"),
        ("They write “is made of stee”.", "not found"),
        ("They write “is made of steel” and “is made of iron”.", "not found"),
        ("The tank “holds 42 litres”.", "verified"),
    ],
)
def test_words_between_quotation_marks_must_stand_there(claim: str, state: str) -> None:
    assert located(claim)[0] == state


def test_what_the_stored_pages_do_not_hold_is_not_verified() -> None:
    class Changed(Held):
        def words(self, document_id: str, start: int, end: int) -> str:
            return super().words(document_id, start, end).replace("42", "43")

        def text_of(self, document_id: str) -> str:
            return super().text_of(document_id).replace("42", "43")

    assert located("The tank holds 42 litres.", library=Changed(DOCUMENT))[0] == "not found"


def test_a_document_that_is_gone_verifies_nothing() -> None:
    class Gone(Held):
        def text_of(self, document_id: str) -> str:
            return ""

        def page_at(self, document_id: str, offset: int) -> int:
            return 0

        def page_parts(self, document_id: str, start: int, end: int) -> list[tuple[int, int, int]]:
            return []

    library = Gone(DOCUMENT)
    (citation,) = cite_claim("The tank holds 42 litres.", FIRST, 1, Places(library), library)
    assert (citation.state, citation.page, citation.start) == ("not found", 1, citation.end)


def test_a_document_is_read_whole_once_and_only_when_it_must_be() -> None:
    class Counting(Held):
        read = 0

        def text_of(self, document_id: str) -> str:
            Counting.read += 1
            return super().text_of(document_id)

        def words(self, document_id: str, start: int, end: int) -> str:
            return self.documents[document_id].text[start:end]

    places = Places(Counting(DOCUMENT))
    places.locate("The tank holds 42 litres.", FIRST)
    assert Counting.read == 0
    assert [places.locate(claim, FIRST).state for claim in ("Nobody knows why", "Nobody knows", "It is red")] == [
        "elsewhere", "elsewhere", "not found",
    ]  # fmt: skip
    assert Counting.read == 1


def test_a_long_document_is_looked_through() -> None:
    pages = [
        f"On page {n} the valve number {n * 7} was checked by inspector Miller and found tight." for n in range(900)
    ]
    long = document_of(*pages)
    first = passage_of(long, 0, long.pages[0].end)
    place = Places(Held(long)).locate("On page 500 the valve number 3500 was checked.", first)
    assert (place.state, long.text[place.start : place.end]) == (
        "elsewhere", "On page 500 the valve number 3500 was checked",
    )  # fmt: skip
    assert Places(Held(long)).locate("On page 500 the valve number 3507 was checked.", first).state == "not found"


# -- cite_claim --------------------------------------------------------------------------------------------------------


def cited(claim: str, passage: Passage = WHOLE) -> list[tuple[str, str, int]]:
    found = cite_claim(claim, passage, 4, Places(LIBRARY), LIBRARY)
    assert all(c.marker == 4 and c.passage == passage for c in found)
    for c in found:
        assert (c.end > c.start) == (c.state != "not found")
        assert c.state == "not found" or collapse(DOCUMENT.text[c.start : c.end]) == c.quote
    return [(c.quote, c.state, c.page) for c in found]


def test_words_over_a_page_border_are_cited_once_a_page() -> None:
    claim = "It is made of steel and weighs ten kilograms."
    assert cited(claim) == [
        ("It is made of steel and", "verified", 1), ("weighs ten kilograms", "verified", 2),
    ]  # fmt: skip
    assert cited(claim, FIRST) == [
        ("It is made of steel and", "verified", 1), ("weighs ten kilograms", "elsewhere", 2),
    ]  # fmt: skip


def test_what_was_not_found_is_shown_as_it_was_claimed() -> None:
    assert cited("- Somebody knows why.") == [("Somebody knows why", "not found", 2)]


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
