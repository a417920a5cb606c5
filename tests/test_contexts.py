"""Passages to be read: joined, widened, nothing twice, and always the document's own words."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.catalog import FILE_NAME
from ragapp.contexts import Joined, roughly
from ragapp.errors import LibraryError
from ragapp.ports import Library
from ragapp.stored import StoredText
from ragapp.testing import document_of, passage_of
from ragapp.types import Document, Excerpt, Heading, Passage, Query, Rank, Table
from tests import libraries

QUERY = Query("?")


class Shelf:
    """ports.Library over documents in memory, of which it gives single pages only."""

    def __init__(self, *documents: Document) -> None:
        self.documents = {document.id: document for document in documents}

    def words(self, document_id: str, start: int, end: int) -> str:
        return self.documents[document_id].text[start:end]

    def page_at(self, document_id: str, offset: int) -> int:
        return self.page_parts(document_id, offset, offset + 1)[0][0]

    def page_parts(self, document_id: str, start: int, end: int) -> list[tuple[int, int, int]]:
        pages = self.documents[document_id].pages
        return [(p.number, max(start, p.start), min(end, p.end)) for p in pages if p.start < end and p.end > start]

    def around(self, document_id: str, start: int, end: int) -> Excerpt | None:
        document = self.documents.get(document_id)
        if document is None:
            return None
        pages = [page for page in document.pages if page.start < end and page.end > start]
        left, right = pages[0].start, pages[-1].end
        return Excerpt(
            left,
            document.text[left:right],
            tuple(h for h in document.headings if left <= h.start < right),
            tuple(t for t in document.tables if t.start < right and t.end > left),
        )

    def text_of(self, document_id: str) -> str:
        raise AssertionError("the whole text of a document was read")

    def core(self, passage: Passage) -> Passage:
        return passage


def words(text: str) -> int:
    return len(text.split())


def room(text: str) -> int:
    """A little more than the text has, in characters: what is aimed at is a little less than what there may be."""
    return int(1.04 * len(text)) + 2


def gather(
    document: Document, passages: Sequence[Passage], tokens: int, count: Callable[[str], int] = len
) -> list[Passage]:
    return Joined(Shelf(document), tokens, count).gather(QUERY, passages)


def at(document: Document, words: str, *, score: float = 1.0, key: int = 1) -> Passage:
    """The passage that these words are."""
    start = document.text.index(words)
    passage = passage_of(document, start, start + len(words), score=score)
    return replace(passage, chunk=replace(passage.chunk, id=key))


FIRST = "The pump is made of steel. It weighs nine kilograms."
SECOND = "Its warranty lasts two years. It ends when the seal is broken."
THIRD = "Repairs are done in Graz. They take a week."
PAGES = document_of(
    f"Model nine\n\n{FIRST}\n\n{SECOND}", f"{THIRD}\n\nModel ten\n\nThis one is made of brass.\n\nIt is not sold."
)
HEADED = replace(
    PAGES, headings=tuple(Heading(1, title, PAGES.text.index(title)) for title in ("Model nine", "Model ten"))
)


# -- widening ----------------------------------------------------------------------------------------------------------


def test_no_tokens_leave_passages_as_they_were() -> None:
    passages = [at(PAGES, "It weighs nine kilograms."), at(PAGES, FIRST)]
    found = gather(PAGES, passages, 0)
    assert all(one is other for one, other in zip(found, passages, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "It weighs nine kilograms.",
        FIRST,
        f"Model nine\n\n{FIRST}",
        f"Model nine\n\n{FIRST}\n\n{SECOND}\n{THIRD}",
        f"Model nine\n\n{FIRST}\n\n{SECOND}\n{THIRD}\n\nModel ten\n\nThis one is made of brass.",
    ],
)
def test_a_passage_grows_to_its_paragraph_then_its_section_then_beyond(text: str) -> None:
    (found,) = gather(HEADED, [at(HEADED, "It weighs nine kilograms.")], room(text))
    assert found.chunk.text == text


def test_a_heading_is_never_left_without_what_stands_under_it() -> None:
    document = document_of("It is made of steel.\n\nWeight\n\nNobody knows how many kilograms the pump weighs.")
    document = replace(document, headings=(Heading(1, "Weight", document.text.index("Weight")),))
    first, last = at(document, "It is made of steel."), at(document, "Nobody knows how many kilograms the pump weighs.")
    (found,) = gather(document, [first], room("It is made of steel.\n\nWeight"))
    assert found == first
    (found,) = gather(document, [last], room(f"Weight\n\n{last.chunk.text}"))
    assert found.chunk.text.startswith("Weight")


def test_a_paragraph_that_is_too_long_gives_whole_sentences_on_both_sides() -> None:
    sentences = [f"Sentence number {n} of them all." for n in range(30)]
    document = document_of(" ".join(sentences))
    text = " ".join(sentences[13:18])
    (found,) = gather(document, [at(document, sentences[15])], room(text))
    assert found.chunk.text == text


def test_text_without_a_blank_line_is_widened_over_the_page() -> None:
    document = document_of("One two three. Four five six.", "Seven eight nine. Ten eleven twelve.")
    text = "One two three. Four five six.\nSeven eight nine."
    (found,) = gather(document, [at(document, "Four five six.")], room(text))
    assert found.chunk.text == text


def test_chinese_is_widened_too() -> None:
    document = document_of("第一章\n\n油箱的容积为四十二升。它由钢制成。\n\n保修期为两年。\n\n维修在格拉茨进行。")
    (found,) = gather(document, [at(document, "它由钢制成。")], 26, roughly)
    assert found.chunk.text == "油箱的容积为四十二升。它由钢制成。\n\n保修期为两年。"


def test_a_passage_keeps_all_but_its_text_and_span() -> None:
    passage = at(PAGES, FIRST, key=7)
    chunk = replace(passage.chunk, header="pumps › Model nine", headings=("Model nine",), page=1)
    passage = replace(passage, chunk=chunk, score=0.7, found_by={"dense": Rank(3, 0.5)}, label="iv")
    (found,) = gather(PAGES, [passage], 200)
    assert found.chunk.text != chunk.text
    assert found == replace(
        passage, chunk=replace(chunk, text=found.chunk.text, start=found.chunk.start, end=found.chunk.end)
    )


TABLE_TEXT = "Before it.\n\nNet sales\t2018\t2017\nPumps\t3\t4\nSeals\t5\t6\n\nHoses\t7\t8\n\nBehind it."
TABLE_START = TABLE_TEXT.index("Net")
TABLE = Table(1, TABLE_START, TABLE_TEXT.index("\n\nBehind"), "", ("", "2018", "2017"), ())
TABLED = document_of(TABLE_TEXT, tables=(TABLE,))


@pytest.mark.parametrize(("first", "last"), [("Seals", "6"), ("Pumps", "8"), ("Net sales", "8"), ("Before", "it.")])
def test_a_row_grows_to_its_table_with_the_head_rows(first: str, last: str) -> None:
    text = TABLE_TEXT[TABLE_TEXT.index(first) : TABLE_TEXT.rindex(last) + len(last)]
    (found,) = gather(TABLED, [at(TABLED, "Seals\t5\t6")], room(text))
    assert found.chunk.text == text


def test_a_table_is_taken_whole_or_not_at_all() -> None:
    whole = TABLE_TEXT.removesuffix("\n\nBehind it.")
    (found,) = gather(TABLED, [at(TABLED, "Before it.")], room(whole) - 8)
    assert found.chunk.text == "Before it."
    (found,) = gather(TABLED, [at(TABLED, "Before it.")], room(whole))
    assert found.chunk.text == whole


def test_parents_stay_as_somebody_chose_them() -> None:
    passage = at(PAGES, SECOND)
    passage = replace(passage, chunk=replace(passage.chunk, parent=(passage.chunk.start, passage.chunk.end)))
    assert gather(PAGES, [passage], 1000) == [passage]


# -- joining -----------------------------------------------------------------------------------------------------------


def test_neighbours_become_one_with_what_is_between_and_the_best_hits_facts() -> None:
    worse = replace(at(PAGES, FIRST, score=0.2, key=4), found_by={"dense": Rank(9, 0.1)}, label="i")
    better = replace(at(PAGES, THIRD, score=0.9, key=5), found_by={"lexical": Rank(1, 8.0)}, label="ii")
    (found,) = gather(PAGES, [better, worse], room(PAGES.text[12 : PAGES.text.index(THIRD) + len(THIRD)]))
    assert found.chunk.text == f"{FIRST}\n\n{SECOND}\n{THIRD}"
    assert (found.chunk.id, found.chunk.page, found.score, found.label) == (5, 2, 0.9, "ii")
    assert found.found_by == better.found_by


def test_neighbours_that_do_not_fit_together_stay_apart_and_do_not_grow_into_each_other() -> None:
    first, third = at(PAGES, FIRST, key=1), at(PAGES, THIRD, key=2)
    found = gather(PAGES, [third, first], 140)
    assert [passage.chunk.id for passage in found] == [2, 1]
    assert THIRD in found[0].chunk.text
    assert found[0].chunk.text != THIRD
    assert found[1].chunk.end <= found[0].chunk.start


def test_the_best_passage_grows_first() -> None:
    first, third = at(PAGES, FIRST, key=1), at(PAGES, THIRD, key=2)
    assert SECOND in gather(PAGES, [first, third], 140)[0].chunk.text
    assert SECOND in gather(PAGES, [third, first], 140)[0].chunk.text


def test_what_lies_in_another_goes_into_it_whatever_its_size() -> None:
    whole, part = passage_of(PAGES), at(PAGES, SECOND, key=9)
    (found,) = gather(PAGES, [part, whole], 5)
    assert (found.chunk.id, found.chunk.text) == (9, PAGES.text)


def test_what_two_share_is_said_once_by_the_better() -> None:
    text = " ".join(f"Sentence {n}." for n in range(20))
    document = document_of(text)
    one = passage_of(document, 0, text.index("Sentence 12."))
    other = passage_of(document, text.index("Sentence 8."), len(text))
    found = gather(document, [other, one], 150)
    assert found[0] == other
    assert found[1].chunk.text.endswith("Sentence 7.")
    found = gather(document, [one, other], 150)
    assert found[0] == one
    assert found[1].chunk.text.startswith("Sentence 12.")


def test_the_best_of_many_that_overlap_keeps_all_it_has() -> None:
    document = document_of("abcdefghij")
    spans = [(4, 8), (0, 3), (2, 6), (1, 5)]
    passages = [passage_of(document, *span) for span in spans]
    found = gather(document, passages, 1)
    assert [(p.chunk.start, p.chunk.end) for p in found] == [(4, 8), (0, 3), (3, 4)]


def test_documents_are_never_joined() -> None:
    one, other = document_of("Alpha beta.", name="a.pdf"), document_of("Gamma delta.", name="b.pdf")
    found = Joined(Shelf(one, other), 1000, words).gather(QUERY, [passage_of(other), passage_of(one)])
    assert [passage.chunk.text.strip() for passage in found] == ["Gamma delta.", "Alpha beta."]


def test_what_lies_in_no_library_or_is_another_text_stays() -> None:
    stranger = passage_of(document_of("Nobody stored this."))
    other = at(PAGES, FIRST)
    other = replace(other, chunk=replace(other.chunk, text=other.chunk.text.upper()))
    assert gather(PAGES, [stranger, other], 1000) == [stranger, other]


# -- laws --------------------------------------------------------------------------------------------------------------

PARAGRAPHS = st.lists(
    st.lists(
        st.sampled_from(["Oil is hot.", "油箱很大。", "a\tb\tc", "• item", "Heading", "so it goes"]),
        min_size=1,
        max_size=5,
    ).map(" ".join),
    min_size=1,
    max_size=5,
).map("\n\n".join)


@st.composite
def searches(draw: st.DrawFn) -> tuple[list[Document], list[Passage]]:
    documents, passages = [], []
    for number in range(draw(st.integers(1, 2))):
        pages = draw(st.lists(PARAGRAPHS, min_size=1, max_size=4))
        document = document_of(*pages, name=f"{number}.pdf")
        length = len(document.text)
        heads = draw(st.sets(st.integers(0, length - 1), max_size=4))
        left = draw(st.integers(0, length - 1))
        right = draw(st.integers(left + 1, length))
        table = Table(1, left, right, "", (), ())
        document = replace(
            document,
            headings=tuple(Heading(1, "H", head) for head in sorted(heads)),
            tables=(table,) if draw(st.booleans()) else (),
        )
        documents.append(document)
        for _ in range(draw(st.integers(1, 5))):
            start = draw(st.integers(0, length - 1))
            end = draw(st.integers(start + 1, min(length, start + 60)))
            if document.text[start:end].strip():
                passages.append(passage_of(document, start, end))
    order = draw(st.permutations(range(len(passages))))
    return documents, [replace(passages[i], chunk=replace(passages[i].chunk, id=i + 1)) for i in order]


@settings(max_examples=200)
@given(searches(), st.integers(1, 120), st.sampled_from([words, roughly, len]))
def test_passages_are_disjoint_whole_texts_within_their_tokens(
    search: tuple[list[Document], list[Passage]], tokens: int, count: Callable[[str], int]
) -> None:
    documents, passages = search
    texts = {document.id: document.text for document in documents}
    found = Joined(Shelf(*documents), tokens, count).gather(QUERY, passages)
    originals = {passage.chunk.id: passage for passage in passages}
    places = [passage.chunk.id for passage in passages]
    assert [places.index(p.chunk.id) for p in found] == sorted(places.index(p.chunk.id) for p in found)
    for passage in found:
        chunk, original = passage.chunk, originals[passage.chunk.id]
        assert 0 <= chunk.start < chunk.end <= len(texts[chunk.document_id])
        assert texts[chunk.document_id][chunk.start : chunk.end] == chunk.text
        assert (passage.score, passage.document, chunk.page) == (original.score, original.document, original.chunk.page)
        grown = [p.chunk for p in passages if p.chunk.document_id == chunk.document_id and p.chunk.text == chunk.text]
        assert count(chunk.text) <= tokens or any(chunk.text in p.chunk.text for p in passages) or grown
    for one, other in combinations([passage.chunk for passage in found], 2):
        if one.document_id == other.document_id:
            assert one.end <= other.start or other.end <= one.start
    for passage in passages:
        chunk = passage.chunk
        said = [p.chunk for p in found if p.chunk.document_id == chunk.document_id]
        unsaid = [
            i for i in range(chunk.start, chunk.end)
            if not texts[chunk.document_id][i].isspace() and not any(c.start <= i < c.end for c in said)
        ]  # fmt: skip
        assert unsaid == []


@given(searches(), st.integers(1, 60))
def test_gathering_again_changes_no_order_and_no_span_grows_smaller(
    search: tuple[list[Document], list[Passage]], tokens: int
) -> None:
    documents, passages = search
    joined = Joined(Shelf(*documents), tokens, words)
    once = joined.gather(QUERY, passages)
    again = joined.gather(QUERY, once)
    assert [p.chunk.id for p in again] == [p.chunk.id for p in once if p.chunk.id in {q.chunk.id for q in again}]


# -- a library ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> tuple[StoredText, Document]:
    pages = [f"Chapter {n}\n\nThe pump of page {n} is made of steel.\n\nIt is {n} years old." for n in range(300)]
    document = document_of(*pages)
    heads = [Heading(1, f"Chapter {n}", document.pages[n].start) for n in range(300)]
    tables = [Table(n + 1, page.start, page.end, "", (), ()) for n, page in enumerate(document.pages)]
    document = replace(document, headings=tuple(heads), tables=tuple(tables))
    catalog = libraries.open_catalog(tmp_path)
    libraries.put(catalog, document, "big.pdf")
    return StoredText(catalog), document


@pytest.mark.parametrize("page", [1, 2, 150, 299, 300])
def test_only_the_pages_around_are_read(stored: tuple[StoredText, Document], page: int) -> None:
    library, document = stored
    place = document.pages[page - 1]
    excerpt = library.around(document.id, place.start, place.end)
    assert excerpt is not None
    assert (excerpt.start, excerpt.end, excerpt.text) == (
        place.start,
        place.end,
        document.text[place.start : place.end],
    )
    assert [h.title for h in excerpt.headings] == [f"Chapter {page - 1}"]
    assert [t.page for t in excerpt.tables] == [page]
    both = library.around(document.id, place.start - 1, place.end)
    assert both is not None
    assert both.start == document.pages[max(0, page - 2)].start
    assert document.text[both.start : both.end] == both.text


def test_places_that_are_not_there_give_nothing(stored: tuple[StoredText, Document]) -> None:
    library, document = stored
    assert library.around("nobody", 0, 10) is None
    assert library.around(document.id, len(document.text), len(document.text) + 9) is None


def test_a_damaged_page_misleads_nobody_who_reads_another(stored: tuple[StoredText, Document], tmp_path: Path) -> None:
    library, document = stored
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("UPDATE pages SET start = 0 WHERE number = 150")
        db.execute("UPDATE pages SET start = 'x' WHERE number = 225")
    place = document.pages[2]
    excerpt = library.around(document.id, place.start, place.end)
    assert excerpt is not None
    assert excerpt.text == document.text[place.start : place.end]
    assert library.page_at(document.id, document.pages[298].start) == 299
    with pytest.raises(LibraryError):
        library.around(document.id, document.pages[149].start, document.pages[149].end)


def test_a_library_gathers_like_memory(stored: tuple[StoredText, Document]) -> None:
    library, document = stored
    passages = [at(document, f"The pump of page {n} is made of steel.", key=n) for n in (7, 150, 8, 299)]
    held: list[Library] = [library, Shelf(document)]
    one, other = (Joined(shelf, 40, words).gather(QUERY, passages) for shelf in held)
    assert one == other
    assert [re.findall(r"page (\d+)", p.chunk.text)[0] for p in one] == ["7", "150", "298"]


def test_the_core_of_a_passage_is_its_chunk(stored: tuple[StoredText, Document]) -> None:
    library, document = stored
    chunk = library._catalog.chunks_of(document.id)[7]
    passage = replace(passage_of(document, chunk.start, chunk.end, score=0.3), chunk=chunk, label="viii")
    (wide,) = Joined(library, 60, words).gather(QUERY, [passage])
    assert len(wide.chunk.text) > len(chunk.text)
    assert library.core(wide) == passage
    nobody = passage_of(document_of("From elsewhere."))
    nobody = replace(nobody, chunk=replace(nobody.chunk, id=0))
    assert library.core(nobody) == nobody


@given(st.text(max_size=80))
def test_a_rough_count_is_never_negative_and_grows_with_the_text(text: str) -> None:
    assert 0 <= roughly(text) <= len(text)
    assert roughly(text) <= roughly(text + "x") <= roughly(text) + 1
    assert roughly("四十二升") == 4
