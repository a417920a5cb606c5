"""Chunks: the document's own text, all of it, never more than the embedder reads; one contract for every kind."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp import Rag, registry
from ragapp.catalog import embedded_text
from ragapp.config import ChunkerTable
from ragapp.embedders import BuiltinEmbedder
from ragapp.errors import ConfigError
from ragapp.ingest.chunkers import SentenceChunker, SpanChunker, TokenChunker, WithoutHeader
from ragapp.ingest.headers import HEADER_TOKENS, TABLE_TOKENS, document_name
from ragapp.ingest.parents import ParentChunker
from ragapp.ingest.sections import SectionChunker
from ragapp.ingest.semantic import SemanticChunker
from ragapp.quotes import QuoteAnswerer
from ragapp.testing import HashingEmbedder, check_chunker, check_edit, document_of
from ragapp.types import Chunk, Document, Heading, Passage, Query, Token
from tests import pdfs, tabled
from tests.libraries import EMBEDDER, open_catalog, put
from tests.tabled import Grid, Title
from tests.test_citations import Held

TOKENIZER = HashingEmbedder(max_tokens=120)

KINDS: dict[str, Callable[[HashingEmbedder | BuiltinEmbedder, int], SpanChunker]] = {
    "tokens": lambda embedder, tokens: TokenChunker(embedder, tokens, tokens // 4),
    "sentences": lambda embedder, tokens: SentenceChunker(embedder, tokens, 3),
    "headings": SectionChunker,
    "semantic": lambda embedder, tokens: SemanticChunker(embedder, embedder, tokens, tokens // 3),
    "parent-child": lambda embedder, tokens: ParentChunker(embedder, tokens, tokens * 4),
}

WORDS = st.sampled_from(
    [
        "cash",
        "flow",
        "the",
        "Dr.",
        "3.14",
        "end.",
        "End!",
        "现金流量表",
        "。",
        "\n",
        "\n\n",
        "exam\u00ad\nple",
        "• item",
        "(x)",
        "a" * 90,
    ]
)
PAGES = st.lists(st.lists(WORDS, max_size=90).map(" ".join), min_size=1, max_size=4)
DOCUMENTS = st.builds(
    lambda pages, starts: document_of(
        *pages,
        headings=[
            Heading(1 + i % 3, f"Heading {i} with some words", min(start, sum(map(len, pages))))
            for i, start in enumerate(sorted(starts))
        ],
    ),
    PAGES,
    st.lists(st.integers(0, 600), max_size=4),
)

CELLS = st.sampled_from(["Net sales", "2018", "1,234.5", "", "现金 流量", "costs of goods " * 3, "a. b. c."])
GRIDS = st.builds(
    Grid,
    st.lists(st.sampled_from(["2018", "2017 restated", "金额", ""]), max_size=4),
    st.lists(st.lists(CELLS, min_size=1, max_size=6), max_size=12),
    st.sampled_from(["", "Table 3. Cash flows", "表一 现金流量表"]),
)
TITLES = st.builds(Title, st.sampled_from(["Results", "Cash flows", "第一章 概述"]), st.integers(1, 3))
PARAGRAPHS = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)
TABLED = st.lists(st.lists(st.one_of(PARAGRAPHS, TITLES, GRIDS), max_size=6), min_size=1, max_size=3).map(
    lambda pages: tabled.document(*pages)
)


def sentences(count: int, subject: str = "thing", start: int = 0) -> str:
    return " ".join(f"The {subject} number {n} has nine words in it." for n in range(start, start + count))


@pytest.fixture(scope="module")
def builtin() -> BuiltinEmbedder:
    return BuiltinEmbedder()


def chunk(text: str | Document, tokens: int = 32, overlap: int = 0) -> list[Chunk]:
    return TokenChunker(TOKENIZER, tokens, overlap).chunk(text if isinstance(text, Document) else document_of(text))


# -- the contract, for every kind --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(DOCUMENTS, st.sampled_from([32, 64, 200]))
def test_the_contract(kind: str, document: Document, tokens: int) -> None:
    check_chunker(KINDS[kind](TOKENIZER, tokens), [document], TOKENIZER)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(TABLED, st.sampled_from([32, 64, 200]))
def test_the_contract_with_tables(kind: str, document: Document, tokens: int) -> None:
    check_chunker(KINDS[kind](TOKENIZER, tokens), [document], TOKENIZER)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "semantic"])
@settings(max_examples=8)
@given(st.one_of(DOCUMENTS, TABLED))
def test_the_contract_with_the_models_own_tokens(builtin: BuiltinEmbedder, kind: str, document: Document) -> None:
    check_chunker(KINDS[kind](builtin, 160), [document], builtin)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(st.one_of(DOCUMENTS, TABLED))
def test_chunks_are_within_their_size(kind: str, document: Document) -> None:
    assert all(len(TOKENIZER.spans(c.text)) <= 40 for c in KINDS[kind](TOKENIZER, 40).chunk(document))


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_name_is_tested_here(kind: str) -> None:
    assert set(KINDS) == set(registry.BUILT_IN["chunker"])
    made = KINDS[kind](TOKENIZER, 64)
    assert type(made) is registry.resolve("chunker", kind)
    assert made.fingerprint.startswith(f"{kind}:")


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_names_what_decides_the_chunks(kind: str) -> None:
    make = KINDS[kind]
    assert make(TOKENIZER, 64).fingerprint == make(TOKENIZER, 64).fingerprint != make(TOKENIZER, 72).fingerprint
    names = inspect.signature(type(make(TOKENIZER, 64))).parameters.keys() - {"tokenizer"}
    assert [name for name in names if name not in make(TOKENIZER, 64).fingerprint] == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_no_chunks(kind: str) -> None:
    assert [KINDS[kind](TOKENIZER, 32).chunk(document_of(text)) for text in ("", " \n\t\n ")] == [[], []]


def pages_of(count: int) -> list[str]:
    return [
        f"{sentences(9 + page * 7 % 11, f'thing of page {page}')}\n\n{sentences(5, f'other of page {page}')}"
        for page in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [64, 100])
@pytest.mark.parametrize("page", [0, 2, 10])
def test_an_edit_moves_only_what_is_near(kind: str, tokens: int, page: int) -> None:
    texts = pages_of(12)
    edited = [*texts]
    edited[page] = edited[page].replace("number 2 has", "number two surely is one that has now and had before")
    grown = [*texts]
    grown[page] = f"Here is a new sentence that was not there. And another one. {grown[page]}"
    for after in (edited, grown):
        assert after != texts
        check_edit(KINDS[kind](TOKENIZER, tokens), document_of(*texts), document_of(*after))


def test_the_check_of_edits_fails_for_chunks_of_fixed_size() -> None:
    with pytest.raises(AssertionError, match="an edit left"):
        check_edit(Fixed(), document_of(*pages_of(3)), document_of("New. " + pages_of(3)[0], *pages_of(3)[1:]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_document_gives_the_same_chunks(kind: str, tmp_path: Path) -> None:
    made = tabled.document(
        [Title("Results"), sentences(20), Grid(["2018", "2017"], [["Net sales", "5", "4"]] * 9, "Sales")],
        [sentences(3), "现金流量表列示了本年度的经营活动。"],
        name="3M_2018_10-K.pdf",
    )
    chunker = KINDS[kind](TOKENIZER, 48)
    catalog = open_catalog(tmp_path)
    put(catalog, made, "3M_2018_10-K.pdf")
    stored = catalog.document(made.id)
    catalog.close()
    assert list(map(embedded_text, chunker.chunk(stored))) == list(map(embedded_text, chunker.chunk(made)))
    assert [c.parent for c in chunker.chunk(stored)] == [c.parent for c in chunker.chunk(made)]


# -- tables apart ------------------------------------------------------------------------------------------------------


def sales(rows: int = 3) -> Document:
    body = [["Net sales", "32,765", "31,657"], ["Cost of sales", "16,682", "16,055"], ["Income", "7,207", "7,692"]]
    grid = Grid(["2018", "2017"], body[:1] * (rows - 3) + body, "Income statement")
    return tabled.document([Title("Results of the year"), "Before it.", grid, "Behind it."])


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_its_own_chunk_with_its_title_and_columns(kind: str) -> None:
    before, table, behind = KINDS[kind](TOKENIZER, 64).chunk(sales())
    assert before.text == "Results of the year\nBefore it."
    assert behind.text == "Behind it."
    assert table.text.startswith("2018\t2017\nNet sales\t32,765")
    assert table.text.endswith("Income\t7,207\t7,692")
    assert table.header.startswith("report › Results of the year › Income statement › ")
    assert "2018" in table.header
    assert "2018" not in before.header + behind.header
    assert table.headings == ("Results of the year",)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_table_is_cut_between_rows_and_every_part_has_the_columns(kind: str) -> None:
    found = KINDS[kind](TOKENIZER, 40).chunk(sales(30))
    parts = [c for c in found if "\t" in c.text]
    assert len(parts) > 3
    assert all("2018" in part.header and "2017" in part.header for part in parts)
    rows = [line for part in parts for line in part.text.splitlines()]
    assert rows == [line.strip() for line in sales(30).text.splitlines() if "\t" in line]
    assert [c.text for c in found if c not in parts] == ["Results of the year\nBefore it.", "Behind it."]


def test_without_header_lines_a_table_still_says_what_its_columns_mean() -> None:
    made = sales()
    chunker = TokenChunker(TOKENIZER, 40, 0)
    plain, bare = chunker.chunk(made), WithoutHeader(chunker).chunk(made)
    assert [(c.text, c.header) for c in bare] == [(c.text, c.header if "\t" in c.text else "") for c in plain]
    assert {"\t" in c.text for c in bare} == {True, False}
    check_chunker(WithoutHeader(chunker), [made], TOKENIZER)


def test_a_row_that_is_too_long_alone_is_cut_alone() -> None:
    long = ["Notes", "words of a cell " * 30]
    made = tabled.document([Grid(["A"], [["one", "1"], long, ["two", "2"]])])
    found = chunk(made, 40)
    assert found[0].text.splitlines()[-1] == "one\t1"
    assert found[-1].text == "two\t2"
    assert len(found) > 4
    check_chunker(TokenChunker(TOKENIZER, 40, 0), [made], TOKENIZER)


def test_a_wide_tables_columns_take_a_third_of_the_window_at_most() -> None:
    made = tabled.document([Grid([f"Column number {n} of many" for n in range(60)], [["a", "b"]], "Wide")])
    for size in (30, 120, 600):
        tokenizer = HashingEmbedder(max_tokens=size)
        found = TokenChunker(tokenizer, 40, 0).chunk(made)
        assert all(len(tokenizer.spans(c.header)) <= min(size // 3, HEADER_TOKENS + TABLE_TOKENS) for c in found)
        check_chunker(TokenChunker(tokenizer, 40, 0), [made], tokenizer)


def test_a_tables_long_title_leaves_room_for_its_columns() -> None:
    made = tabled.document([Grid(["2018", "2017"], [["a", "5", "4"]], "A title of many words. " * 20)])
    tokenizer = HashingEmbedder(max_tokens=300)
    (found,) = TokenChunker(tokenizer, 64, 0).chunk(made)
    assert "A title of many words. A title" in found.header
    assert found.header.endswith("2018 | 2017")


def test_tables_that_overlap_or_lie_outside_lose_no_text() -> None:
    made = sales()
    (table,) = made.tables
    shifted = replace(table, start=table.start + 10, end=table.end + 3)
    outside = replace(table, start=table.end + 4, end=len(made.text) + 50)
    odd_rows = replace(table, rows=((0, 5), *table.rows, table.rows[0]))
    for tables in [(table, shifted), (table, outside), (shifted, table), (odd_rows,), (replace(table, rows=()),)]:
        broken = replace(made, tables=tables)
        for kind in KINDS.values():
            chunks = kind(TOKENIZER, 32).chunk(broken)
            bare = replace(broken, tables=())
            check_chunker(_Given(chunks), [bare], TOKENIZER)
            assert all(left.end <= right.start for left, right in itertools.pairwise(chunks))


class _Given:
    """A chunker that has its chunks already."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self._chunks = chunks

    def chunk(self, document: Document) -> list[Chunk]:
        return self._chunks


