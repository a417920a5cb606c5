"""Answers made of quotes: every quote stands on the page it names, word for word."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragapp import Rag
from ragapp.quotes import QuoteAnswerer
from ragapp.testing import HashingEmbedder, document_of, passage_of
from ragapp.text import NO_ANSWER_EN, NO_ANSWER_ZH, collapse
from ragapp.types import Answer, Document, Event, Excerpt, Passage, Query, Token
from tests import pdfs, tabled

pytestmark = pytest.mark.usefixtures("in_folder")

TEXT = (
    "The annual report covers many things. The tank of the model nine holds 42 litres of fuel. "
    "Its engine was built in Graz in 1998."
)
DOCUMENT = document_of(
    "A page about other matters entirely.", TEXT, "最大功率为九千瓦。公司位于格拉茨。电话号码在第一页。"
)


class Held:
    """ports.Library over documents in memory; ``cores`` are passages as they were found, by the id of their chunk."""

    def __init__(self, *documents: Document, cores: dict[int, Passage] | None = None) -> None:
        self.documents = {document.id: document for document in documents}
        self.cores = cores or {}

    def text_of(self, document_id: str) -> str:
        return self.documents[document_id].text

    def words(self, document_id: str, start: int, end: int) -> str:
        return self.text_of(document_id)[start:end]

    def page_at(self, document_id: str, offset: int) -> int:
        return next(p.number for p in self.documents[document_id].pages if p.start <= offset < p.end)

    def page_parts(self, document_id: str, start: int, end: int) -> list[tuple[int, int, int]]:
        pages = self.documents[document_id].pages
        return [(p.number, max(start, p.start), min(end, p.end)) for p in pages if p.start < end and p.end > start]

    def around(self, document_id: str, start: int, end: int) -> Excerpt | None:
        document = self.documents[document_id]
        return Excerpt(0, document.text, document.headings, document.tables)

    def core(self, passage: Passage) -> Passage:
        return self.cores.get(passage.chunk.id, passage)


LIBRARY = Held(DOCUMENT)
PASSAGES = tuple(passage_of(DOCUMENT, page.start, page.end, score=1 / page.number) for page in DOCUMENT.pages)


def run(events: Generator[Event, None, Answer]) -> tuple[str, Answer]:
    """What the tokens spell, and the answer."""
    spelled = ""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            return spelled, stop.value
        assert isinstance(event, Token)
        spelled += event.text


# -- quotes, with the built-in model -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rag]:
    root = tmp_path_factory.mktemp("answers")
    pdfs.write(
        root / "docs" / "car.pdf", [[pdfs.Line("Model nine", 18)], TEXT.replace(". ", ".\n"), pdfs.prose("gearbox")]
    )
    pdfs.write(
        root / "docs" / "broken.pdf",
        ["The guarantee of the accu-\nmulator lasts for seven", "whole years in Europe. It ends in Asia."],
    )
    pdfs.write(
        root / "docs" / "年报.pdf",
        ["公司概况在第一页。", "本机的最大功率为九千瓦。\n油箱的容积为四十二升。", "附注在第三页。"],
    )
    with Rag.open(root / "library") as opened:
        opened.add([root / "docs"])
        yield opened


def stands(rag: Rag, answer: Answer) -> None:
    """Every citation is the document's own words, on the page it names."""
    for citation in answer.citations:
        document = rag.catalog.document(citation.passage.chunk.document_id)
        page = document.pages[citation.page - 1]
        assert page.start <= citation.start < citation.end <= page.end
        assert collapse(document.text[citation.start : citation.end]) == citation.quote
        assert citation.state == "verified"
        assert f"[{citation.marker}]" in answer.text


@pytest.mark.parametrize(
    ("question", "quote", "document", "page"),
    [
        ("How much fuel does the tank of the model nine hold?", "42 litres of fuel", "car.pdf", 2),
        ("Where was the engine built?", "built in Graz", "car.pdf", 2),
        ("最大功率是多少？", "本机的最大功率为九千瓦。", "年报.pdf", 2),
        ("油箱的容积是多少？", "油箱的容积为四十二升。", "年报.pdf", 2),
    ],
)
def test_quotes_answer_and_stand_on_their_page(rag: Rag, question: str, quote: str, document: str, page: int) -> None:
    answer = rag.ask(question)
    assert answer.finish_reason == "stop"
    first = answer.citations[0]
    assert (first.passage.document, first.page, first.marker) == (document, page, 1)
    assert quote in first.quote
    assert answer.text.startswith(f"“{first.quote}” [1]")
    assert first.boxes
    stands(rag, answer)


