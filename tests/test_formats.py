"""Foreign sets of questions: SQuAD, BEIR, lists and spreadsheets, each told from what the file holds; their texts as
files that make the library which their gold places name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import Rag
from ragapp.errors import ConfigError, ReadError
from ragapp.eval.dataset import Dataset, Gold, load, placed
from ragapp.eval.formats import FORMATS, export, read
from ragapp.eval.sources import file_names
from ragapp.eval.spreadsheets import member, values

CONTEXT = "The city has 308 bridges. It was founded in 1215.\nNobody knows why, and 308 is a guess."


def squad(*articles: dict[str, Any]) -> dict[str, Any]:
    return {"version": "v2.0", "data": list(articles)}


def article(title: str, context: str, *qas: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "paragraphs": [{"context": context, "qas": list(qas)}]}


def qa(key: str, *answers: str, **more: Any) -> dict[str, Any]:
    found = [{"text": text, "answer_start": CONTEXT.find(text)} for text in answers]
    return {"id": key, "question": f"What about {key}?", "answers": found, **more}


CITY = article("Old_City", CONTEXT, qa("q1", "308", "308 bridges"), qa("q2", is_impossible=True))


def written(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# -- SQuAD -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 2])
def test_squad_as_published(tmp_path: Path, indent: int | None) -> None:
    found = load(written(tmp_path / "city.json", json.dumps(squad(CITY), indent=indent)))
    first, second = found.questions
    assert (first.id, first.text, first.answers) == ("q1", "What about q1?", ("308", "308 bridges"))
    assert first.gold == (Gold("Old_City.txt", (), "The city has 308 bridges."),)
    assert (second.answerable, second.gold, second.where) == (False, (), ("Old_City.txt",))
    assert (found.name, found.warnings) == ("city", ())


def test_the_gold_quote_is_where_most_answers_stand() -> None:
    later = {"text": "308", "answer_start": CONTEXT.rfind("308")}
    both = {"id": "q", "question": "How many?", "answers": [{"text": "308", "answer_start": 13}, later, later]}
    assert _quotes(both) == ["Nobody knows why, and 308 is a guess."]
    assert _quotes({**both, "answers": both["answers"][::-1]}) == ["Nobody knows why, and 308 is a guess."]
    across = {"text": "bridges. It was", "answer_start": CONTEXT.find("bridges. It")}
    assert _quotes({**both, "answers": [across]}) == ["The city has 308 bridges. It was founded in 1215."]
    # An offset that is wrong does no harm; an answer that is not there has no quote.
    assert _quotes({**both, "answers": [{"text": "1215", "answer_start": 3}]}) == ["It was founded in 1215."]
    assert _quotes({**both, "answers": [{"text": "1215"}]}) == ["It was founded in 1215."]
    assert _quotes({**both, "answers": [{"text": "nowhere", "answer_start": 3}]}) == [""]


def _quotes(row: dict[str, Any]) -> list[str]:
    from ragapp.eval import squad as module

    found = module.of_published("x", squad(article("T", CONTEXT, row)))
    lost = [text for text in row["answers"] if text["text"] not in CONTEXT]
    assert len(found.warnings) == bool(lost)
    return [gold.get("quote", "") for _, each in found.rows for gold in each["gold"]]


def test_chinese_squad_has_chinese_sentences(tmp_path: Path) -> None:
    context = "这座城市有三百座桥。它建于1215年。"
    row = {"id": "z", "question": "何时建成？", "answers": [{"text": "1215年", "answer_start": 12}]}
    found = load(written(tmp_path / "zh.json", squad(article("老城", context, row))))
    assert found.questions[0].gold == (Gold("老城.txt", (), "它建于1215年。"),)


def test_squad_as_rows(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "title": "Old City", "context": CONTEXT, "question": "How many?",
         "answers": {"text": ["308"], "answer_start": [13]}},
        {"id": "b", "title": "Old City", "context": CONTEXT, "question": "Who?",
         "answers": {"text": [], "answer_start": []}},
    ]  # fmt: skip
    for name, content in (("a.jsonl", lines(*rows)), ("a.json", json.dumps(rows))):
        first, second = load(written(tmp_path / name, content)).questions
        assert first.gold == (Gold("Old City.txt", (), "The city has 308 bridges."),)
        assert not second.answerable


def test_a_question_that_is_possible_needs_no_answer(tmp_path: Path) -> None:
    possible = article("T", CONTEXT, qa("q", is_impossible=False), {"id": "r", "question": "And?"})
    found = load(written(tmp_path / "x.json", squad(possible)))
    assert [(question.answerable, question.gold) for question in found.questions] == [(True, (Gold("T.txt"),))] * 2


def test_rows_of_squad_without_their_paragraph_say_where(tmp_path: Path) -> None:
    row = {"context": "A.", "question": "A?", "answers": {"text": ["A"]}}
    with pytest.raises(ReadError, match=r'x\.jsonl:2: there is no "context"'):
        load(written(tmp_path / "x.jsonl", lines(row, {"question": "B?"})))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"data": []}, "holds no questions"),
        ({"data": [3]}, 'article 1: there is no "paragraphs"'),
        ({"data": [{"title": "a", "paragraphs": [{"context": 3}]}]}, 'article 1, paragraph 1: there is no "context"'),
        (squad(article("a", "b", 3)), "article 1, paragraph 1, question 1: this is no object"),  # type: ignore[arg-type]
        (squad(article("a", "b", {"question": "Q?", "answers": [{}]})), 'question 1: there is no "text"'),
        (squad(article("a", "b", {"question": "Q?", "answers": 3})), 'question 1: "answers" is no list'),
        (squad(article("a", "b", {"answers": []})), "question 1: there is no question"),
        (squad(article("a", "b", qa("x")), article("c", "d", qa("x"))), 'the id "x" is that of'),
        ('{"data": [\n{"title": "a",\n', r"no JSON: .* \(line 3, column 1\)"),
    ],
)
def test_broken_squad_says_where(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(ReadError, match=said):
        load(written(tmp_path / "x.json", content))


# -- lists -------------------------------------------------------------------------------------------------------------


def test_a_list_of_questions(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "Why?", "pdf": "a.pdf"}, {"question": "How?", "pdf": "a.pdf"}]
    found = load(written(tmp_path / "x.json", json.dumps(rows, indent=1)))
    assert [question.id for question in found.questions] == ["a", "2"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "holds no questions"),
        ("[3]", r"x\.json: entry 1 is no object"),
        ('[{"question": "A?"}, {"question": 3}]', r"x\.json: entry 2: the question is 3"),
        ("[" * 100_000, "nested too deeply"),
        ('["\\ud800"', r"no JSON"),
    ],
)
def test_a_broken_list_says_where(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ReadError, match=said):
        load(written(tmp_path / "x.json", content))


def test_a_file_that_is_no_utf8_says_in_which_line(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(b'[{"question":\n"\xe4?"}]')
    with pytest.raises(ReadError, match=r"x\.json:2: byte 16 of the file is no UTF-8"):
        load(file)


# -- BEIR --------------------------------------------------------------------------------------------------------------


def beir(
    folder: Path, qrels: str = "query-id\tcorpus-id\tscore\nq1\td/1\t2\nq1\td2\t1\nq2\td2\t0\n", **files: str
) -> Path:
    corpus = [
        {"_id": "d/1", "title": "One", "text": "The first.\r\nIt is."},
        {"_id": "d2", "title": "", "text": "Two."},
        {"_id": "d3", "text": " "},
    ]
    queries = [
        {"_id": "q1", "text": "First?", "metadata": {"answers": ["one"], "kind": "x"}},
        {"_id": "q2", "text": "B?"},
    ]
    written(folder / "corpus.jsonl", files.get("corpus", lines(*corpus)))
    written(folder / "queries.jsonl", files.get("queries", lines(*queries)))
    if qrels:
        written(folder / "qrels.tsv", qrels)
    return folder


def test_a_beir_folder(tmp_path: Path) -> None:
    folder = beir(tmp_path / "small")
    found = load(folder)
    (question,) = found.questions
    (first, second) = question.gold
    assert (question.id, question.text, question.answers) == ("q1", "First?", ("one",))
    assert re.fullmatch(r"d_1-\w{10}\.txt", first.document)
    assert (first.relevance, second) == (2, Gold("d2.txt"))
    assert found.name == "small"
    assert found.warnings == (
        "1 question left out: no relevant document is known.",
        'Not used, with the number of questions that have it: "kind" (1).',
    )
    assert load(folder / "queries.jsonl") == found


def test_qrels_of_a_split_and_of_trec(tmp_path: Path) -> None:
    folder = beir(tmp_path, qrels="")
    written(folder / "qrels" / "dev.tsv", "q1 0 d2 1\nq2 0 d2 1\n")
    written(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq2\td2\t1.0\n")
    assert [question.id for question in load(folder, split="dev").questions] == ["q1", "q2"]
    found = load(folder)
    assert [question.id for question in found.questions] == ["q2"]
    assert found.warnings[0] == "1 question left out: no grades in this split."
    for split in ("train", "../qrels/dev"):
        with pytest.raises(ReadError, match=f'no qrels of the split "{split}"') as caught:
            load(folder, split=split)
        assert caught.value.hint == "There is: dev, test. Name one with --split."


def test_odd_qrels_are_counted(tmp_path: Path) -> None:
    grades = "q1\td2\t1\nq1\td2\t3\nq1\td2\t2\nq1\tgone\t1\nq9\td2\t1\n"
    found = load(beir(tmp_path, qrels=grades))
    assert found.questions[0].gold == (Gold("d2.txt", relevance=3), Gold("gone.txt"))
    assert found.warnings[:4] == (
        "1 pair of question and document with different grades: the higher one counts.",
        "1 question left out: no grades in this split.",
        "1 graded question not in queries.jsonl.",
        "1 graded document not in corpus.jsonl.",
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"qrels": "a\tb\tc\nq1\td2\n"}, r"qrels\.tsv:2: this is no grade"),
        ({"qrels": "q1\td2\t1\nq1\t\t1\n"}, r"qrels\.tsv:2: this is no grade"),
        ({"qrels": "q1\td2\t1\nq1\td2\t1.5\n"}, r"qrels\.tsv:2: this is no grade"),
        ({"qrels": "a\tb\tc\n"}, "holds no questions"),
        ({"qrels": "q9\td2\t1\n"}, "holds no questions. 2 questions left out: no grades in this split."),
        ({"qrels": ""}, "has no qrels"),
        ({"corpus": lines({"_id": "a"}, {"text": "b"})}, r'corpus\.jsonl:2: there is no "_id"'),
        ({"corpus": lines({"_id": "a"}, {"_id": "a"})}, r'corpus\.jsonl:2: the id "a" is that of .*corpus\.jsonl:1'),
        ({"queries": lines({"_id": "q1", "text": 3})}, r"queries\.jsonl:1: the question is 3"),
        ({"queries": lines({"_id": "q1"})}, r"queries\.jsonl:1: there is no question"),
    ],
)
def test_broken_beir_says_where(tmp_path: Path, files: dict[str, str], said: str) -> None:
    with pytest.raises(ReadError, match=said):
        load(beir(tmp_path, **files))


# -- spreadsheets ------------------------------------------------------------------------------------------------------


def table(tmp_path: Path, content: str, name: str = "x.csv", encoding: str = "utf-8") -> Dataset:
    file = tmp_path / name
    file.write_bytes(content.encode(encoding))
    return load(file)


ENGLISH = """\
No.,Question,Answers,Document,Pages,Quote,Level
7,"Who pays, and when?",buyer; the buyer,a.pdf,2-3,"So; it is.",easy
"""
CHINESE = """\
编号,问题,标准答案,文件名,页码（从1开始）,原文,可回答
一,谁付款？什么时候？,买方；三十天内,手册.pdf,第3页,买方付款。,是
二,谁知道？,,,,,否
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_spreadsheet_in_english(tmp_path: Path, encoding: str, end: str) -> None:
    (question,) = table(tmp_path, ENGLISH.replace("\n", end), encoding=encoding).questions
    assert (question.id, question.text) == ("7", "Who pays, and when?")
    assert question.answers == ("buyer", "the buyer")
    assert question.gold == (Gold("a.pdf", (2, 3), "So; it is."),)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_a_spreadsheet_in_chinese(tmp_path: Path, encoding: str) -> None:
    found = table(tmp_path, CHINESE, encoding=encoding)
    first, second = found.questions
    assert (first.id, first.answers, first.gold) == ("一", ("买方；三十天内",), (Gold("手册.pdf", (3,), "买方付款。"),))
    assert (second.answerable, second.gold) == (False, ())
    told = ("1 file is not UTF-8 and was read as gb18030: see that its letters are right.",)
    assert found.warnings == (told if encoding == "gb18030" else ())


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_told_from_the_heads(tmp_path: Path, separator: str) -> None:
    content = separator.join(("question", "document", "page")) + "\n" + separator.join(('"A; b, c?"', "a.pdf", "1"))
    assert table(tmp_path, content).questions[0].gold == (Gold("a.pdf", (1,)),)
    assert table(tmp_path, f"sep={separator}\n{content}").questions[0].text == "A; b, c?"
    assert table(tmp_path, content, name="x.tsv").questions[0].text == "A; b, c?"