@dataclass(frozen=True)
class Plain:
    """ports.Words: every word tells the same."""

    def words(self, text: str) -> list[str]:
        return text.lower().split()

    def weight(self, word: str) -> float:
        return 1.0


def test_a_row_is_quoted_whole_and_stands_on_its_page() -> None:
    made = sales(3)
    (table,) = (c for c in chunk(made, 64) if "\t" in c.text)
    answerer = QuoteAnswerer(TOKENIZER, Plain(), Held(made), 1)
    events = answerer.answer(Query("net sales 2018"), [Passage(table, "report.pdf", "report", 1.0)])
    spelled = "".join(event.text for event in events if isinstance(event, Token))
    assert spelled == "“Net sales 32,765 31,657” [1]"


# -- tokens ------------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(DOCUMENTS)
def test_chunks_overlap_no_more_than_said(document: Document) -> None:
    for left, right in itertools.pairwise(chunk(document, 40, 12)):
        assert len(TOKENIZER.spans(document.text[right.start : left.end])) <= 12


@settings(max_examples=30)
@given(DOCUMENTS)
def test_the_page_is_the_one_that_holds_most(document: Document) -> None:
    for c in chunk(document, 60, 0):
        shares = {p.number: min(c.end, p.end) - max(c.start, p.start) for p in document.pages}
        assert shares[c.page] == max(shares.values())


