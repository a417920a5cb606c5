"""Made-up PDFs say what their questions ask; pages found are scored by the plain definition."""

from __future__ import annotations

from pathlib import Path

import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import ConfigError
from ragapp.eval import madeup, pagehits
from ragapp.eval.benched import Hits
from ragapp.eval.questions import Gold, Question


def test_made_up_pages_are_pdfs_that_say_what_was_made_up(tmp_path: Path) -> None:
    files = madeup.write(tmp_path / "made", 103)
    assert [file.name for file in files] == ["station-manual-0001.pdf", "station-manual-0002.pdf"]
    documents = [pypdfium2.PdfDocument(file) for file in files]
    assert [len(document) for document in documents] == [100, 3]
    for number, page in ((0, 1), (0, 100), (1, 3)):
        read = documents[number][page - 1].get_textpage().get_text_range()
        assert read.split() == madeup.text_of(number, page).split()


@given(number=st.integers(0, 400), page=st.integers(1, 100), seed=st.integers(0, 3))
def test_a_page_is_always_the_same_and_holds_about_a_hundred_words(number: int, page: int, seed: int) -> None:
    text = madeup.text_of(number, page, seed)
    assert text == madeup.text_of(number, page, seed)
    assert text.isascii()
    assert 75 <= len(text.split()) <= 135
    assert all(len(line) <= 120 for line in text.splitlines())


@given(pages=st.integers(1, 500), count=st.integers(1, 60), seed=st.integers(0, 3))
def test_every_question_has_its_answer_on_its_page(pages: int, count: int, seed: int) -> None:
    asked = madeup.questions(pages, count, seed)
    assert len({one.id for one in asked}) == len(asked) == min(pages, count)
    for one in asked:
        (gold,) = one.gold
        (page,) = gold.pages
        number = int(gold.document.removesuffix(".pdf").rpartition("-")[2]) - 1
        assert number * madeup.A_DOCUMENT + page <= pages
        text = " ".join(madeup.text_of(number, page, seed).split())
        assert gold.quote in text
        assert one.answers[0] in text


def test_pages_are_escaped() -> None:
    document = pypdfium2.PdfDocument(madeup.pdf([r"a (b) \c (", "second"]))
    assert document[0].get_textpage().get_text_range() == r"a (b) \c ("
    assert len(document) == 2


@pytest.mark.parametrize("pages", [0, -1, madeup.MOST + 1])
def test_a_number_of_pages_that_makes_no_sense_is_refused(pages: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be made up"):
        madeup.write(tmp_path, pages)


# -- pages found -----------------------------------------------------------------------------------------------------

Places = list[tuple[str, int | None]]
names = st.sampled_from(["a.pdf", "b.pdf", "年报.pdf"])
golds = st.builds(
    lambda name, pages: Gold(f"pdfs/{name}", tuple(pages)), names, st.lists(st.integers(1, 5), max_size=3)
)
places: st.SearchStrategy[Places] = st.lists(st.tuples(names, st.none() | st.integers(1, 6)), max_size=14)


@given(st.lists(st.tuples(st.lists(golds, max_size=3), places), max_size=6))
def test_hits_are_those_of_the_plain_definition(rows: list[tuple[list[Gold], Places]]) -> None:
    asked = [Question(str(at), "?", tuple(gold)) for at, (gold, _) in enumerate(rows)]
    found = {str(at): where for at, (_, where) in enumerate(rows)}
    score = pagehits.hits(asked, found)
    ranks: dict[int, list[int]] = {0: [], 1: []}
    for gold, where in rows:
        pages = {(one.document.removeprefix("pdfs/"), page) for one in gold for page in one.pages}
        if not pages:
            continue
        for near, held in ranks.items():
            right = [
                rank
                for rank, (name, page) in enumerate(where, 1)
                if page and any(name == n and abs(page - p) <= near for n, p in pages)
            ]
            held.append(right[0] if right else 99)
    if not ranks[0]:
        assert score is None
        return
    assert score is not None
    count = len(ranks[0])
    assert score.questions == count
    assert score.at_1 == sum(rank <= 1 for rank in ranks[0]) / count
    assert score.at_5 == sum(rank <= 5 for rank in ranks[0]) / count
    assert score.near_5 == sum(rank <= 5 for rank in ranks[1]) / count
    assert score.mrr == pytest.approx(sum(1 / rank for rank in ranks[0] if rank <= 10) / count)
    assert score.near_mrr == pytest.approx(sum(1 / rank for rank in ranks[1] if rank <= 10) / count)


def test_a_question_without_a_result_counts_as_not_found() -> None:
    score = pagehits.hits([Question("a", "?", (Gold("x.pdf", (1,)),))], {})
    assert score == Hits(1, 0, 0, 0, 0, 0)