def test_a_table_is_told_from_its_heads_whatever_its_name(tmp_path: Path) -> None:
    assert table(tmp_path, "question\nWhy?\n", name="notes.txt").questions[0].text == "Why?"


def test_several_documents_have_their_own_pages(tmp_path: Path) -> None:
    heads = "question,document,page,quote\n"
    found = table(tmp_path, heads + 'Why?,a.pdf;b.pdf,"1-2,4;7",One.; Two.\nHow?,a\\;b.pdf,1;2,\nWho?,a.pdf；b.pdf,,\n')
    assert [question.gold for question in found.questions] == [
        (Gold("a.pdf", (1, 2, 4), "One."), Gold("b.pdf", (7,), "Two.")),
        (Gold("a;b.pdf", (1, 2)),),
        (Gold("a.pdf"), Gold("b.pdf")),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no questions|no column"),
        ("question,page\n", "holds no questions"),
        ("frage,seite\nWarum?,3\n", r"x\.csv:1: no column is named question; there is: frage, seite"),
        ("question,问题\nWhy?,How?\n", r'x\.csv:1: two columns mean the same as "question"'),
        ("question,page\nWhy?,1,2\n", r"x\.csv:2: there are 3 cells under 2 heads"),
        ('question,pdf,page\n"Why\n so?",a.pdf,1\n\n,a.pdf,2\n', r"x\.csv:5: there is no question"),
        ('question,pdf,page\n"Why\n so?",a.pdf,1\nHow?,a.pdf,0\n', r"x\.csv:4: there is no page 0"),
        ('question\nWhy?\n"How?\nWho?\n', r"x\.csv:3: the row is damaged: unexpected end of data"),
        ('question\n"Why?" she asked\n', r"x\.csv:2: the row is damaged"),
        (f"question\n{'a' * 200_000}\n", r"x\.csv:2: the row is damaged: field larger"),
        ("question,document,page\nWhy?,a.pdf;b.pdf,1;2;3\n", r"x\.csv:2: 2 documents, and 3 in the column of pages"),
        ("question,page\nWhy?,3\n", r"x\.csv:2: a place that answers names no document"),
        ("sep=;\nquestion;pdf\n;a\n", r"x\.csv:3: there is no question"),
    ],
)
def test_a_broken_table_says_where(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ReadError, match=said) as caught:
        table(tmp_path, content)
    assert caught.value.hint
    assert "{" not in caught.value.hint  # what to do in a spreadsheet is not said in JSON


