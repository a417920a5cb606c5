"""Variants of a library: what a library really made with those settings would give, and nothing written to the base."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ragapp import Rag
from ragapp.errors import ConfigError, LibraryError
from ragapp.eval.variants import Variants, configured
from ragapp.types import Passage, Query
from tests import trial_library
from tests.libraries import contents
from tests.trial_library import PLACES, SETTINGS, THINGS, Tokens, files_of

pytestmark = pytest.mark.usefixtures("in_folder")

QUESTION = "How high is the tower of the quarry?"
CUT: dict[str, object] = {"chunker.name": "tokens", "chunker.tokens": 64}


class Stop(Exception):
    """What ends a reindex in the middle."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trial_library.fill(tmp_path_factory.mktemp("template") / "library")


@pytest.fixture
def library(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "library")
    return tmp_path / "library"


@pytest.fixture
def base(library: Path) -> Iterator[Rag]:
    with Rag.open(library, **SETTINGS) as rag:
        yield rag


def shown(passages: list[Passage]) -> list[tuple[Any, ...]]:
    """Passages without their ids, which say in which order chunks were stored."""
    return [
        (p.document, p.chunk.start, p.chunk.end, p.chunk.page, p.chunk.header, pytest.approx(p.score, abs=1e-6))
        for p in passages
    ]


def flags(settings: dict[str, object]) -> dict[str, Any]:
    return {**SETTINGS, **{key.replace(".", "__"): value for key, value in settings.items()}}


READING: list[dict[str, object]] = [
    {},
    {"search.depth": 3},
    {"search.fusion": "rrf", "search.rrf_constant": 5},
    {"search.dense_weight": 0.9},
    {"search.route_weight": 0.0},
    {"reranker.name": "keep"},
    {"reranker.name": "late", "reranker.weight": 0.9, "reranker.candidates": 5},
]


@pytest.mark.parametrize("settings", READING, ids=str)
def test_settings_of_reading_share_the_library(base: Rag, tmp_path: Path, settings: dict[str, object]) -> None:
    with Variants(base, tmp_path / "variants") as variants:
        found = variants.open(settings).search(QUESTION, 12)
        assert variants.index_of(settings) == ""
        assert variants.expected(settings) == 0
    with Rag.open(base.folder, **flags(settings)) as made:
        assert shown(found) == shown(made.search(QUESTION, 12))
    assert not (tmp_path / "variants").exists()


@pytest.mark.parametrize(
    "settings",
    [
        CUT,
        {"chunker.name": "sentences"},
        {"chunker.name": "parent-child"},
        {"embedder.width": 24},
        {"embedder.width": 24, **CUT},
    ],
    ids=str,
)
def test_other_chunks_and_vectors_are_those_of_a_library_made_so(
    base: Rag, tmp_path: Path, settings: dict[str, object]
) -> None:
    copy = tmp_path / "made"
    shutil.copytree(base.folder, copy)
    folder = tmp_path / "variants"
    with Rag.open(copy, any_embedder=True, **flags(settings)) as made, Variants(base, folder) as variants:
        made.reindex()
        variant = variants.open(settings)
        assert contents(variant.catalog) == contents(made.catalog)
        assert shown(variant.search(QUESTION, 12)) == shown(made.search(QUESTION, 12))
        assert variant.ask(QUESTION).text == made.ask(QUESTION).text
        assert contents(base.catalog) != contents(made.catalog)


def test_what_the_library_was_made_with_needs_no_copy(base: Rag, tmp_path: Path) -> None:
    with Variants(base, tmp_path / "variants") as variants:
        same = {"chunker.name": "tokens", "chunker.tokens": 200, "embedder.width": 48}
        assert variants.index_of(same) == ""
        assert variants.open(same).folder == base.folder


def test_nothing_is_written_to_the_library(base: Rag, tmp_path: Path) -> None:
    before = files_of(base.folder)
    with Variants(base, tmp_path / "variants") as variants:
        for settings in (*READING, CUT, {"chunker.header": False}):
            variant = variants.open(settings)
            variant.search(QUESTION)
            variant.ask(QUESTION)
            variant.close()
    assert files_of(base.folder) == before


def test_stale_caches_of_the_library_stay_as_they_are(base: Rag, tmp_path: Path) -> None:
    trial_library.add(base, trial_library.document("new.txt", ["The moat is 7 metres deep."], ["Moat"]), "new.txt")
    before = files_of(base.folder)
    with Variants(base, tmp_path / "variants") as variants:
        variant = variants.open({"search.depth": 9})
        assert variant.search("How deep is the moat?")[0].document == "new.txt"
        variant.publish_caches()
    assert files_of(base.folder) == before