def test_a_quote_over_a_page_border_names_both_pages(rag: Rag) -> None:
    answer = rag.ask("How long does the guarantee of the accumulator last?")
    assert "accumulator lasts for seven" in answer.text
    assert [c.page for c in answer.citations if c.passage.document == "broken.pdf"][:2] == [1, 2]
    stands(rag, answer)


@dataclass(frozen=True)
class Plain:
    """ports.Words: every word tells the same."""

    def words(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())

    def weight(self, word: str) -> float:
        return 1.0


def quoting(quotes: int = 3) -> QuoteAnswerer:
    return QuoteAnswerer(HashingEmbedder(), Plain(), LIBRARY, quotes)


@pytest.mark.parametrize(("question", "said"), [("what?", NO_ANSWER_EN), ("什么？", NO_ANSWER_ZH)])
def test_no_passages_no_evidence_in_the_language_of_the_question(question: str, said: str) -> None:
    assert run(quoting().answer(Query(question), ())) == (said, Answer(said, (), (), "no_evidence"))


def test_whether_the_passages_are_evidence_is_not_decided_here() -> None:
    _, answer = run(quoting().answer(Query("Which planets have rings of ice?"), PASSAGES))
    assert answer.finish_reason == "stop"
    assert answer.citations


@pytest.mark.parametrize("quotes", [1, 2, 3])
def test_no_more_quotes_than_asked_for_and_none_twice(quotes: int) -> None:
    passages = tuple(passage_of(DOCUMENT, start, DOCUMENT.pages[1].end) for start in (0, DOCUMENT.pages[1].start))
    spelled, answer = run(
        quoting(quotes).answer(Query("The tank of the model nine holds 42 litres of fuel."), passages)
    )
    assert spelled == answer.text
    assert 1 <= answer.text.count("“") <= quotes
    assert len({c.quote for c in answer.citations}) == len(answer.citations)


SIDES = document_of(
    "The Atlas pump works with oil. The Atlas pump works with oil every day. The Atlas pump often works with much oil.",
    "The Orion has a motor that runs on steam.",
)
SIDE_PASSAGES = tuple(passage_of(SIDES, page.start, page.end) for page in SIDES.pages)
COMPARED = Query("Compare the Atlas pump oil and the Orion steam", parts=("the Atlas pump oil", "the Orion steam"))