def test_a_workbook_is_sent_back(tmp_path: Path) -> None:
    for name in ("x.xlsx", "x.csv"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and so on")
        with pytest.raises(ReadError, match="is a workbook") as caught:
            load(tmp_path / name)
        assert "CSV UTF-8" in caught.value.hint


@pytest.mark.parametrize(
    ("head", "name"),
    [("Question", "question"), (" QUESTION (en) ", "question"), ("Must contain", "must_contain"),
     ("must_contain", "must_contain"),
     ("Page-Number", "pages"), ("页码【1起】", "pages"), ("ＰＤＦ", "document"), ("Level", "Level")],
)  # fmt: skip
def test_heads_are_understood_as_people_write_them(head: str, name: str) -> None:
    assert member(head) == name


@given(st.lists(st.text(st.characters(exclude_characters="\\")).map(str.strip).filter(bool)))
def test_cells_hold_lists_of_anything(parts: list[str]) -> None:
    cell = ";".join(part.replace(";", "\\;").replace("；", "\\；") for part in parts)
    assert values(cell) == parts


# -- which format, and the texts ---------------------------------------------------------------------------------------


def test_a_format_can_be_named(tmp_path: Path) -> None:
    file = written(tmp_path / "x.dat", "question,pdf\nWhy?,a.pdf\n")
    assert read(file, format="csv").questions[0].text == "Why?"
    with pytest.raises(ReadError, match="no JSON"):
        read(file, format="jsonl")
    with pytest.raises(ConfigError, match='no format "xml"') as caught:
        read(file, format="xml")
    assert all(name in caught.value.hint for name in FORMATS)
    with pytest.raises(ReadError, match="has no qrels"):
        read(file, format="beir")
    with pytest.raises(ReadError, match='there is no "data"'):
        read(written(tmp_path / "y.json", {"a": 1}), format="squad")


def test_a_folder_of_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="not clearly a set"):
        load(tmp_path)
    for name in ("qa.jsonl", "questions.jsonl"):
        written(tmp_path / name, {"question": "Why?", "pdf": f"{name}.pdf"})
    with pytest.raises(ReadError, match="not clearly a set"):
        load(tmp_path)