def test_whole_sentences() -> None:
    found = chunk(sentences(20), 44)
    assert all(c.text.startswith("The") and c.text.endswith("it.") for c in found)
    assert len(found) == 5


def test_the_overlap_repeats_whole_sentences() -> None:
    found = chunk(sentences(20), 44, 22)
    assert all(left.end > right.start for left, right in itertools.pairwise(found))
    assert all(c.text.startswith("The") for c in found)


def test_a_sentence_that_leaves_no_room_is_not_cut_for_an_overlap() -> None:
    long = f"Long {'words ' * 35}end."
    assert [c.text for c in chunk(f"A short one. {long}", 40, 12)] == ["A short one.", long]


def test_the_overlap_reaches_over_a_pages_end_and_not_over_a_heading() -> None:
    one, two = sentences(3), sentences(3, "house")
    assert chunk(document_of(one, two), 40, 10)[1].text.startswith("The thing number 2")
    heading = Heading(1, "Houses", len(one) + 1)
    assert chunk(document_of(one, two, headings=[heading]), 40, 10)[1].text.startswith("The house number 0")


def test_a_chunk_ends_before_a_heading() -> None:
    text = "First part here.\nSecond part here."
    at = text.index("Second")
    document = document_of(text, headings=[Heading(1, "One", 0), Heading(1, "Two", at)])
    found = chunk(document)
    assert [(c.text, c.headings) for c in found] == [("First part here.", ("One",)), ("Second part here.", ("Two",))]