@pytest.mark.parametrize("settings", [{}, CUT], ids=str)
def test_a_variant_cannot_be_written(base: Rag, tmp_path: Path, settings: dict[str, object]) -> None:
    file = tmp_path / "more.txt"
    file.write_text("The moat is 7 metres deep.")
    with Variants(base, tmp_path / "variants") as variants:
        variant = variants.open(settings)
        before = contents(variant.catalog)
        for write in (
            lambda: variant.add(file),
            lambda: variant.sync(tmp_path),
            lambda: variant.remove("survey-1.txt"),
            variant.reindex,
        ):
            with pytest.raises(LibraryError, match="other settings"):
                write()
        assert contents(variant.catalog) == before


def test_header_lines_can_be_left_out(base: Rag, tmp_path: Path) -> None:
    with Variants(base, tmp_path / "variants") as variants:
        bare = variants.open({"chunker.header": False})
        assert variants.index_of({"chunker.header": False}) != ""
        assert variants.index_of({"chunker.header": True}) == ""
        with_headers, without = ({key: held[-1] for key, held in contents(rag.catalog).items()} for rag in (base, bare))
        assert any(fact[5] for facts in with_headers.values() for fact in facts)
        assert not any(fact[5] for facts in without.values() for fact in facts)
        for name, facts in with_headers.items():
            assert [fact[:5] for fact in facts] == [fact[:5] for fact in without[name]]
        # "Chapter" stands at the head of some chunks, and in the header line of all.
        assert len(bare.tools.words.search("survey 3", 100)) < len(base.tools.words.search("survey 3", 100))  # type: ignore[attr-defined]


def test_an_index_is_made_once_and_found_again(base: Rag, tmp_path: Path) -> None:
    folder = tmp_path / "variants"
    with Variants(base, folder) as variants:
        assert variants.expected(CUT) > 0
        name = variants.index_of(CUT)
        variants.open(CUT)
        assert variants.expected(CUT) == 0
        assert variants.has_timed
        made = Tokens.calls["documents"]
        # The same chunks under another way of searching are no other index.
        variants.open({**CUT, "search.depth": 5, "reranker.name": "keep"})
        assert [path.name for path in folder.iterdir()] == [name]
    with Variants(base, folder) as variants:
        assert variants.expected(CUT) == 0
        assert variants.open(CUT).search(QUESTION)
        assert not variants.has_timed
    assert Tokens.calls["documents"] == made


def test_vectors_of_texts_that_stay_are_not_made_again(base: Rag, tmp_path: Path) -> None:
    kept = {facts[3] for held in contents(base.catalog).values() for facts in held[-1]}
    Tokens.calls.clear()
    with Variants(base, tmp_path / "variants") as variants:
        variant = variants.open({"chunker.name": "headings"})
        texts = {facts[3] for held in contents(variant.catalog).values() for facts in held[-1]}
    assert kept & texts
    assert Tokens.calls.get("documents", 0) <= len(texts - kept)


def test_a_library_that_changed_has_other_copies(base: Rag, tmp_path: Path) -> None:
    folder = tmp_path / "variants"
    with Variants(base, folder) as variants:
        before = variants.index_of(CUT)
        variants.open(CUT)
    foreign = folder / "notes"
    foreign.mkdir()
    trial_library.add(base, trial_library.document("new.txt", ["The moat is 7 metres deep."], ["Moat"]), "new.txt")
    with Variants(base, folder) as variants:
        assert variants.open(CUT).search("How deep is the moat?")[0].document == "new.txt"
        assert variants.index_of(CUT) != before
    assert not (folder / before).exists()
    assert foreign.exists()


def test_a_stopped_index_goes_on(base: Rag, tmp_path: Path) -> None:
    def stop(state: Any) -> None:
        if state.stage == "done":
            raise Stop

    folder = tmp_path / "variants"
    with Variants(base, folder) as variants:
        with pytest.raises(Stop):
            variants.open(CUT, progress=stop)
        assert variants.expected(CUT) > 0
    with Variants(base, folder) as variants:
        assert variants.expected(CUT) > 0
        variant = variants.open(CUT)
        assert {passage.chunk.end - passage.chunk.start < 600 for passage in variant.search(QUESTION)} == {True}
        assert variants.open(CUT, progress=stop)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ingest.ocr": "off"}, "how files are read"),
        ({"server.port": 1}, "how files are read"),
        ({"search.dept": 3}, "Unknown setting"),
        ({"search.depth": "many"}, "does not fit"),
        ({"chunker.name": "headings", "chunker.overlap": 3}, "headings"),
        ({"reranker.name": "keep", "reranker.weight": 0.5}, "reranker.weight"),
    ],
)
def test_settings_that_cannot_be_are_told(base: Rag, tmp_path: Path, settings: dict[str, object], message: str) -> None:
    with Variants(base, tmp_path / "variants") as variants, pytest.raises(ConfigError) as raised:
        variants.open(settings).search(QUESTION)
    assert message in f"{raised.value.message} {raised.value.hint}"


