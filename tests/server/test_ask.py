"""/v1/ask: typed events, wishes, conversations, and clients who leave."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from typing import Any

import pytest

from tests.server import flows
from tests.server.conftest import Running, ServeWith, until
from tests.server.events import asked, events, following, named

WARRANTY = "How long does the warranty of the pump last?"


def test_an_answer_as_events(real: Running) -> None:
    got = asked(real, WARRANTY)
    names = [event.name for event in got]
    assert names[0] == "start"
    assert names[-1] == "done"
    assert names.index("found") < names.index("token") < names.index("cited")
    start = got[0].data
    assert start["id"].startswith("ask-")
    assert {key: start[key] for key in ("conversation", "question_message", "message", "flow", "answerer")} == {
        "conversation": None, "question_message": None, "message": None, "flow": "linear", "answerer": "quotes",
    }  # fmt: skip
    done = got[-1].data
    text = "".join(token["text"] for token in named(got, "token"))
    assert text == done["answer"]["answer"]
    assert "lasts 24 months" in text
    assert done["message"] is None
    assert "<p>" in done["answer"]["html"]
    assert "[1]" in done["answer"]["html"]
    cited = done["answer"]["citations"][0]
    assert (cited["document"], cited["page"], cited["state"]) == ("pump.pdf", 2, "verified")
    assert cited["document_id"]
    assert cited["start"] < cited["end"]


def test_steps_tell_when_they_ended_and_what_they_did(real: Running) -> None:
    got = asked(real, WARRANTY)
    steps = named(got, "step")
    assert {"search", "rerank", "weigh", "gather", "write"} <= {step["name"] for step in steps}
    assert steps == named(got, "done")[0]["steps"]
    ends = [step["at"] for step in steps]
    assert ends == sorted(ends)
    assert all(0 <= step["seconds"] <= step["at"] + 0.001 for step in steps)
    searched = next(step for step in steps if step["name"] == "search")
    assert searched["detail"]["queries"] == [WARRANTY]


def test_passages_carry_the_ranks_and_what_was_cut_says_why(real: Running) -> None:
    got = asked(real, WARRANTY, k=1)
    (found,) = named(got, "found")
    assert len(found["passages"]) == 1
    passage = found["passages"][0]
    assert passage["found_by"].keys() >= {"dense", "lexical"}
    assert passage["found_by"]["lexical"].keys() == {"rank", "score"}
    assert passage["document_id"]
    assert passage["boxes"] == []
    (gather,) = [step for step in named(got, "step") if step["name"] == "gather"]
    cut = gather["detail"]["cut"]
    assert {(each["document"], each["by"]) for each in cut} == {("pump.pdf", "k")}
    assert [each["place"] for each in cut] == list(range(2, len(cut) + 2))
    assert cut[0]["found_by"]


def test_a_scripted_answer_has_tokens_marks_and_blocks(serve_with: ServeWith) -> None:
    server = serve_with(chat__model="tests.server.flows:paragraphs")
    got = asked(server, WARRANTY)
    assert got[0].data["answerer"] == "tests.server.flows:paragraphs"
    assert len(named(got, "token")) > 5
    cited = [data["citation"]["marker"] for data in named(got, "cited")]
    assert cited
    blocks = named(got, "block")
    assert "<strong>24 months</strong>" in blocks[0]["html"]
    told = "".join(block["html"] for block in blocks)
    assert named(got, "done")[0]["answer"]["html"].startswith(told)
    # Behind a block comes what is in none yet, and nothing of what is.
    assert "24 months" not in blocks[0]["tail"]
    place = [event.name for event in got].index("block")
    assert any(event.name == "token" for event in got[place:])


def test_html_in_an_answer_is_text(serve_with: ServeWith) -> None:
    server = serve_with(chat__model="tests.server.flows:hostile")
    got = asked(server, WARRANTY)
    html = "".join(block["html"] for block in named(got, "block")) + got[-1].data["answer"]["html"]
    assert "<script" not in html
    assert "<img" not in html
    assert "javascript:" not in html.replace("(javascript:", "")


# -- wishes ------------------------------------------------------------------------------------------------------------


def test_wishes_reach_the_flow(playing: Running) -> None:
    history = [{"role": "user", "content": "first \ud83d"}, {"role": "assistant", "content": "second"}]
    body = json.dumps({
        "question": "third", "history": history, "seed": 5, "temperature": 0.5, "max_tokens": 7, "where": "a*",
    })  # fmt: skip
    response = playing.http.post("/v1/ask", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text
    told = json.loads(named(events(response.text), "token")[0]["text"])
    assert told["text"] == "third"
    assert [(turn["role"], turn["text"]) for turn in told["history"]] == [("user", "first ?"), ("assistant", "second")]
    assert (told["seed"], told["options"], told["where"]) == (5, {"temperature": 0.5, "max_tokens": 7}, ["a*"])


def test_a_reranker_is_asked_for_by_name(serve_with: ServeWith) -> None:
    server = serve_with(reranker__name="keep")
    passages = named(asked(server, WARRANTY, reranker="keep"), "found")[0]["passages"]
    assert not any("late" in passage["found_by"] for passage in passages)
    refused = server.http.post("/v1/ask", json={"question": WARRANTY, "reranker": "kep"})
    assert refused.status_code == 400
    assert "'keep'" in refused.json()["error"]["hint"]


@pytest.mark.parametrize(
    "wish",
    [
        {"reranker": "tests.server.flows:play"},
        {"reranker": "os:system"},
        {"flow": "tests.server.flows:play"},
        {"flow": "linea"},
        {"flow": ""},
        {"hyde": "on"},  # there is no model to imagine anything
        {"hyde": "perhaps"},
        {"k": 0},
        {"k": 1000},
        {"seed": 1 << 70},
        {"temperature": 3},
        {"history": [{"role": "tool", "content": "x"}]},
        {"history": [], "conversation": 3},
        {"question": "?!"},
        {"question": 7},
    ],
)
def test_what_cannot_be_asked_for_has_a_status(real: Running, wish: dict[str, Any]) -> None:
    refused = real.http.post("/v1/ask", json={"question": WARRANTY, **wish})
    assert refused.status_code == 400
    assert set(refused.json()["error"]) == {"message", "type", "param", "code", "hint"}


def test_an_unknown_collection_is_not_found(real: Running) -> None:
    refused = real.http.post("/v1/ask", json={"question": WARRANTY, "collection": "nowhere"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


# -- errors ------------------------------------------------------------------------------------------------------------


def test_an_error_before_the_first_event_has_a_status(playing: Running) -> None:
    refused = playing.http.post("/v1/ask", json={"question": "fails_at_once"})
    assert refused.status_code == 502
    assert "/" not in refused.json()["error"]["message"]


def test_an_error_after_the_first_event_is_an_event(playing: Running) -> None:
    got = asked(playing, "fails_late")
    assert [event.name for event in got] == ["start", "step", "token", "error"]
    assert got[-1].data["error"]["code"] == "context_length_exceeded"
    got = asked(playing, "breaks_late")
    assert got[-1].data["error"]["message"] == "Internal error."


def test_a_flow_without_an_answer_is_an_error(playing: Running) -> None:
    assert "without an answer" in asked(playing, "endless")[-1].data["error"]["message"]


def test_warnings_and_details_hold_no_paths(playing: Running) -> None:
    got = asked(playing, "chatty")
    raw = str(got)
    assert "secret" not in raw.replace("in /srv/secret/ stands", "")
    assert len(raw) < 200_000
    detail = named(got, "step")[0]["detail"]
    assert detail["warning"] == "It is in llama.bin"
    assert detail["messages"][0]["content"].startswith("in /srv/secret/ stands")  # from a document: nobody's secret
    assert detail["object"] == "object"
    assert detail["nan"] is None
    assert named(got, "done")[0]["answer"]["warnings"] == ["See x.bin.", "It is in llama.bin"]


# -- leaving -----------------------------------------------------------------------------------------------------------


def test_a_client_who_leaves_frees_seat_and_model(playing: Running) -> None:
    with playing.http.stream("POST", "/v1/ask", json={"question": "slow"}) as response:
        for event in following(response):
            if event.name == "token":
                break
        assert playing.gate.taken == 1
        left = time.monotonic()
    until(lambda: flows.CLOSED)
    assert flows.CLOSED[0][0] - left < 0.2
    until(lambda: not playing.gate.taken, 0.2)
    assert "ragapp-answer" in flows.CLOSED[0][1]


def test_tokens_come_one_after_another(playing: Running) -> None:
    came: list[float] = []
    with playing.http.stream("POST", "/v1/ask", json={"question": "slow"}) as response:
        for event in following(response):
            if event.name == "token":
                came.append(time.monotonic())
            if len(came) == 8:
                break
    gaps = sorted(later - earlier for earlier, later in pairwise(came))
    assert gaps[len(gaps) // 2] == pytest.approx(flows.GAP_S, rel=0.5)


# -- conversations -----------------------------------------------------------------------------------------------------


def talk_of(server: Running) -> tuple[Any, str]:
    talks = server.server.config.app.state.house.default.talks  # type: ignore[union-attr]
    return talks, talks.create(owner="").id


def test_question_and_answer_are_kept(real: Running) -> None:
    talks, talk = talk_of(real)
    got = asked(real, WARRANTY, conversation=talk)
    start, done = got[0].data, got[-1].data
    question, answer = talks.messages(talk, owner="")
    assert (question.id, question.role, question.text) == (start["question_message"], "user", WARRANTY)
    assert (answer.id, answer.role, answer.text) == (start["message"], "assistant", done["answer"]["answer"])
    assert done["message"] == answer.id
    assert start["conversation"] == talk
    assert answer.answer["citations"] == done["answer"]["citations"]
    assert answer.answer["steps"] == done["steps"]
    assert answer.answer["finish_reason"] == "stop"


def test_the_next_question_has_the_kept_history(playing: Running) -> None:
    talks, talk = talk_of(playing)
    asked(playing, "short", conversation=talk)
    got = asked(playing, "and then", conversation=talk)
    told = json.loads(named(got, "token")[0]["text"])
    assert [(turn["role"], turn["text"]) for turn in told["history"]] == [
        ("user", "short"), ("assistant", "one\u2028two"),
    ]  # fmt: skip
    assert told["text"] == "and then"
    assert len(talks.messages(talk, owner="")) == 4


def test_a_question_stands_for_an_earlier_one_from_when_it_can_be_asked(playing: Running) -> None:
    talks, talk = talk_of(playing)
    for question in ("short", "short", "short"):
        asked(playing, question, conversation=talk)
    before = talks.messages(talk, owner="")
    body = {"question": "and then", "conversation": talk, "replaces": before[2].id}
    for wrong, status in (({"question": "?"}, 400), ({"replaces": "nothing"}, 404), ({"conversation": None}, 400)):
        assert playing.http.post("/v1/ask", json={**body, **wrong}).status_code == status
    assert talks.messages(talk, owner="") == before
    got = asked(playing, "and then", conversation=talk, replaces=before[2].id)
    told = json.loads(named(got, "token")[0]["text"])
    assert [turn["text"] for turn in told["history"]] == [before[0].text, before[1].text]
    assert [message.text for message in talks.messages(talk, owner="")][:3] == ["short", before[1].text, "and then"]
    assert len(talks.messages(talk, owner="")) == 4


def test_the_question_is_kept_before_the_answer_begins(playing: Running) -> None:
    talks, talk = talk_of(playing)
    asking = threading.Thread(target=lambda: asked(playing, "held", conversation=talk))
    asking.start()
    until(lambda: talks.messages(talk, owner=""))
    assert [message.text for message in talks.messages(talk, owner="")] == ["held"]
    flows.RELEASE.set()
    asking.join(5)
    assert [message.text for message in talks.messages(talk, owner="")] == ["held", "free"]


def test_what_there_is_of_a_stopped_answer_is_kept(playing: Running) -> None:
    talks, talk = talk_of(playing)
    with playing.http.stream("POST", "/v1/ask", json={"question": "slow", "conversation": talk}) as response:
        texts = []
        for event in following(response):
            if event.name == "token":
                texts.append(event.data["text"])
            if len(texts) == 3:
                break
    until(lambda: len(talks.messages(talk, owner="")) == 2)
    answer = talks.messages(talk, owner="")[1]
    assert answer.text.startswith("0 1 2 ")
    assert "39" not in answer.text
    assert answer.answer["finish_reason"] == "cancelled"
    assert answer.answer["passages"][0]["document"] == "a b.pdf"
    assert [step["name"] for step in answer.answer["steps"]] == ["search"]


def test_an_answer_that_failed_is_kept_with_the_reason(playing: Running) -> None:
    talks, talk = talk_of(playing)
    asked(playing, "fails_late", conversation=talk)
    answer = talks.messages(talk, owner="")[1]
    assert (answer.text, answer.answer["finish_reason"], answer.answer["warnings"]) == ("a", "cancelled", ["Too long."])


def test_nothing_is_kept_of_a_question_that_cannot_be_asked(real: Running) -> None:
    talks, talk = talk_of(real)
    for wrong in ({"reranker": "nothing"}, {"question": "?"}, {"history": [{"role": "user", "content": "x"}]}):
        body = {"question": WARRANTY, "conversation": talk, **wrong}
        assert real.http.post("/v1/ask", json=body).status_code == 400
    assert talks.messages(talk, owner="") == []


def test_a_conversation_that_is_deleted_meanwhile_stays_deleted(playing: Running) -> None:
    talks, talk = talk_of(playing)
    got: list[Any] = []
    asking = threading.Thread(target=lambda: got.extend(asked(playing, "held", conversation=talk)))
    asking.start()
    until(lambda: talks.messages(talk, owner=""))
    talks.delete(talk, owner="")
    flows.RELEASE.set()
    asking.join(5)
    assert got[-1].name == "done"
    assert talk not in [each.id for each in talks.list(owner="")]


def test_a_conversation_of_somebody_else_does_not_exist(real: Running) -> None:
    talks, _ = talk_of(real)
    theirs = talks.create(owner="somebody").id
    refused = real.http.post("/v1/ask", json={"question": WARRANTY, "conversation": theirs})
    assert refused.status_code == 404
    assert talks.messages(theirs, owner="somebody") == []