class ByTokens(HashingEmbedder):
    """Has a vector for every token too, and notes the texts that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def embed_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        self.read += texts
        return [self.embed_documents([text[a:b] for a, b in self.spans(text)]) for text in texts]


def sides(query: Query, quotes: int, embedder: HashingEmbedder | None = None) -> list[str]:
    """The quotes of an answer, from a library whose first page has more of what is asked than the second."""
    answerer = QuoteAnswerer(embedder or HashingEmbedder(), Plain(), Held(SIDES), quotes)
    return [c.quote for c in run(answerer.answer(query, SIDE_PASSAGES))[1].citations]


@pytest.mark.parametrize("embedder", [HashingEmbedder(), ByTokens()])
def test_each_part_of_a_question_has_its_quote(embedder: HashingEmbedder) -> None:
    assert "Orion" not in "".join(sides(replace(COMPARED, parts=()), 1, embedder))
    found = sides(COMPARED, 1, embedder)
    assert len(found) == 2
    assert "Atlas" in found[0]
    assert "Orion" in found[1]
    # Further ones are for the whole question.
    assert sides(COMPARED, 3, embedder)[:2] == found
    assert len(sides(COMPARED, 3, embedder)) == 3


def test_more_passages_are_read_for_more_parts() -> None:
    document = document_of(*(f"Page {n} says that the Atlas pump needs oil." for n in range(6)), "The Orion has steam.")
    passages = [passage_of(document, page.start, page.end) for page in document.pages]
    answerer = QuoteAnswerer(HashingEmbedder(), Plain(), Held(document), 1)
    quotes = [c.quote for c in run(answerer.answer(COMPARED, passages))[1].citations]
    assert quotes[1:] == ["The Orion has steam."]


def test_of_what_speaks_of_a_part_it_is_what_the_whole_question_asks_for() -> None:
    document = document_of("The Orion in red.", "The Orion has a motor that runs on steam.", "A motor runs on steam.")
    passages = [passage_of(document, page.start, page.end) for page in document.pages]
    answerer = QuoteAnswerer(HashingEmbedder(), Plain(), Held(document), 1)
    query = Query("Which motor that runs on steam has the Orion?", parts=("the Orion",))
    assert [c.quote for c in run(answerer.answer(query, passages))[1].citations] == [
        "The Orion has a motor that runs on steam."
    ]


def test_a_part_of_which_nothing_is_said_has_no_quote() -> None:
    found = sides(replace(COMPARED, parts=("the zebra farm licence", "the Orion steam")), 1)
    assert found == ["The Orion has a motor that runs on steam."]


def test_parts_with_one_answer_have_one_quote() -> None:
    assert len(sides(replace(COMPARED, parts=("the Orion steam", "steam of the Orion")), 1)) == 1


def test_passages_are_read_once_for_all_parts() -> None:
    embedder = ByTokens()
    sides(COMPARED, 1, embedder)
    assert embedder.read == [*COMPARED.parts, COMPARED.text, *(p.chunk.text for p in SIDE_PASSAGES)]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(TEXT.split()), min_size=1, max_size=12).map(" ".join))
def test_any_question_gives_quotes_that_are_verbatim(question: str) -> None:
    spelled, answer = run(quoting().answer(Query(question), PASSAGES))
    assert spelled == answer.text
    for citation in answer.citations:
        assert collapse(DOCUMENT.text[citation.start : citation.end]) == citation.quote
        assert f"{citation.quote}”" in answer.text
    assert bool(answer.citations) == (answer.finish_reason == "stop")


class Rewritten(Held):
    """A library whose pages say something else than its chunks."""

    def words(self, document_id: str, start: int, end: int) -> str:
        return super().words(document_id, start, end).upper()


def test_words_that_do_not_stand_on_the_page_are_not_quoted() -> None:
    answerer = QuoteAnswerer(HashingEmbedder(), Plain(), Rewritten(DOCUMENT))
    _, answer = run(answerer.answer(Query("The tank of the model nine holds 42 litres of fuel."), PASSAGES))
    assert "“" not in answer.text
    assert answer.citations == ()


def test_where_nothing_can_be_quoted_it_says_so() -> None:
    answerer = QuoteAnswerer(HashingEmbedder(), Plain(), Rewritten(DOCUMENT))
    spelled, answer = run(answerer.answer(Query("The tank of the model nine holds 42 litres of fuel."), PASSAGES))
    assert spelled == answer.text == NO_ANSWER_EN
    assert answer.finish_reason == "no_evidence"


# -- which sentences ---------------------------------------------------------------------------------------------------


def quoted(question: str, *texts: str, headers: tuple[str, ...] = (), quotes: int = 1) -> list[str]:
    """What is quoted of documents of one passage each."""
    documents = [document_of(text, name=f"{n}.pdf") for n, text in enumerate(texts)]
    passages = [passage_of(document) for document in documents]
    passages = [
        replace(p, chunk=replace(p.chunk, header=header))
        for p, header in zip(passages, headers or [""] * len(texts), strict=True)
    ]
    answerer = QuoteAnswerer(Blind(), Plain(), Held(*documents), quotes)
    return [citation.quote for citation in run(answerer.answer(Query(question), passages))[1].citations]


class Blind:
    """An embedder to which all texts are alike: words alone decide."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0, 0.0]] * len(texts)

    def embed_query(self, text: str) -> list[float]:
        return [1.0, 0.0]


