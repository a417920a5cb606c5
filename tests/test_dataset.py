"""Sets of questions: rows of many shapes become questions, what is wrong is said with its line, and what is saved is
read back the same; the set fitted to the names of a library."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import ConfigError, ReadError
from ragapp.eval.dataset import (
    Dataset,
    Gold,
    Question,
    completed,
    is_same_document,
    load,
    of_questions,
    of_rows,
    placed,
    save,
    shape_of,
)
from ragapp.eval.questions import lines_of
from ragapp.types import Turn


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def one(**members: Any) -> Question:
    """The question of a row."""
    (question,) = of_rows([("q.jsonl:1", {"id": "a", "question": "Why?", **members})], "q").questions
    return question


def wrong(*rows: object, **members: Any) -> ReadError:
    """The error that a row makes."""
    given: Any = rows or ({"id": "a", "question": "Why?", **members},)
    with pytest.raises(ReadError) as caught:
        of_rows([(f"q.jsonl:{n}", row) for n, row in enumerate(given, 1)], "q")
    return caught.value


# -- what is read ------------------------------------------------------------------------------------------------------


FULL = Question(
    "f1",
    "谁付款？",
    (Gold("a.pdf", (1, 2), "The buyer\npays."), Gold("dir/b.pdf", relevance=3)),
    ("the buyer", "买方"),
    ("buyer",),
    "all",
    True,
    (Turn("user", "Hello"), Turn("assistant", "Hi.")),
    ("*.pdf",),
    {"difficulty": "easy", "kind": "fact"},
)


def test_a_question_with_everything_is_read_back_the_same(tmp_path: Path) -> None:
    file = tmp_path / "payments.jsonl"
    asked = of_questions("payments", [FULL, Question("f2", "Nobody?", answerable=False)])
    save(asked, file)
    assert load(file) == asked
    assert json.loads(file.read_text("utf-8").splitlines()[0]) == {
        "id": "f1",
        "question": "谁付款？",
        "gold": [
            {"document": "a.pdf", "pages": [1, 2], "quote": "The buyer\npays."},
            {"document": "dir/b.pdf", "relevance": 3},
        ],
        "answers": ["the buyer", "买方"],
        "must_contain": ["buyer"],
        "history": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}],
        "where": ["*.pdf"],
        "tags": {"difficulty": "easy", "kind": "fact"},
        "match": "all",
    }


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: bool(text.strip()))
golds = st.builds(
    Gold, words, st.lists(st.integers(1, 999), unique=True).map(tuple), st.just("") | words, st.integers(1, 3)
)
several = st.lists(words, max_size=3, unique=True).map(tuple)
turns = st.builds(Turn, st.sampled_from(["user", "assistant", "system"]), words)
questions = st.builds(
    Question,
    words,
    words.filter(lambda text: any(char.isalnum() for char in text)),
    st.lists(golds, max_size=3, unique=True).map(tuple),
    several,
    several,
    st.sampled_from(["any", "all"]),
    st.booleans(),
    st.lists(turns, max_size=2).map(tuple),
    several,
    st.dictionaries(words, st.text(st.characters(exclude_categories=["Cs"])), max_size=2),
)


@given(st.lists(questions, min_size=1, max_size=4, unique_by=lambda question: question.id))
def test_any_question_is_read_back_the_same(tmp_path_factory: pytest.TempPathFactory, asked: list[Question]) -> None:
    file = tmp_path_factory.getbasetemp() / "any.jsonl"
    made = of_questions("any", asked)
    save(made, file)
    again = load(file)
    assert again.questions == made.questions
    assert again.fingerprint == made.fingerprint


def test_the_fingerprint_is_that_of_the_questions_and_nothing_else(tmp_path: Path) -> None:
    save(of_questions("x", [FULL]), tmp_path / "x.jsonl")
    tags = {"kind": "fact", "difficulty": "easy"}
    same = of_questions("y", [Question(**{**{n: getattr(FULL, n) for n in FULL.__slots__}, "tags": tags})], ["Oh."])
    assert load(tmp_path / "x.jsonl").fingerprint == same.fingerprint
    assert of_questions("x", [FULL, Question("z", "Z?")]).fingerprint != same.fingerprint


def test_where_an_answer_stands_is_read_in_every_shape() -> None:
    assert one(gold=[{"pdf": "x/a.pdf", "pages": [2, 1]}, {"document": "b.pdf", "page": 3, "quote": "So."}]).gold == (
        Gold("x/a.pdf", (2, 1)),
        Gold("b.pdf", (3,), "So."),
    )
    assert one(gold={"doc": "a.md", "text": "So.", "relevance": 2}).gold == (Gold("a.md", (), "So.", 2),)
    assert one(gold=["a.pdf", "a.pdf"]).gold == (Gold("a.pdf"),)
    assert one(pdf="a.pdf", gold_pages=[4]).gold == (Gold("a.pdf", (4,)),)
    assert one(pdf="a.pdf", gold_pages=[]).gold == (Gold("a.pdf"),)
    assert one(doc="a.md", spans=[{"start": 1, "text": "One."}, "Two."]).gold == (
        Gold("a.md", (), "One."),
        Gold("a.md", (), "Two."),
    )
    assert one(document="a.pdf", page=None, quote="").gold == (Gold("a.pdf"),)
    assert one(gold=[]).gold == ()


@pytest.mark.parametrize(
    ("value", "pages"),
    [(3, (3,)), (3.0, (3,)), ("3", (3,)), ("3.0", (3,)), ("3-5; 8", (3, 4, 5, 8)), ("p. 7", (7,)), ("2,2", (2,)),
     ([1, "2–3"], (1, 2, 3)), ("第3页", (3,)), ("第 3 页至第 5 页", (3, 4, 5)), ("３、４", (3, 4)),
     ("pages 2 - 3", (2, 3)), ("", ())],
)  # fmt: skip
def test_pages_are_read_as_people_write_them(value: object, pages: tuple[int, ...]) -> None:
    (gold,) = one(document="a.pdf", page=value).gold
    assert gold.pages == pages


def test_pages_from_0_become_pages_from_1() -> None:
    assert one(pdf="a.pdf", gold_pages=[0, 4], page_base=0).gold == (Gold("a.pdf", (1, 5)),)
    assert one(gold=[{"pdf": "a.pdf", "page": "0-1"}], page_base=0).gold == (Gold("a.pdf", (1, 2)),)


@pytest.mark.parametrize("name", ["answers", "answer", "expected", "expected_answer", "reference", "ground_truth"])
def test_answers_have_many_names(name: str) -> None:
    assert one(**{name: ["42", 42, " ", 6.0, 2.5]}).answers == ("42", "6", "2.5")
    assert one(**{name: "four; two"}).answers == ("four; two",)


def test_a_question_nobody_can_answer_is_marked_in_many_ways() -> None:
    assert not one(answerable=False).answerable
    assert not one(answerable="否").answerable
    assert not one(is_impossible=True).answerable
    assert not one(expected="not answerable from the documents").answerable
    assert not one(expected="无法回答").answerable
    assert one(expected="not answerable").answers == ()
    assert one(expected="Not much.").answerable
    assert one(answerable="Yes").answerable
    assert one(is_impossible=0).answerable


def test_a_talk_is_told_by_its_turns_or_its_history() -> None:
    (talk,) = of_rows([("x:1", {"turns": ["First?", "And then?"]})], "x").questions
    assert (talk.id, talk.text, talk.history) == ("1", "And then?", (Turn("user", "First?"),))
    assert of_rows([("x:1", {"query": "Why?"})], "x").questions[0].text == "Why?"
    assert one(history=[{"role": "assistant", "content": "Hi."}]).history == (Turn("assistant", "Hi."),)


def test_the_names_of_a_scope_are_no_patterns() -> None:
    asked = one(index_scope=["a [1].pdf"], where=["b*.pdf"])
    assert asked.where == ("b*.pdf", "a [[]1].pdf")


def test_facts_become_tags_where_they_make_groups() -> None:
    rows = [
        {"question": f"Q{n}?", "answer": "x", "gold": "a.pdf", "level": "hard" if n % 2 else "easy", "note": f"n{n}",
         "long": "y" * 81, "multi": True, "metadata": {"year": 2020}, "list": [1],
         "dimensions": {"topic": n, "no": None}}
        for n in range(4)
    ]  # fmt: skip
    found = of_rows([(str(n), row) for n, row in enumerate(rows)], "x")
    assert found.questions[1].tags == {"level": "hard", "multi": "yes", "year": "2020", "topic": "1"}
    assert found.warnings == (
        'Not used, with the number of questions that have it: "note" (4), "long" (4), "list" (4).',
    )


def test_what_a_row_says_itself_beats_what_was_made_of_it() -> None:
    rows = [("x", {"question": f"Q{n}?", "answer": "x", "kind": "a", "tags": {"kind": "b"}}) for n in range(2)]
    assert of_rows([(f"x:{n}", row) for n, (_, row) in enumerate(rows)], "x").questions[0].tags == {"kind": "b"}


# -- what is odd -------------------------------------------------------------------------------------------------------


def warnings_of(*rows: dict[str, Any]) -> tuple[str, ...]:
    return of_rows([(f"q:{n}", {"question": f"Q{n}?", **row}) for n, row in enumerate(rows)], "q").warnings


def test_questions_that_cannot_be_measured_are_counted() -> None:
    assert warnings_of({"answer": "a", "gold": "a.pdf"}, {"answerable": False}) == ()
    assert warnings_of({}, {"gold": "a.pdf"}, {"id": "x"}) == (
        "2 questions without gold place and answer: only times and refusals can be measured.",
    )
    assert warnings_of({"answer": "a"}) == ("1 question without gold place: whether it is found cannot be measured.",)
    assert warnings_of({"pdf": "a.pdf", "page": 1}, {"pdf": "a.pdf"}, {"pdf": "b.pdf"}) == (
        "2 questions with a gold document and no page, unlike the others.",
    )


def test_contradictions_and_repetitions_are_counted() -> None:
    assert warnings_of({"answer": "a", "answerable": False}) == (
        "1 question marked as not answerable, with an answer or a gold place all the same: it is not used.",
    )
    twice = {"question": "Same?", "pdf": "a.pdf"}
    assert warnings_of(twice, {**twice, "question": " Same?\n"}, {"pdf": "a.pdf"}) == (
        "1 question asked before in the same set, under another id.",
    )
    other = {**twice, "history": [{"role": "user", "content": "Other."}]}
    assert warnings_of(twice, other) == ()


def test_what_a_gold_place_says_that_nobody_reads_is_told() -> None:
    rows = [("q:1", {"question": "Why?", "gold": [{"document": "a.pdf", "pagess": [3], "section": "x"}]})] * 4
    rows = [(f"q:{n}", {**row, "id": str(n)}) for n, (_, row) in enumerate(rows)]
    found = of_rows(rows, "q")
    assert found.warnings[0] == (
        'Not used, with the number of questions that have it: "gold.pagess" (4, did you mean "pages"?), '
        '"gold.section" (4).'
    )
    assert not found.questions[0].tags
    said = wrong(gold=[{"document": "a.pdf", "pages": [1], "page_base": 0}])
    assert '"page_base" stands in a gold place' in said.message
    assert "beside the question" in (said.hint or "")


def test_a_gold_place_of_a_question_without_answer_is_told() -> None:
    row = {"id": "a", "question": "Why?", "answerable": False, "gold": [{"document": "a.pdf", "page": 1}]}
    assert "with an answer or a gold place all the same" in of_rows([("q:1", row)], "q").warnings[0]


def test_a_misspelt_member_is_named_and_never_a_tag() -> None:
    rows = [{"pdf": "a.pdf", "answerble": False}] * 4
    found = of_rows([(f"q:{n}", {"question": f"Q{n}?", **row}) for n, row in enumerate(rows)], "q")
    assert found.questions[0].tags == {}
    assert found.warnings == (
        'Not used, with the number of questions that have it: "answerble" (4, did you mean "answerable"?).',
    )


def test_a_long_list_of_members_is_cut() -> None:
    (told,) = warnings_of({"pdf": "a.pdf", **{f"member{n}": [n] for n in range(11)}})
    assert told.endswith('"member7" (1), and 3 more.')


# -- what is wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"question": 3}, "the question is 3 and no text"),
        ({"question": " ?! "}, "is empty"),
        ({"question": "a\ud800"}, '"question" holds half a character'),
        ({"question": None}, "there is no question"),
        ({"turns": "x", "question": None, "id": []}, r'"id" is \[\] and no text'),
        ({"id": ""}, "\"id\" is '' and no text"),
        ({"id": True}, '"id" is True and no text'),
        ({"gold": [{}]}, "a place that answers names no document"),
        ({"gold": 3}, '"gold" is 3 and no list'),
        ({"gold": [3]}, '"gold" holds 3 and no object'),
        ({"gold_pages": [1]}, "names no document"),
        ({"quote": "So."}, "names no document"),
        ({"page": 0}, "names no document"),
        ({"pdf": "a.pdf", "page": 0}, "there is no page 0"),
        ({"pdf": "a.pdf", "page": -1, "page_base": 0}, "there is no page -1"),
        ({"pdf": "a.pdf", "page": 10**9}, "there is no page 1000000000"),
        ({"pdf": "a.pdf", "page": True}, "True is no page"),
        ({"pdf": "a.pdf", "page": 1.5}, "1.5 is no page"),
        ({"pdf": "a.pdf", "page": "iv"}, "'iv' is no page"),
        ({"pdf": "a.pdf", "page": "5-3"}, "'5-3' is no range of pages"),
        ({"pdf": "a.pdf", "page": "1-99999"}, "is no range of pages"),
        ({"pdf": "a.pdf", "page_base": 2}, '"page_base" is 2'),
        ({"pdf": "a.pdf", "spans": [{}]}, '"spans" is None and no text'),
        ({"gold": [{"pdf": "a.pdf", "relevance": 0}]}, '"relevance" is 0'),
        ({"answers": [{"a": 1}]}, '"answers" is .* and no text'),
        ({"answers": ["\udfff"]}, '"answers" holds half a character'),
        ({"match": "some"}, "\"match\" is 'some'"),
        ({"answerable": "perhaps"}, "neither true nor false"),
        ({"answerable": 2}, "neither true nor false"),
        ({"history": [{"role": "robot", "content": "x"}]}, "the role of a turn is 'robot'"),
        ({"history": [{"role": "user"}]}, '"content" is None and no text'),
        ({"tags": ["a"]}, '"tags" holds .* and no object'),
        ({"tags": {"a": {}}}, '"a" is {} and no text'),
        ({"tags": {"a": "\ud800"}}, '"a" holds half a character'),
    ],
)
def test_what_is_wrong_is_said_with_its_place(members: dict[str, Any], said: str) -> None:
    error = wrong(**members)
    assert re.match(rf"q\.jsonl:1: .*{said}", error.message)
    assert error.hint


def test_all_that_is_wrong_is_counted() -> None:
    good, bad = {"question": "Why?"}, {"question": 3}
    assert wrong(good, bad, good, bad, bad).message == (
        "q.jsonl:2: the question is 3 and no text. 2 more are wrong, the next at q.jsonl:4."
    )


def test_ids_stand_for_one_question() -> None:
    error = wrong({"id": "a", "question": "Why?"}, {"question": "How?"}, {"id": "a", "question": "When?"})
    assert error.message == 'q.jsonl:3: the id "a" is that of q.jsonl:1 too.'
    with pytest.raises(ConfigError, match='more than one question with the id "a"'):
        of_questions("x", [Question("a", "Why?"), Question("a", "How?")])


def test_pages_are_counted_alike_in_all_of_a_set() -> None:
    zero = {"question": "Why?", "pdf": "a.pdf", "page": 1, "page_base": 0}
    assert wrong(zero, {"question": "How?", "pdf": "a.pdf", "page": 1}).message == (
        "q.jsonl:2: pages count from 1 here, and from 0 at q.jsonl:1."
    )
    # Where no page is named, it does not matter from where they count.
    assert len(of_rows([("a", zero), ("b", {"question": "How?", "pdf": "a.pdf"})], "x").questions) == 2


def test_a_set_without_questions_is_none(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="holds no questions"):
        of_rows([], "x")
    with pytest.raises(ConfigError, match="holds no questions"):
        of_questions("x", [])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
others = (
    "pdf page gold_pages spans quote turns index_scope expected page_base dimensions metadata is_impossible of answer"
)
members = st.sampled_from([*shape_of(FULL), *others.split()])


@given(st.lists(st.dictionaries(members, json_values, max_size=6), max_size=3))
def test_whatever_a_row_holds_is_a_question_or_an_error(rows: list[dict[str, Any]]) -> None:
    with suppress(ReadError):
        found = of_rows([(f"q:{n}", {"question": "Why?", **row}) for n, row in enumerate(rows)], "q")
        shapes = [json.loads(line) for line in lines_of(found.questions)]
        again = of_rows([(f"q:{n}", row) for n, row in enumerate(shapes)], "q")
        assert again.fingerprint == found.fingerprint


# -- files -------------------------------------------------------------------------------------------------------------


def test_byte_order_mark_and_line_ends_of_windows_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    row = json.dumps({"id": "a", "question": "Eine\u2028Zeile?", "pdf": "a.pdf"}, ensure_ascii=False)
    file.write_bytes(b"\xef\xbb\xbf" + row.encode() + b"\r\n\r\n" + b'{"id": "b", "question": "B?", "pdf": "a.pdf"}')
    assert [question.text for question in load(file).questions] == ["Eine\u2028Zeile?", "B?"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no questions"),
        (b"\n \n", "holds no questions"),
        (b'{"question": "A?"}\n{"question": ', r"x\.jsonl:2: this is no JSON"),
        (b'{"question": "A?"}\n[1]\n', r"x\.jsonl:2: the line is no JSON object"),
        (b'{"question": "A?"}\n\n{"question": "\xff?"}\n', r"x\.jsonl:3: byte 15 of the line is no UTF-8"),
        (b'{"question": "A?", "id": NaN}\n', r"x\.jsonl:1: this is no JSON: NaN"),
        (b'{"question": "A?", "x": ' + b"[" * 100_000, r"x\.jsonl:1: the JSON is nested too deeply"),
        (b'{"id": ' + b"9" * 5000 + b"}", r"x\.jsonl:1: this is no JSON"),
        (b'{"question": "' + b"a" * (9 << 20) + b'"}', r"x\.jsonl:1: the line is longer than 8 MB"),
        (b'{"question": "A?"}\n{"question": 3}\n', r"x\.jsonl:2: the question is 3"),
        (b"\x00\x01\x02", "no JSON"),
        ("\ufeff{}".encode("utf-16-le"), "no UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(content)
    with pytest.raises(ReadError, match=said):
        load(file)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"none\.jsonl cannot be read: No such file"):
        load(tmp_path / "none.jsonl")


def test_a_set_is_named_after_its_file_or_its_folder(tmp_path: Path) -> None:
    (tmp_path / "leave policy").mkdir()
    row = {"question": "Why?", "pdf": "a.pdf"}
    assert load(written(tmp_path / "leave policy" / "qa.jsonl", row)).name == "leave policy"
    assert load(written(tmp_path / "休假.jsonl", row)).name == "休假"
    assert load(tmp_path / "leave policy").name == "leave policy"


def test_saving_replaces_the_whole_file_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "set.jsonl"
    save(of_questions("a", [Question("a", "Why?")]), file)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match=r"set\.jsonl cannot be written: No space left"):
        save(of_questions("b", [Question("b", "How?")]), file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_paraphrases_take_what_they_lack_from_their_originals() -> None:
    rows = [
        {"id": "p1", "question": "Who hands over the money?", "of": "f1"},
        {"id": "p2", "question": "Hm?", "of": "gone"},
        {"id": "p3", "question": "Who?", "of": "f1", "answer": "me", "tags": {"kind": "own"}},
    ]
    asked = of_rows([(f"p:{n}", row) for n, row in enumerate(rows)], "p")
    found = completed(asked, of_questions("x", [FULL]), of_questions("y", [Question("f2", "What?")]))
    first, second, third = found.questions
    tags = {"difficulty": "easy", "kind": "fact", "of": "f1"}
    assert first == replace(FULL, id="p1", text="Who hands over the money?", tags=tags)
    assert second == asked.questions[1]
    assert (third.gold, third.answers, third.tags["kind"]) == (FULL.gold, ("me",), "own")
    assert found.warnings == (
        "1 question left without an original: none that is there is named.",
        "1 question without gold place and answer: only times and refusals can be measured.",
    )
    with pytest.raises(ConfigError, match="No question of the set p names one of the originals"):
        completed(asked, of_questions("y", [Question("f2", "What?")]))
    with pytest.raises(ConfigError, match='more than one question with the id "f1"'):
        completed(asked, of_questions("x", [FULL]), of_questions("y", [FULL]))


# -- a set and a library -----------------------------------------------------------------------------------------------


def asking(*documents: str, where: tuple[str, ...] = ()) -> Question:
    return Question("-".join(documents) or "none", "Why?", tuple(Gold(name, (1,)) for name in documents), where=where)


def fitted(library: list[str], *questions: Question) -> tuple[list[list[str]], tuple[str, ...]]:
    found = placed(of_questions("set", questions), library)
    return [[gold.document for gold in question.gold] for question in found.questions], found.warnings


@pytest.mark.parametrize(
    ("gold", "library", "found"),
    [
        ("a.pdf", ["a.pdf", "x/a.pdf"], "a.pdf"),
        ("pdfs/x/a.pdf", ["x/a.pdf", "y/a.pdf"], "x/a.pdf"),
        ("pdfs/x/a.pdf", ["a.pdf", "x/a.pdf"], "x/a.pdf"),
        ("a.pdf", ["deep/x/a.pdf", "b.pdf"], "deep/x/a.pdf"),
        (r"x\a.pdf", ["x/a.pdf"], "x/a.pdf"),
        ("caf\u00e9.pdf", ["cafe\u0301.pdf"], "cafe\u0301.pdf"),
        ("手册.pdf", ["文档/手册.pdf"], "文档/手册.pdf"),
    ],
)
def test_gold_places_take_the_librarys_names(gold: str, library: list[str], found: str) -> None:
    assert fitted(library, asking(gold)) == ([[found]], ())


def test_documents_that_are_not_there_are_counted_and_their_questions_left_out() -> None:
    found = fitted(["a.pdf"], asking("a.pdf"), asking("b.pdf"), asking("a.pdf", "b.pdf"), asking("c.pdf"), asking())
    assert found == (
        [["a.pdf"], ["a.pdf"], []],
        (
            "1 question without gold place and answer: only times and refusals can be measured.",
            "2 documents of the set not in the library: b.pdf, c.pdf.",
            "2 questions left out: none of their documents is known in the library.",
        )[1:],
    )


def test_names_of_several_documents_are_counted() -> None:
    assert fitted(["x/a.pdf", "y/a.pdf", "b.pdf"], asking("a.pdf"), asking("b.pdf")) == (
        [["b.pdf"]],
        (
            "1 name that several documents of the library have: a.pdf. Give their folders too.",
            "1 question left out: none of their documents is known in the library.",
        ),
    )


def test_a_set_about_other_documents_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"none of the documents that the set set names: a.pdf, b.pdf, c.pdf and 1 more"
    ):
        fitted(["z.pdf"], *(asking(f"{name}.pdf") for name in "abcd"), asking())
    with pytest.raises(ConfigError, match=r"none of the documents"):
        fitted([], Question("q", "Why?", where=("a.pdf",), answerable=False))
    with pytest.raises(ConfigError, match=r"none of the documents"):
        fitted(["a.pdf"], Question("q", "Why?", (Gold("b.pdf"),), where=("a.pdf",)))


def test_scopes_take_the_librarys_names_too() -> None:
    library = ["x/a [1].pdf", "b.pdf"]
    scoped = [
        Question("1", "Why?", where=("docs/x/a [[]1].pdf", "c.pdf")),
        Question("2", "Why?", where=("*.pdf",)),
        Question("3", "Why?", where=("other/*",)),
        Question("4", "Why?", where=("c.pdf",)),
    ]
    found = placed(of_questions("set", scoped), library)
    assert [question.where for question in found.questions] == [("x/a [[]1].pdf",), ("*.pdf",)]
    assert found.warnings == (
        "2 documents of the set not in the library: c.pdf, other/*.",
        "2 questions left out: none of their documents is known in the library.",
    )


def test_a_fitted_set_is_still_the_same_set() -> None:
    whole = of_questions("set", [asking("a.pdf"), asking("b.pdf")], ["Old news."])
    found = placed(whole, ["x/a.pdf"])
    assert (found.name, found.fingerprint) == (whole.name, whole.fingerprint)
    assert found.warnings[0] == "Old news."
    assert placed(whole, ["a.pdf", "b.pdf"]) == whole


names = st.lists(st.sampled_from(["a", "b", "x", "y"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(names, min_size=1, unique=True), names)
def test_a_name_is_placed_only_where_it_means_that_document(library: list[str], name: str) -> None:
    meant = [each for each in library if is_same_document(name, each)]
    try:
        (found,), _ = fitted(library, asking(name))
    except ConfigError:
        assert len(meant) != 1
        assert name not in library
    else:
        assert found[0] in meant
        assert found == [name] or name not in library
        assert all(len(each.split("/")) <= len(found[0].split("/")) for each in meant) or name.count("/") <= found[
            0
        ].count("/")


@given(names, names)
def test_to_be_the_same_document_is_mutual(one: str, other: str) -> None:
    assert is_same_document(one, other) == is_same_document(other, one)
    assert is_same_document(one, f"x/{one}")
    assert is_same_document(one, f"{other}/{one}")
    assert not is_same_document(one, f"{one}.pdf")
    assert not is_same_document("", one)


def test_a_set_knows_its_nouns() -> None:
    assert isinstance(of_questions("a", [FULL]), Dataset)