def test_a_chunk_crosses_a_page_only_while_it_is_small() -> None:
    assert [c.page for c in chunk(document_of("Short one.", "Short two, which is longer."))] == [2]
    assert [c.page for c in chunk(document_of("Nine tokens stand on this page of it.", "Short two."))] == [1, 2]


def test_the_last_two_chunks_of_a_page_share_what_they_hold() -> None:
    sizes = [len(TOKENIZER.spans(c.text)) for c in chunk(sentences(9), 80)]
    assert sizes == [40, 50]


def test_a_chunk_ends_at_a_paragraph_where_one_is_near() -> None:
    text = f"{sentences(6)}\n\n{sentences(8, 'house')}"
    assert [c.text[:9] for c in chunk(text, 80)] == ["The thing", "The house"]
    early = f"{sentences(2)}\n\n{sentences(12, 'house')}"
    assert [c.text[:9] for c in chunk(early, 80)] == ["The thing", "The house"]
    assert chunk(early, 80)[0].text.endswith("The house number 5 has nine words in it.")
    assert chunk(text.replace("\n\n", " "), 80)[0].text.endswith("The house number 1 has nine words in it.")


def test_an_overlong_sentence_is_cut_between_words() -> None:
    text = " ".join(f"word{n}" for n in range(300))
    found = chunk(text)
    assert " ".join(c.text for c in found) == text
    assert all(len(TOKENIZER.spans(c.text)) <= 32 for c in found)


