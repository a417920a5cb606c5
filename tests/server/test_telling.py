"""What is told of an answer: any detail becomes bounded JSON, and nothing is told twice or lost."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.server.errors import ErrorTable
from ragapp.server.markdown import render
from ragapp.server.telling import DETAIL_CHARS, TEXT_CHARS, Teller, Told, plain
from ragapp.types import Answer, Chunk, Citation, Cited, Event, Found, Passage, Rank, Step, Token, Usage, Waiting

TABLE = ErrorTable(["/home/me/my library"])
PASSAGE = Passage(Chunk(1, "d", "text", 0, 4, 2), "a.pdf", "A", 0.5, {"dense": Rank(1, 0.25)})
CITATION = Citation(1, PASSAGE, "text", "verified", 2, 0, 4)

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object())
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=30,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), NESTED, max_size=4))
def test_any_detail_is_json(detail: dict[str, Any]) -> None:
    told = plain(detail, TABLE)
    assert json.loads(json.dumps(told, allow_nan=False)) == told


@settings(max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=9), max_size=9), st.integers(1, 6000), st.integers(1, 200))
def test_details_are_bounded(path: list[str], size: int, count: int) -> None:
    detail: Any = ["x" * size] * count
    for name in path:
        detail = {name: detail}
    told = json.dumps(plain({"a": detail}, TABLE))
    assert len(told) < DETAIL_CHARS + 2 * TEXT_CHARS


def test_what_fits_is_left_as_it_is() -> None:
    detail = {"passages": 3, "queries": ["a", "b"], "by": "words", "deep": {"x": [1.5, None, True]}}
    assert plain(detail, TABLE) == detail


def test_numbers_that_json_does_not_have() -> None:
    told = plain({"a": math.inf, "b": math.nan, "c": 1 << 60, "d": -7, "e": 0.1234567891}, TABLE)
    assert told == {"a": None, "b": None, "c": str(1 << 60), "d": -7, "e": 0.123457}


def test_paths_are_cut_but_not_in_what_was_asked_or_read() -> None:
    detail = {
        "warning": "No file /home/me/my library/x and none in /srv/secret/y.",
        "queries": ["what is in /etc/hosts?"],
        "/srv/secret/z": 1,
        "cut": [{"document": "see /etc/hosts"}],
    }
    assert plain(detail, TABLE) == {
        "warning": "No file my library/x and none in y.",
        "queries": ["what is in /etc/hosts?"],
        "z": 1,
        "cut": [{"document": "see /etc/hosts"}],
    }


def all_of(events: list[Event]) -> tuple[Teller, list[Told]]:
    teller = Teller(TABLE)
    return teller, [told for event in events for told in teller.tell(event)]


@given(st.lists(st.text(st.sampled_from("ab *\n#-`|1[]"), max_size=6), max_size=12))
def test_tokens_and_blocks_spell_the_answer(texts: list[str]) -> None:
    teller, told = all_of([Token(text) for text in texts])
    text = "".join(texts)
    assert "".join(each.data["text"] for each in told if each.name == "token") == text
    html = "".join(each.data["html"] for each in told if each.name == "block")
    (done,) = teller.done(Answer(text, (), (), "stop"), None)
    assert done.data["answer"]["html"] == render(text)
    assert done.data["answer"]["html"].startswith(html)


def test_every_event_gives_a_sign_of_life() -> None:
    quiet: list[Event] = [Token(""), Waiting(0), Waiting(2), Waiting(2), Waiting(0)]
    teller = Teller(TABLE)
    signs = [teller.tell(event) for event in quiet]
    assert all(signs)
    told = [each for sign in signs for each in sign if each.name]
    assert [(each.name, each.data) for each in told] == [("waiting", {"position": 2}), ("waiting", {"position": 0})]


def test_marks_are_told_once() -> None:
    other = Citation(2, PASSAGE, "other", "not found", 2, 0, 0)
    teller, told = all_of([Cited(CITATION)])
    assert [each.data["citation"]["marker"] for each in told] == [1]
    last = teller.done(Answer("x", (CITATION, other), (PASSAGE,), "stop"), "m1")
    assert [(each.name, each.data.get("citation", {}).get("marker")) for each in last] == [("cited", 2), ("done", None)]
    assert last[-1].data["message"] == "m1"


def test_what_is_left_of_an_answer_that_is_cut_off() -> None:
    events = [Step("search", 0.5), Found((PASSAGE,)), Token("a "), Token("b"), Cited(CITATION)]
    teller, _ = all_of(events)
    left = teller.cut_off("It broke.")
    assert (left.text, left.citations, left.passages) == ("a b", (CITATION,), (PASSAGE,))
    assert (left.finish_reason, left.warnings, left.usage) == ("cancelled", ("It broke.",), Usage())
    assert [step["name"] for step in teller.steps] == ["search"]
    assert Teller(TABLE).cut_off().warnings == ()