def test_a_folder_that_cannot_be_written_is_told(base: Rag, tmp_path: Path) -> None:
    (tmp_path / "variants").write_text("a file")
    with Variants(base, tmp_path / "variants") as variants, pytest.raises(LibraryError, match="copies for trials"):
        variants.open(CUT)


def test_settings_are_put_before_those_of_the_base(library: Path) -> None:
    with Rag.open(library, search__k=7, search__depth=9, **SETTINGS) as rag:
        made = configured(rag.config, {"search.depth": 11})
    assert (made.search.k, made.search.depth, made.embedder.name) == (7, 11, trial_library.EMBEDDER)
    assert made.embedder.width == 48  # type: ignore[attr-defined]  # a key of the part's own


def test_what_another_part_would_not_take_is_left_behind(library: Path) -> None:
    with Rag.open(
        library, chunker__overlap=9, chunker__tokens=90, chunker__header=False, reranker__weight=0.7, **SETTINGS
    ) as rag:
        made = configured(rag.config, {"chunker.name": "headings", "reranker.name": "keep"})
        same = configured(rag.config, {"chunker.name": "tokens"})
    assert (made.chunker.tokens, made.chunker.overlap, made.chunker.header) == (90, 0, False)
    assert "weight" not in (made.reranker.model_extra or {})
    assert (same.chunker.overlap, (same.reranker.model_extra or {})["weight"]) == (9, 0.7)


def test_the_present_folder_plays_no_part(base: Rag, in_folder: Path) -> None:
    (in_folder / "ragapp.toml").write_text("[search]\nk = 3\n")
    assert configured(base.config, {}).search.k == 10


# -- what is kept between trials -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Variants, Variants]]:
    folder = tmp_path_factory.mktemp("both")
    shutil.copytree(template, folder / "library")
    with (
        Rag.open(folder / "library", **SETTINGS) as rag,
        Variants(rag, folder / "kept") as kept,
        Variants(rag, folder / "fresh", keep=False) as fresh,
    ):
        yield kept, fresh


READINGS = st.fixed_dictionaries(
    {
        "search.depth": st.integers(1, 300),
        "search.dense_weight": st.floats(0, 1),
        "search.fusion": st.sampled_from(["minmax", "rrf"]),
        "search.route_weight": st.floats(0, 1),
        "reranker.name": st.sampled_from(["late", "keep"]),
        "reranker.candidates": st.integers(1, 30),
    }
)
QUERIES = st.builds(
    lambda place, thing, named, where: Query(
        f"How high is the {thing} of the {place}{' in survey-3.txt' if named else ''}?", where=where
    ),
    st.sampled_from(PLACES),
    st.sampled_from(THINGS),
    st.booleans(),
    st.sampled_from([(), ("survey-1.txt", "survey-2.txt")]),
)


@hypothesis_settings(max_examples=40)
@given(settings=READINGS, query=QUERIES, k=st.integers(1, 30))
def test_what_is_kept_changes_nothing(
    both: tuple[Variants, Variants], settings: dict[str, object], query: Query, k: int
) -> None:
    kept, fresh = (variants.open(settings).search(query, k) for variants in both)
    assert shown(kept) == shown(fresh)
    assert [{*p.found_by} for p in kept] == [{*p.found_by} for p in fresh]


def test_trials_with_other_weights_embed_nothing(both: tuple[Variants, Variants]) -> None:
    kept, _ = both
    kept.open({"reranker.weight": 0.3}).search("How high is the cellar of the mill?", 20)
    Tokens.calls.clear()
    others = ({"reranker.weight": 0.8}, {"search.fusion": "rrf", "reranker.candidates": 10}, {"search.depth": 99})
    for settings in others:
        kept.open(settings).search("How high is the cellar of the mill?", 20)
    assert Tokens.calls.get("queries", 0) == 0
    assert Tokens.calls.get("tokens", 0) < 40  # passages that came up from deeper, no question twice


class Reversing:
    """A reranker of somebody else's, which counts its questions."""

    asked = 0

    def rerank(self, question: str, passages: list[Passage]) -> list[Passage]:
        Reversing.asked += 1
        return list(reversed(passages))


def test_another_reranker_is_asked_once_for_the_same_passages(both: tuple[Variants, Variants]) -> None:
    kept, fresh = both
    settings: dict[str, object] = {"reranker.name": f"{__name__}:Reversing"}
    found = [variants.open(settings).search(QUESTION, 9) for variants in (kept, kept, fresh)]
    assert shown(found[0]) == shown(found[1]) == shown(found[2])
    assert Reversing.asked == 2