def test_the_header_counts_in_what_the_embedder_reads() -> None:
    small = HashingEmbedder(max_tokens=60)
    text = " ".join(f"word{n}" for n in range(300))
    document = document_of(text, name="report.pdf", headings=[Heading(1, "A heading of quite a few words", 0)])
    found = TokenChunker(small).chunk(document)
    check_chunker(TokenChunker(small), [document], small)
    assert max(len(small.spans(f"{c.header}\n{c.text}")) for c in found) == 60


def test_an_overlong_word_is_in_chunks_too(builtin: BuiltinEmbedder) -> None:
    # WordPiece gives up on words of more than 100 characters, and reads this row of signs one by one.
    for text in ("x" * 5000, "/-" * 2000):
        check_chunker(TokenChunker(builtin), [document_of(text)], builtin)


def test_chinese() -> None:
    text = "".join(f"这是第{n}句话，里面有一些字。" for n in range(40))
    found = chunk(text, 40)
    assert "".join(c.text for c in found) == text
    assert all(c.text.endswith("。") for c in found)


def test_an_overlap_of_more_than_half_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"chunker\.overlap = 20"):
        TokenChunker(TOKENIZER, 32, 20)


# -- headers -----------------------------------------------------------------------------------------------------------


def test_the_header_names_document_and_headings() -> None:
    document = document_of(
        "Text.",
        name="3M_2018_10-K.pdf",
        title="3M 2018 10 K",
        headings=[Heading(1, "3M", 0), Heading(2, "Cash flows", 0)],
    )
    (found,) = chunk(document)
    assert found.header == "3M 2018 10 K › Cash flows"
    assert found.headings == ("3M", "Cash flows")


def test_a_header_that_is_too_long_loses_its_middle() -> None:
    headings = [Heading(level, f"Heading {level} " + "word " * 12, 0) for level in (1, 2, 3)]
    (found,) = chunk(document_of("Text.", name="report.pdf", headings=headings))
    assert len(TOKENIZER.spans(found.header)) <= HEADER_TOKENS
    assert found.header.startswith("report › ")
    assert "Heading 3" in found.header
    (found,) = chunk(document_of("Text.", name=f"{'n ' * 80}.pdf"))
    assert len(TOKENIZER.spans(found.header)) <= HEADER_TOKENS


@pytest.mark.parametrize("max_tokens", [16, 30, 45])
@pytest.mark.parametrize("kind", KINDS)
def test_an_embedder_that_reads_little(kind: str, max_tokens: int) -> None:
    small = HashingEmbedder(max_tokens=max_tokens)
    text = " ".join(f"word{n}" for n in range(100))
    headings = [Heading(1, "A heading of quite a few words that says a lot", 0)]
    document = document_of(text, name="a long name of a file with many words.pdf", headings=headings)
    check_chunker(KINDS[kind](small, 200), [document, sales(9)], small)


@pytest.mark.parametrize(
    ("name", "title", "expected"),
    [
        ("2018_10-K.pdf", "3M Annual Report", "2018 10 K, 3M Annual Report"),
        ("annual-report.pdf", "Annual Report", "annual report"),
        ("report.pdf", "Annual Report", "Annual Report"),
        ("a%20b.pdf", "", "a b"),
    ],
)
def test_document_name(name: str, title: str, expected: str) -> None:
    assert document_name(replace(document_of("x", name=name), title=title)) == expected


# -- sentences ---------------------------------------------------------------------------------------------------------


def test_a_number_of_whole_sentences() -> None:
    found = SentenceChunker(TOKENIZER, 64, 3).chunk(document_of(sentences(12)))
    assert [c.text for c in found] == [sentences(3, start=n) for n in range(0, 12, 3)]
    assert [c.text.count(".") for c in SentenceChunker(TOKENIZER, 64, 50).chunk(document_of(sentences(12)))] == [6, 6]


@given(st.integers(1, 40), st.integers(1, 6))
def test_never_more_sentences_than_said(count: int, most: int) -> None:
    found = SentenceChunker(TOKENIZER, 64, most).chunk(document_of(sentences(count)))
    assert max(c.text.count(".") for c in found) <= most


