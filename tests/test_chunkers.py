"""Chunks: the document's own text, all of it, never more than the embedder reads."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.embedders import BuiltinEmbedder
from ragapp.errors import ConfigError
from ragapp.ingest.chunkers import HEADER_TOKENS, TokenChunker, document_name
from ragapp.testing import HashingEmbedder, check_chunker, document_of
from ragapp.types import Chunk, Document, Heading

TOKENIZER = HashingEmbedder(max_tokens=120)

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


@pytest.fixture(scope="module")
def builtin() -> BuiltinEmbedder:
    return BuiltinEmbedder()


def chunk(text: str | Document, tokens: int = 32, overlap: int = 0) -> list[Chunk]:
    return TokenChunker(TOKENIZER, tokens, overlap).chunk(text if isinstance(text, Document) else document_of(text))


@settings(max_examples=60)
@given(DOCUMENTS, st.sampled_from([(32, 0), (32, 16), (64, 24), (200, 24)]))
def test_the_contract(document: Document, sizes: tuple[int, int]) -> None:
    check_chunker(TokenChunker(TOKENIZER, *sizes), [document], TOKENIZER)


@settings(max_examples=15)
@given(DOCUMENTS)
def test_the_contract_with_the_models_own_tokens(builtin: BuiltinEmbedder, document: Document) -> None:
    check_chunker(TokenChunker(builtin), [document], builtin)


@settings(max_examples=30)
@given(DOCUMENTS)
def test_chunks_are_within_their_size_and_overlap(document: Document) -> None:
    found = chunk(document, 40, 12)
    assert all(len(TOKENIZER.spans(c.text)) <= 40 for c in found)
    for left, right in itertools.pairwise(found):
        assert len(TOKENIZER.spans(document.text[right.start : left.end])) <= 12


@settings(max_examples=30)
@given(DOCUMENTS)
def test_the_page_is_the_one_that_holds_most(document: Document) -> None:
    for c in chunk(document, 60, 0):
        shares = {p.number: min(c.end, p.end) - max(c.start, p.start) for p in document.pages}
        assert shares[c.page] == max(shares.values())


@pytest.mark.parametrize("text", ["", " \n\t\n "])
def test_no_text_no_chunks(text: str) -> None:
    assert chunk(text) == []


def test_whole_sentences() -> None:
    text = " ".join(f"Sentence number {n} has eight words in it." for n in range(20))
    found = chunk(text, 40)
    assert all(c.text.startswith("Sentence") and c.text.endswith("it.") for c in found)
    assert len(found) == 5


def test_the_overlap_repeats_whole_sentences() -> None:
    text = " ".join(f"Sentence number {n} has eight words in it." for n in range(20))
    found = chunk(text, 40, 20)
    assert all(left.end > right.start for left, right in itertools.pairwise(found))
    assert all(c.text.startswith("Sentence") for c in found)


def test_a_chunk_ends_before_a_heading() -> None:
    text = "First part here.\nSecond part here."
    at = text.index("Second")
    document = document_of(text, headings=[Heading(1, "One", 0), Heading(1, "Two", at)])
    found = chunk(document)
    assert [(c.text, c.headings) for c in found] == [("First part here.", ("One",)), ("Second part here.", ("Two",))]


def test_a_chunk_may_cross_a_page_while_it_is_small() -> None:
    assert [c.page for c in chunk(document_of("Short one.", "Short two, which is longer."))] == [2]
    long = " ".join(["Many words stand here."] * 5)
    assert [c.page for c in chunk(document_of(long, "Short two."))] == [1, 2]


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
def test_an_embedder_that_reads_little(max_tokens: int) -> None:
    small = HashingEmbedder(max_tokens=max_tokens)
    text = " ".join(f"word{n}" for n in range(100))
    headings = [Heading(1, "A heading of quite a few words that says a lot", 0)]
    document = document_of(text, name="a long name of a file with many words.pdf", headings=headings)
    check_chunker(TokenChunker(small), [document], small)


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
    document = document_of("x", name=name)
    made = Document(document.id, document.uri, title, document.media_type, document.text, document.pages)
    assert document_name(made) == expected


def test_an_overlap_of_more_than_half_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"chunker\.overlap = 20"):
        TokenChunker(TOKENIZER, 32, 20)


def test_checks_fail_for_chunkers_that_break_the_contract() -> None:
    class Broken(TokenChunker):
        change = (0, 0)

        def chunk(self, document: Document) -> list[Chunk]:
            return [
                Chunk(0, c.document_id, c.text, c.start + self.change[0], c.end + self.change[1], c.page)
                for c in super().chunk(document)
            ][:-1]

    document = document_of("One sentence. " * 40)
    with pytest.raises(AssertionError, match="is in no chunk"):
        check_chunker(Broken(TOKENIZER, 32, 0), [document])
    broken = Broken(TOKENIZER, 32, 0)
    broken.change = (1, 1)
    with pytest.raises(AssertionError, match="not the text at its place"):
        check_chunker(broken, [document])