def test_a_number_is_quoted_where_a_number_is_asked_for() -> None:
    text = "Customers like the pump belt. Everybody pays the pump belt. It is 42 a pump belt."
    assert quoted("How much is the pump belt?", text) == ["It is 42 a pump belt."]
    assert quoted("Why is the pump belt?", text) == ["Customers like the pump belt."]


def test_a_number_that_the_question_says_itself_is_no_answer() -> None:
    assert quoted("How many of the 42 pumps leak?", "There are 42 pumps that leak. Of pumps 17 do leak.") == [
        "Of pumps 17 do leak."
    ]


def test_the_sentence_before_says_what_a_sentence_is_about() -> None:
    text = "Nothing leaks here at all. The old turbine leaks. It was mended by nobody. Some other machine was mended."
    assert quoted("turbine mended", text) == ["It was mended by nobody."]


def test_the_line_above_a_passage_says_what_it_is_about() -> None:
    texts = ("The speed is great here.", "The speed is small there.")
    assert quoted("turbine speed", *texts, headers=("pump", "turbine")) == [texts[1]]


def test_further_quotes_are_near_the_first() -> None:
    texts = ("The turbine leaks oil.", "Grass grows in summer.", "A turbine leaks water.")
    assert quoted("turbine leaks", *texts, quotes=3) == [texts[0], texts[2]]


# -- tables ------------------------------------------------------------------------------------------------------------

REPORT = tabled.document(
    ["Some words before.", tabled.Grid(["", "2017 [3]", "2018", "2018"], [["Net sales", "4,213", "5,106", "x"]])]
)


def from_table(question: str, document: Document = REPORT) -> str:
    passage = passage_of(document)
    passage = replace(passage, chunk=replace(passage.chunk, header="report › 2017 | 2018"))
    return run(QuoteAnswerer(Blind(), Plain(), Held(document), 1).answer(Query(question), [passage]))[1].text


@pytest.mark.parametrize(
    ("question", "shown"),
    [("What were the net sales?", " (columns: 2017 | 2018)"), ("net sales 是多少？", "（各列：2017 | 2018）")],
)
def test_a_quoted_row_is_followed_by_the_heads_of_its_columns(question: str, shown: str) -> None:
    assert from_table(question) == f"“Net sales 4,213 5,106 x” [1]{shown}"


def test_a_row_without_heads_stands_alone() -> None:
    assert from_table("net sales", replace(REPORT, tables=())) == "“Net sales 4,213 5,106 x” [1]"


def test_the_heads_themselves_are_not_quoted() -> None:
    text = "2016 sales\t2017 sales\nThe sales\t17 of them"
    assert quoted("2016 sales 2017 sales", text, headers=("report › 2016 sales | 2017 sales",)) == [
        "The sales 17 of them"
    ]


# -- long passages -----------------------------------------------------------------------------------------------------


class Counting(HashingEmbedder):
    """Remembers how much it had to read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def embed_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        self.read += sum(map(len, texts))
        return [self.embed_documents([text[a:b] for a, b in self.spans(text)]) for text in texts]


@pytest.mark.parametrize("letter", ["a", "长"])
def test_of_many_long_passages_only_some_are_read_whole(letter: str) -> None:
    words = " ".join(f"{letter * 7}{n}." for n in range(400)) if letter == "a" else letter * 3000
    documents = [document_of(f"{words} The turbine number {n} leaks. {words}", name=f"{n}.pdf") for n in range(5)]
    passages, cores = [], {}
    for n, document in enumerate(documents, 1):
        whole = passage_of(document)
        at = document.text.index("The turbine")
        cores[n] = replace(passage_of(document, at, at + 28), document=whole.document)
        passages.append(replace(whole, chunk=replace(whole.chunk, id=n)))
    embedder = Counting()
    answerer = QuoteAnswerer(embedder, Plain(), Held(*documents, cores=cores), 5)
    _, answer = run(answerer.answer(Query("turbine number leaks"), passages))
    # What does not fit is read as it was found, and still cited as the passage that was given.
    assert embedder.read < 2.2 * len(documents[0].text)
    assert {citation.passage.chunk.id for citation in answer.citations} == {1, 2, 3, 4, 5}
    assert all(citation.passage in passages for citation in answer.citations)
