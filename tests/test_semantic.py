"""Cuts where neighbouring sentences part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import ConfigError
from ragapp.ingest import semantic
from ragapp.ingest.semantic import SemanticChunker
from ragapp.testing import HashingEmbedder, check_chunker, document_of
from ragapp.types import Chunk, Heading

EMBEDDER = HashingEmbedder(width=512)
PUMP = "The pump moves water through the pipe of the pump."
WHALE = "Whales swim in oceans and whales sing songs to whales."
STAR = "Bright stars burn hydrogen while bright stars shine brightly."


def about(*subjects: tuple[str, int]) -> str:
    return " ".join(f"{sentence[:-1]} {n}." for sentence, count in subjects for n in range(count))


def chunk(text: str, tokens: int = 80, min_tokens: int = 20, window: int = 2) -> list[Chunk]:
    return SemanticChunker(EMBEDDER, EMBEDDER, tokens, min_tokens, window).chunk(document_of(text))


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_chunk_ends_where_the_subject_changes(window: int) -> None:
    found = chunk(about((PUMP, 4), (WHALE, 5), (STAR, 4)), window=window)
    assert [c.text.split()[0] for c in found] == ["The", "Whales", "Bright"]
    assert [c.text.count(".") for c in found] == [4, 5, 4]


def test_a_change_too_near_the_start_or_the_end_is_not_taken() -> None:
    early = chunk(about((PUMP, 1), (WHALE, 12)))
    assert "Whales" in early[0].text
    late = chunk(about((PUMP, 9), (WHALE, 1)), tokens=100)
    assert late[-1].text.count(".") > 1
    # The widest gap is before the last sentence, which is too little to stand alone.
    lone = chunk(about((PUMP, 7), (WHALE, 1)), tokens=90)
    assert len(lone) == 2
    assert lone[-1].text.startswith("The pump")


def test_what_fits_is_not_parted() -> None:
    assert len(chunk(about((PUMP, 2), (WHALE, 2)))) == 1


@given(
    st.lists(st.tuples(st.sampled_from([PUMP, WHALE, STAR]), st.integers(1, 9)), min_size=1, max_size=6),
    st.sampled_from([(60, 12), (80, 40), (200, 64)]),
)
def test_sizes_are_within_their_limits(subjects: list[tuple[str, int]], sizes: tuple[int, int]) -> None:
    most, least = sizes
    document = document_of(about(*subjects))
    chunker = SemanticChunker(EMBEDDER, EMBEDDER, most, least)
    check_chunker(chunker, [document], EMBEDDER)
    counts = [len(EMBEDDER.spans(c.text)) for c in chunker.chunk(document)]
    assert max(counts) <= most
    # The last one takes what is left, and a sentence more or less than the least may be all that is to be had.
    assert all(count >= least for count in counts[:-1])


def test_sections_are_not_joined_and_their_sentences_not_compared() -> None:
    text = f"{about((PUMP, 3))}\n{about((PUMP, 3))}"
    second = text.index("\n") + 1
    document = document_of(text, headings=[Heading(1, "One", 0), Heading(1, "Two", second)])
    found = SemanticChunker(EMBEDDER, EMBEDDER, 200, 20).chunk(document)
    assert [c.headings for c in found] == [("One",), ("Two",)]


class Counting:
    """Lists of floats, as LangChain's embeddings give them, not of unit length; it notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append(texts)
        return [[3 * float(x) for x in row] for row in EMBEDDER.embed_documents(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def test_each_sentence_is_embedded_with_the_next_and_lone_ones_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{about((PUMP, 4), (WHALE, 5), (STAR, 4))}\nLone."
    document = document_of(text, headings=[Heading(1, "Lone", text.index("Lone."))])
    seen = Counting()
    expected = [c.text for c in SemanticChunker(EMBEDDER, EMBEDDER, 80, 20).chunk(document)]
    assert [c.text for c in SemanticChunker(EMBEDDER, seen, 80, 20).chunk(document)] == expected
    (windows,) = seen.asked
    assert len(windows) == 13
    assert windows[0] == about((PUMP, 2))
    assert windows[3].endswith("to whales 0.")
    monkeypatch.setattr(semantic, "AT_ONCE", 5)
    assert [c.text for c in SemanticChunker(EMBEDDER, seen, 80, 20).chunk(document)] == expected
    assert [len(texts) for texts in seen.asked[1:]] == [5, 5, 3]
    assert "Counting" in SemanticChunker(EMBEDDER, seen).fingerprint
    assert EMBEDDER.fingerprint in SemanticChunker(EMBEDDER, EMBEDDER).fingerprint


def test_chinese() -> None:
    pump, whale = "水泵把水送进管道里面去。", "鲸鱼在海洋里游泳并唱歌。"
    found = SemanticChunker(EMBEDDER, EMBEDDER, 60, 20).chunk(document_of(pump * 3 + whale * 4))
    assert [c.text for c in found] == [pump * 3, whale * 4]


@pytest.mark.parametrize(
    ("sizes", "said"), [((64, 65), "min_tokens = 65"), ((64, 0), "min_tokens = 0"), ((64, 20, 0), "window = 0")]
)
def test_settings_that_do_not_fit(sizes: tuple[int, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=f"chunker.{said}"):
        SemanticChunker(EMBEDDER, EMBEDDER, *sizes)