@pytest.mark.parametrize("kind", ["squad", "beir"])
def test_the_texts_make_the_library_that_the_gold_names(
    in_folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGAPP_EMBEDDER_NAME", "hashing")
    other = article("O: [a]*", "Another city.\x07\ud800", qa("q3"))
    source = written(in_folder / "s.json", squad(CITY, other)) if kind == "squad" else beir(in_folder / "b")
    made = export(source, in_folder / "docs")
    assert made.dataset.questions == load(source).questions
    assert sorted(made.files) == sorted((in_folder / "docs").iterdir())
    with Rag.open(in_folder / "library") as rag:
        assert not rag.add([in_folder / "docs"]).failed
        names = [entry.document for entry in rag.documents()]
        found = placed(made.dataset, names)
        assert len(found.questions) == len(made.dataset.questions)
        assert {gold.document for question in found.questions for gold in question.gold} <= set(names)
        texts = {name: (in_folder / "docs" / name).read_text("utf-8") for name in names}
        assert all(text.replace("\n", "").isprintable() for text in texts.values())
        assert all(gold.quote in texts[gold.document] for question in found.questions for gold in question.gold)


def test_texts_are_written_once_and_nothing_is_overwritten(tmp_path: Path) -> None:
    source, folder = beir(tmp_path / "set"), tmp_path / "docs"
    made = export(source, folder)
    assert made.dataset.warnings[-1] == "1 document without text left out."
    assert [path.read_bytes() for path in made.files] == [b"One\n\nThe first.\nIt is.\n", b"Two.\n"]
    before = {path: path.stat().st_mtime_ns for path in made.files}
    assert export(source, folder).files == made.files
    assert {path: path.stat().st_mtime_ns for path in made.files} == before
    made.files[0].write_text("My own notes.", "utf-8")
    with pytest.raises(ConfigError, match="holds something else"):
        export(source, folder)
    assert made.files[0].read_text("utf-8") == "My own notes."


def test_a_set_without_texts_has_none_to_write(tmp_path: Path) -> None:
    file = written(tmp_path / "x.jsonl", {"question": "Why?", "pdf": "a.pdf"})
    with pytest.raises(ConfigError, match="holds questions and no documents"):
        export(file, tmp_path / "docs")
    assert not (tmp_path / "docs").exists()


@given(st.lists(st.text(max_size=200), unique=True))
def test_names_of_files_are_safe_different_and_always_the_same(keys: list[str]) -> None:
    names = file_names(keys)
    assert len({name.casefold() for name in names.values()}) == len(keys)
    assert file_names(reversed(keys)) == names
    for name in names.values():
        assert re.fullmatch(r"[^\W_][\w .,()+@-]*\.txt", name)
        assert len(name.encode()) <= 255


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "..", "a/b", "a\\b", "con", "NUL.x", ".hidden", "a" * 500, "", "?", "a\n"]
)
def test_names_of_files_lead_nowhere_else(key: str) -> None:
    (name,) = file_names([key]).values()
    assert "/" not in name
    assert "\\" not in name
    assert re.search(r"-\w{10}\.txt$", name)


def test_plain_keys_keep_their_names() -> None:
    keys = ["21645374", "en-00-0", "Super Bowl 50", "老城", "a.b (c)"]
    assert file_names(keys) == {key: f"{key}.txt" for key in keys}
    assert len({name.casefold() for name in file_names(["A1", "a1", "b"]).values()}) == 3
    assert file_names(["A1", "b"])["A1"] == "A1.txt"
