"""Gold in a library: quotes are found where they stand, and what could be found is counted or not known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ragapp.catalog import Catalog
from ragapp.eval.dataset import Gold, Question
from ragapp.eval.places import PlaceFinder, Places
from ragapp.testing import document_of
from tests.libraries import open_catalog, put

PUMP = [
    "The pump moves 42 litres.\nIt needs oil.\n",
    "Claims go to Oslo. The pump moves 42 litres.\n",
    "It is well-\nknown.\n",
]
CHINESE = ["水泵每年五月加油。\n", "保修期为二十四个月。\n"]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with_documents = open_catalog(tmp_path_factory.mktemp("places") / "library")
    put(with_documents, document_of(*PUMP), "manuals/pump.pdf")
    put(with_documents, document_of(*CHINESE), "手册.pdf")
    yield with_documents
    with_documents.close()


def places(catalog: Catalog, *gold: Gold) -> Places:
    return PlaceFinder(catalog).find(Question("q", "What?", gold))


def words(catalog: Catalog, found: Places) -> list[str]:
    return [catalog.document(key).text[start:end] for key, spans in found.spans.items() for start, end in spans]


@pytest.mark.parametrize(
    ("document", "quote", "stands"),
    [
        ("manuals/pump.pdf", "It needs oil.", "It needs oil."),
        ("manuals/pump.pdf", "it  NEEDS\noil.", "It needs oil."),
        ("manuals/pump.pdf", "well-known", "well-\nknown"),
        ("手册.pdf", "保修期为 二十四个月", "保修期为二十四个月"),
    ],
)
def test_a_quote_is_found_however_it_is_spaced(catalog: Catalog, document: str, quote: str, stands: str) -> None:
    found = places(catalog, Gold(document, quote=quote))
    assert words(catalog, found) == [stands]
    assert (found.quotes, found.missing) == (1, 0)


def test_of_several_places_those_on_the_gold_pages_count_and_all_without_pages(catalog: Catalog) -> None:
    quote = "The pump moves 42 litres."
    both = places(catalog, Gold("manuals/pump.pdf", quote=quote))
    one = places(catalog, Gold("manuals/pump.pdf", (2,), quote))
    assert len(words(catalog, both)) == 2
    (spans,) = one.spans.values()
    assert spans == (next(iter(both.spans.values()))[1],)
    assert (both.relevant["passages"], one.relevant["passages"]) == (2, 1)


def test_a_quote_on_another_page_than_its_gold_still_stands_in_the_document(catalog: Catalog) -> None:
    assert words(catalog, places(catalog, Gold("manuals/pump.pdf", (3,), "It needs oil."))) == ["It needs oil."]


def test_a_quote_that_is_not_there_is_counted_and_nothing_is_claimed(catalog: Catalog) -> None:
    found = places(catalog, Gold("manuals/pump.pdf", (1,), "Nobody said this."), Gold("手册.pdf", (1,), "水泵"))
    assert (found.quotes, found.missing) == (2, 1)
    assert words(catalog, found) == ["水泵"]
    assert "passages" not in found.relevant
    assert (found.relevant["pages"], found.relevant["documents"], found.relevant["quotes"]) == (2, 2, 1)


def test_where_a_quote_was_not_found_nobody_knows_what_holds_it(catalog: Catalog) -> None:
    pump, book = catalog.document_id("manuals/pump.pdf") or "", catalog.document_id("手册.pdf") or ""
    lost = Gold("manuals/pump.pdf", (3,), "Nobody said this.")
    found = places(catalog, lost, Gold("手册.pdf", (1,), "水泵"))
    assert (found.holds(book, 1, 0, 2), found.holds(book, 2, 30, 40)) == (True, False)
    assert (found.holds(pump, 3, 90, 99), found.holds(pump, 1, 0, 5)) == (None, False)
    # The same holds within one document, for all of it where no page is known, and for gold without words.
    within = places(catalog, lost, Gold("manuals/pump.pdf", (1,), "It needs oil."))
    assert (within.holds(pump, 3, 90, 99), within.holds(pump, 1, 0, 5)) == (None, False)
    nowhere = places(catalog, replace(lost, pages=()), Gold("manuals/pump.pdf", (1,), "It needs oil."))
    assert nowhere.holds(pump, 2, 60, 65) is None
    paged = places(catalog, Gold("手册.pdf", (2,)), Gold("manuals/pump.pdf", (1,), "It needs oil."))
    assert (paged.holds(book, 2, 30, 40), paged.holds(book, 1, 0, 2)) == (None, False)


def test_gold_pages_that_a_document_does_not_have_are_named(catalog: Catalog) -> None:
    found = places(catalog, Gold("手册.pdf", (2, 3)), Gold("手册.pdf", (3,), "水泵"), Gold("manuals/pump.pdf", (4,)))
    assert found.absent == (("手册.pdf", 3), ("manuals/pump.pdf", 4))
    assert places(catalog, Gold("手册.pdf", (1, 2))).absent == ()


def test_what_holds_gold_is_what_overlaps_it(catalog: Catalog) -> None:
    found = places(catalog, Gold("manuals/pump.pdf", quote="It needs oil."))
    ((key, ((start, end),)),) = found.spans.items()
    assert found.holds(key, 1, start, end)
    assert found.holds(key, 1, end - 1, end + 9)
    assert found.holds(key, 1, end, end + 9) is False
    assert found.holds(key, 1, start - 9, start) is False
    assert found.holds("another", 1, start, end) is False
    assert places(catalog, Gold("手册.pdf", (1,))).holds(key, 1, start, end) is None


def test_without_quotes_the_chunks_of_gold_pages_can_be_found(catalog: Catalog) -> None:
    found = places(catalog, Gold("manuals/pump.pdf", (1, 3)), Gold("手册.pdf", (2,)))
    assert dict(found.relevant) == {"documents": 2, "pages": 3, "passages": 3}
    assert (found.quotes, found.missing, dict(found.spans)) == (0, 0, {})


def test_without_pages_and_quotes_only_documents_are_known(catalog: Catalog) -> None:
    assert dict(places(catalog, Gold("手册.pdf")).relevant) == {"documents": 1}
    assert dict(places(catalog, Gold("手册.pdf"), Gold("manuals/pump.pdf", (1,))).relevant) == {"documents": 2}


def test_some_gold_without_a_quote_leaves_the_number_of_passages_unknown(catalog: Catalog) -> None:
    found = places(catalog, Gold("手册.pdf", (1,), "水泵"), Gold("manuals/pump.pdf", (1,)))
    assert dict(found.relevant) == {"documents": 2, "pages": 2, "quotes": 1}


def test_gold_that_is_not_relevant_or_not_there_is_none(catalog: Catalog) -> None:
    found = places(catalog, Gold("手册.pdf", (1,), "水泵", relevance=0), Gold("nowhere.pdf", (1,), "words"))
    assert found == Places()


def test_the_question_s_own_name_of_a_document_is_kept_by_its_id(catalog: Catalog) -> None:
    key = catalog.document_id("手册.pdf")
    assert places(catalog, Gold("手册.pdf")).names == {key: "手册.pdf"}


def test_letters_that_are_spelled_otherwise_are_found_on_their_page(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path / "library")
    try:
        put(catalog, document_of("The cafe\u0301 is open.\n"), "a.pdf")
        found = places(catalog, Gold("a.pdf", (1,), "The café is open."))
        assert words(catalog, found) == ["The cafe\u0301 is open."]
        assert words(catalog, places(catalog, Gold("a.pdf", (1,), "Thecafé is op en."))) == ["The cafe\u0301 is open."]
        assert words(catalog, places(catalog, Gold("a.pdf", quote="Thecafé"))) == ["The cafe\u0301"]
    finally:
        catalog.close()