def test_sharing_what_is_left_makes_no_chunk_of_too_many_sentences() -> None:
    text = f"{'Many words ' * 15}stand here. {'Few here. ' * 8}"
    found = SentenceChunker(TOKENIZER, 64, 5).chunk(document_of(text))
    assert [c.text.count(".") for c in found] == [4, 5]


def test_less_than_one_sentence_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"chunker\.sentences = 0"):
        SentenceChunker(TOKENIZER, 64, 0)


# -- headings ----------------------------------------------------------------------------------------------------------


def by_heading(*content: str | Title | Grid, tokens: int = 64) -> list[Chunk]:
    return SectionChunker(TOKENIZER, tokens).chunk(tabled.document(content))


def test_a_section_a_chunk() -> None:
    found = by_heading(Title("One"), sentences(3), Title("Two"), sentences(4), Title("Three"), sentences(2))
    assert [(c.headings, c.text.count(".")) for c in found] == [(("One",), 3), (("Two",), 4), (("Three",), 2)]


def test_a_section_goes_on_over_a_pages_end() -> None:
    made = tabled.document([Title("One"), sentences(2)], [sentences(2, "house")])
    assert len(SectionChunker(TOKENIZER, 64).chunk(made)) == 1


def test_a_section_that_is_too_large_is_cut_by_size() -> None:
    found = by_heading(Title("One"), sentences(20), Title("Two"), sentences(2))
    assert [c.headings for c in found[:-1]] == [("One",)] * (len(found) - 1)
    assert len(found) > 3
    assert found[-1].headings == ("Two",)


def test_small_sections_under_one_heading_join() -> None:
    found = by_heading(
        Title("Wares"), Title("Pears", 2), "Green.", Title("Plums", 2), "Blue.", Title("Ports"), sentences(3)
    )  # fmt: skip
    assert [(c.headings, c.text.splitlines()[0]) for c in found] == [(("Wares",), "Wares"), (("Ports",), "Ports")]
    assert found[0].header.endswith("› Wares")
    assert "Plums\nBlue." in found[0].text


def test_small_sections_of_different_parents_stay_apart() -> None:
    wares = Title("Wares"), sentences(3), Title("Pears", 2), "Green."
    found = by_heading(*wares, Title("Ports"), sentences(3), Title("Kiel", 2), "Cold.")
    assert [c.headings for c in found] == [("Wares",), ("Ports",)]


def test_sections_that_do_not_fit_together_stay_apart() -> None:
    found = by_heading(Title("Pears"), sentences(6), Title("Plums"), "Blue.", tokens=62)
    assert [c.headings for c in found] == [("Pears",), ("Plums",)]


# -- parent and child --------------------------------------------------------------------------------------------------


def test_children_are_small_and_their_parents_large() -> None:
    document = document_of(sentences(30), sentences(30, "house"))
    found = ParentChunker(TOKENIZER, 40, 100).chunk(document)
    check_chunker(ParentChunker(TOKENIZER, 40, 100), [document], TOKENIZER)
    parents = sorted({c.parent for c in found if c.parent})
    assert all(c.parent for c in found)
    assert len(parents) == 8
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(parents))
    assert all(60 <= len(TOKENIZER.spans(document.text[left:right])) <= 100 for left, right in parents)
    assert all(document.text[left:right].endswith("it.") for left, right in parents)
    assert len(found) == 2 * len(parents)


def test_a_table_is_the_parent_of_its_rows() -> None:
    made = sales(12)
    found = [c for c in ParentChunker(TOKENIZER, 32, 400).chunk(made) if "\t" in c.text]
    (table,) = made.tables
    assert len(found) > 2
    ((left, right),) = {c.parent for c in found if c.parent}
    assert made.text[left:right] == made.text[table.start : table.end].strip()
    (prose,) = {c.parent for c in ParentChunker(TOKENIZER, 32, 400).chunk(made) if "Behind" in c.text}
    assert prose is not None
    assert made.text[slice(*prose)] == "Behind it."


def test_a_parent_smaller_than_its_child_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"chunker\.parent_tokens = 50"):
        ParentChunker(TOKENIZER, 96, 50)


# -- checks that fail --------------------------------------------------------------------------------------------------


class Fixed:
    """Fifty characters a chunk, whatever they are."""

    def chunk(self, document: Document) -> list[Chunk]:
        spans = [(at, min(at + 50, len(document.text))) for at in range(0, len(document.text), 50)]
        return [Chunk(0, document.id, document.text[left:right], left, right, 1) for left, right in spans]


class Broken:
    """A chunker whose chunks are spoilt."""

    fingerprint = "broken"

    def __init__(self, spoil: Callable[[Chunk], Chunk], last: int | None = None) -> None:
        self._spoil = spoil
        self._last = last

    def chunk(self, document: Document) -> list[Chunk]:
        return [self._spoil(c) for c in TokenChunker(TOKENIZER, 32, 0).chunk(document)][: self._last]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda c: replace(c, start=c.start + 1, end=c.end + 1), "not the text at its place"),
        (lambda c: replace(c, parent=(c.start + 1, c.end)), "is not in its parent"),
        (lambda c: replace(c, parent=(c.start, 10_000)), "parent outside the text"),
        (lambda c: replace(c, page=3), "says page 3"),
        (lambda c: replace(c, header="word " * 200), "tokens with its header"),
        (lambda c: replace(c, document_id="x"), "another document"),
    ],
)
def test_checks_fail_for_chunks_that_break_the_contract(spoil: Callable[[Chunk], Chunk], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_chunker(Broken(spoil), [document_of("One sentence. " * 40)], TOKENIZER)


def test_checks_fail_for_text_that_is_left_out_rows_that_are_cut_and_fingerprints() -> None:
    with pytest.raises(AssertionError, match="is in no chunk"):
        check_chunker(Broken(lambda c: c, -1), [document_of("One sentence. " * 40)])

    with pytest.raises(AssertionError, match="is cut, and shares a chunk"):
        check_chunker(Fixed(), [sales(9)])
    unnamed = Broken(lambda c: c)
    unnamed.fingerprint = ""
    with pytest.raises(AssertionError, match="fingerprint is empty"):
        check_chunker(unnamed, [])
    counter = itertools.count()
    with pytest.raises(AssertionError, match="others the second time"):
        check_chunker(Broken(lambda c: replace(c, header=str(next(counter)))), [document_of("One.")])


# -- by name -----------------------------------------------------------------------------------------------------------


def test_the_settings_say_what_the_chunkers_do_by_default() -> None:
    defaults = ChunkerTable()
    for name in registry.BUILT_IN["chunker"]:
        for key, parameter in inspect.signature(registry.resolve("chunker", name)).parameters.items():
            if key not in ("tokenizer", "embedder"):
                assert parameter.default == getattr(defaults, key), (name, key)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("in_folder")
def test_a_library_with_every_kind(kind: str, tmp_path: Path) -> None:
    pdfs.write(tmp_path / "docs" / "a.pdf", [pdfs.prose("pump", 40), pdfs.prose("valve", 40)])
    with Rag.open(tmp_path / "library", embedder__name="hashing", chunker__name=kind) as rag:
        assert rag.add([tmp_path / "docs"]).chunks > 2
        answer = rag.ask("Which value has the property number 31 of the valve?")
        assert (answer.citations[0].page, answer.citations[0].state) == (2, "verified")
        assert list(rag.doctor()) == []


@pytest.mark.usefixtures("in_folder")
def test_parents_are_what_is_found_at_the_door(tmp_path: Path) -> None:
    pdfs.write(tmp_path / "docs" / "a.pdf", [pdfs.prose("pump", 40), pdfs.prose("valve", 40)])
    with Rag.open(tmp_path / "library", embedder__name="hashing", chunker__name="parent-child") as rag:
        rag.add([tmp_path / "docs"])
        found = rag.search("Which value has the property number 31 of the valve?", k=3)
        assert "The valve has the property number 31" in found[0].chunk.text
        assert all(passage.chunk.parent == (passage.chunk.start, passage.chunk.end) for passage in found)
        assert len({passage.chunk.parent for passage in found}) == 3
        assert all(96 < len(EMBEDDER.spans(passage.chunk.text)) <= 384 for passage in found)
        assert rag.boxes_of(found[0])
        document = rag.catalog.document(found[0].chunk.document_id)
        assert found[0].chunk.text == document.text[found[0].chunk.start : found[0].chunk.end]
        (first, *_) = rag.ask("Which value has the property number 31 of the valve?").citations
        assert (first.quote, first.state, first.page) == (
            "The valve has the property number 31 and the value 36.", "verified", 2
        )  # fmt: skip
        assert first.boxes


class ByLine:
    """A chunker of the user's own, which writes header lines."""

    def chunk(self, document: Document) -> list[Chunk]:
        end = document.text.index("\n")
        return [Chunk(0, document.id, document.text[:end], 0, end, 1, (), "A line of my own")]


@pytest.mark.parametrize("kind", ["tokens", "headings", "tests.test_chunkers:ByLine"])
@pytest.mark.usefixtures("in_folder")
def test_header_lines_can_be_left_out(kind: str, tmp_path: Path) -> None:
    pdfs.write(tmp_path / "docs" / "manual of the pump.pdf", ["The valve is made of brass."])

    def chunks(rag: Rag) -> list[Chunk]:
        (entry,) = rag.documents()
        return rag.catalog.chunks_of(entry.id)

    with Rag.open(tmp_path / "library", embedder__name="hashing", chunker__name=kind) as rag:
        rag.add([tmp_path / "docs"])
        before = chunks(rag)
        assert all(chunk.header for chunk in before)
    with Rag.open(tmp_path / "library", embedder__name="hashing", chunker__name=kind, chunker__header=False) as rag:
        rag.reindex()
        after = chunks(rag)
        assert [(chunk.text, chunk.header) for chunk in after] == [(chunk.text, "") for chunk in before]
        assert rag.reindex().documents == 0
        assert list(rag.doctor()) == []


@pytest.mark.parametrize(
    ("kind", "key"),
    [("sentences", "overlap"), ("headings", "min_tokens"), ("parent-child", "tokens"), ("tokens", "window")],
)
@pytest.mark.usefixtures("in_folder")
def test_a_setting_of_another_kind_is_refused_with_the_signature(kind: str, key: str, tmp_path: Path) -> None:
    pdfs.write(tmp_path / "a.pdf", ["Text stands here."])
    with (
        Rag.open(tmp_path / "library", embedder__name="hashing", chunker__name=kind, **{f"chunker__{key}": 32}) as rag,
        pytest.raises(ConfigError, match=key) as caught,
    ):
        rag.add([tmp_path / "a.pdf"])
    assert f"{kind}(" in caught.value.hint


@pytest.mark.usefixtures("in_folder")
def test_settings_reach_the_chunker(tmp_path: Path) -> None:
    pdfs.write(tmp_path / "a.pdf", [pdfs.prose("pump", 30)])
    flags = {"embedder__name": "hashing", "chunker__name": "parent-child", "chunker__child_tokens": "40"}
    with Rag.open(tmp_path / "library", **flags) as rag:
        rag.add([tmp_path / "a.pdf"])
        texts = [text for _, _, text in rag.catalog.index_texts()]
    assert len(texts) > 5
    assert max(len(EMBEDDER.spans(text)) for text in texts) <= 40


@pytest.mark.usefixtures("in_folder")
def test_a_chunker_of_the_users_own(in_folder: Path, tmp_path: Path) -> None:
    (in_folder / "my_paragraphs.py").write_text(
        "from ragapp.types import Chunk\n"
        "class ByPage:\n"
        "    fingerprint = 'by page'\n"
        "    def chunk(self, document):\n"
        "        spans = [(p.start, p.end, p.number) for p in document.pages if document.text[p.start:p.end].strip()]\n"
        "        return [Chunk(0, document.id, document.text[a:b], a, b, n) for a, b, n in spans]\n"
    )
    chinese = document_of("现金流量表列示了本年度的经营活动。", "第二页。")
    check_chunker(
        registry.build("chunker", "my_paragraphs:ByPage", {}), [document_of("One.", "", "Two."), chinese, sales()]
    )
    pdfs.write(tmp_path / "a.pdf", ["One page.", "Two pages."])
    with Rag.open(tmp_path / "library", embedder__name="hashing", chunker__name="my_paragraphs:ByPage") as rag:
        assert rag.add([tmp_path / "a.pdf"]).chunks == 2
