"""Conversations: kept, found, exported, and really deleted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ragapp.desk import DESK, Desk
from ragapp.errors import ConfigError, NotFound
from ragapp.talks import MAX_COMMENT, MAX_SETTINGS, MAX_TITLE, Talks, checked_title, folded, new_id, title_of
from ragapp.transcripts import escaped, markdown, without_tags
from tests.libraries import child_environment

ME = "key_me"
CITATION = {
    "marker": 1, "document": "manuals/a_<b>.pdf", "page": 12, "label": "", "quote": "It lasts *24* months.",
    "state": "verified", "boxes": [],
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "answer": "24 months [1].", "citations": [CITATION], "finish_reason": "stop",
    "steps": [{"name": "search", "seconds": 0.01, "at": 0.01, "detail": {"k": 8}}],
}  # fmt: skip


@pytest.fixture
def talks(tmp_path: Path) -> Iterator[Talks]:
    with closing(Desk(tmp_path)) as desk:
        yield Talks(desk)


def asked(talks: Talks, question: str, answer: str = "24 months [1].", owner: str = ME) -> str:
    """A conversation with a question and its answer."""
    key = talks.create(owner=owner).id
    talks.append(key, "user", question, owner=owner)
    talks.append(key, "assistant", answer, ANSWER, owner=owner)
    return key


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob(f"{DESK}*")))


# -- kept --------------------------------------------------------------------------------------------------------


def test_a_conversation_is_kept_whole(tmp_path: Path) -> None:
    with closing(Desk(tmp_path)) as desk:
        talks = Talks(desk)
        made = talks.create("  Warranties\n of pumps ", {"k": 3, "流程": ["linear"]}, owner=ME)
        question = talks.append(made.id, "user", "How long?", owner=ME)
        answer = talks.append(made.id, "assistant", "24 months [1].", ANSWER, owner=ME, message="0123")
        assert answer.id == "0123"
    with closing(Desk(tmp_path)) as desk:
        talks = Talks(desk)
        kept = talks.get(made.id, owner=ME)
        assert (kept.title, kept.messages, kept.settings) == ("Warranties of pumps", 2, {"k": 3, "流程": ["linear"]})
        assert kept.created == made.created <= kept.updated == answer.created
        assert list(talks.messages(made.id, owner=ME)) == [question, answer]
        assert answer.answer == ANSWER


def test_the_first_question_becomes_the_title(talks: Talks) -> None:
    key = asked(talks, "How long\n is the warranty?")
    talks.append(key, "user", "And of the fan?", owner=ME)
    assert talks.get(key, owner=ME).title == "How long is the warranty?"
    named = talks.create("Mine", owner=ME).id
    talks.append(named, "user", "How long?", owner=ME)
    assert talks.get(named, owner=ME).title == "Mine"


def test_a_title_goes_with_the_question_it_was_made_of(talks: Talks) -> None:
    key = asked(talks, "A secret question")
    talks.truncate(key, talks.messages(key, owner=ME)[0].id, owner=ME)
    assert talks.get(key, owner=ME).title == ""
    talks.append(key, "user", "Another question", owner=ME)
    assert talks.get(key, owner=ME).title == "Another question"
    talks.rename(key, "Mine", owner=ME)
    talks.truncate(key, talks.messages(key, owner=ME)[0].id, owner=ME)
    talks.append(key, "user", "A third", owner=ME)
    assert talks.get(key, owner=ME).title == "Mine"


def test_a_message_can_be_completed_later(talks: Talks) -> None:
    key = asked(talks, "How long?", "")
    last = talks.messages(key, owner=ME)[1]
    done = talks.complete(key, last.id, "In the end: Ölwechsel", ANSWER, owner=ME)
    assert (done.text, done.answer) == ("In the end: Ölwechsel", ANSWER)
    assert talks.list("ÖLWECHSEL", owner=ME)
    with pytest.raises(NotFound):
        talks.complete(key, last.id, "x", None, owner="else")


def test_what_cannot_be_stored_is_made_storable(talks: Talks) -> None:
    key = talks.create("a\ud800b\0c\u202ed", {"x\udfff": "\ud800", "n": float("nan")}, owner=ME).id
    talks.append(key, "assistant", "half \ud800 and null \0", {"score": float("inf"), "t": ("\ud800",)}, owner=ME)
    kept = talks.get(key, owner=ME)
    assert (kept.title, dict(kept.settings)) == ("a?bcd", {"x?": "?", "n": None})
    message = talks.messages(key, owner=ME)[0]
    assert (message.text, message.answer) == ("half ? and null ", {"score": None, "t": ["?"]})
    json.dumps(talks.export(key, owner=ME), allow_nan=False).encode()


@pytest.mark.parametrize("title", ["", " \n", "\u200b\u202e", "x" * (MAX_TITLE + 1)])
def test_titles_have_limits(talks: Talks, title: str) -> None:
    key = talks.create(owner=ME).id
    with pytest.raises(ConfigError):
        talks.rename(key, title, owner=ME)


def test_settings_have_limits(talks: Talks) -> None:
    key = talks.create(owner=ME).id
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"a": deep}
    for settings in ({"a": "保" * (MAX_SETTINGS // 3)}, deep):
        with pytest.raises(ConfigError):
            talks.set_settings(key, settings, owner=ME)
        with pytest.raises(ConfigError):
            talks.create("t", settings, owner=ME)
    assert talks.set_settings(key, {"a": {"b": [1]}}, owner=ME).settings == {"a": {"b": [1]}}
    assert talks.get(key, owner=ME).settings == {"a": {"b": [1]}}


# -- found -------------------------------------------------------------------------------------------------------


def test_the_one_with_the_newest_message_is_first(talks: Talks) -> None:
    first, second = asked(talks, "one"), asked(talks, "two")
    assert [talk.id for talk in talks.list(owner=ME)] == [second, first]
    talks.append(first, "user", "three", owner=ME)
    assert [talk.id for talk in talks.list(owner=ME)] == [first, second]
    talks.rename(second, "a name is no news", owner=ME)
    assert [talk.id for talk in talks.list(owner=ME, limit=1)] == [first]
    assert [talk.id for talk in talks.list(owner=ME, limit=1, offset=1)] == [second]


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ("STRASSE", True), ("straße  der", True), ("warranty", True), ("24 months", True), ("二十四", True),
        ("ｗａｒｒａｎｔｙ", True), ("保修 期", True), ("rant", True), ("%", False), ("_", False), ("fan", False),
        ("", True), ("   ", True), ("\0", True),
    ],
)  # fmt: skip
def test_titles_and_texts_are_searched(talks: Talks, sought: str, found: bool) -> None:
    key = asked(talks, "Warranty in the Straße\nder Pumpen?", "24 months. 保修期为二十四个月。")
    assert [talk.id for talk in talks.list(sought, owner=ME)] == [key] * found


def test_a_title_of_ones_own_is_searched(talks: Talks) -> None:
    key = asked(talks, "How long?")
    talks.rename(key, "Pumpen", owner=ME)
    assert [talk.id for talk in talks.list("PUMPEN", owner=ME)] == [key]


@given(st.text(min_size=1, max_size=30), st.text(max_size=10), st.text(max_size=10))
def test_folding_finds_what_stands_there(text: str, before: str, after: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert folded(text.upper()) == folded(text.upper().lower().upper())
    if text.isascii() and text.strip():
        assert folded(f"{before} {text} {after}").find(folded(text)) >= 0


@given(st.text(max_size=300))
def test_a_made_title_is_a_title(question: str) -> None:
    made = title_of(question)
    assert len(made) <= 73
    if made:
        assert checked_title(made) == made
    assert "\n" not in made


def test_a_long_question_is_cut_between_words() -> None:
    made = title_of("What happens to the warranty of a pump that was repaired twice in the same calendar year?")
    assert made == "What happens to the warranty of a pump that was repaired twice in the…"
    assert len(title_of("水泵的保修期" * 20)) == 37
    assert title_of("x" * 100) == "x" * 72 + "…"


# -- whose -------------------------------------------------------------------------------------------------------


def test_to_others_a_conversation_does_not_exist(talks: Talks) -> None:
    key = asked(talks, "How long?")
    message = talks.messages(key, owner=ME)[1].id
    for owner in ("", "key_you"):
        assert list(talks.list("How", owner=owner)) == []
        for use in (
            lambda owner=owner: talks.get(key, owner=owner),
            lambda owner=owner: talks.messages(key, owner=owner),
            lambda owner=owner: talks.rename(key, "x", owner=owner),
            lambda owner=owner: talks.set_settings(key, {}, owner=owner),
            lambda owner=owner: talks.append(key, "user", "x", owner=owner),
            lambda owner=owner: talks.complete(key, message, "x", None, owner=owner),
            lambda owner=owner: talks.truncate(key, message, owner=owner),
            lambda owner=owner: talks.rate(key, message, 1, owner=owner),
            lambda owner=owner: talks.export(key, owner=owner),
            lambda owner=owner: talks.export_markdown(key, owner=owner),
            lambda owner=owner: talks.delete(key, owner=owner),
        ):
            with pytest.raises(NotFound):
                use()
    assert talks.get(key, owner=ME).messages == 2
    assert talks.messages(key, owner=ME)[1].text == "24 months [1]."


def test_a_message_belongs_to_its_conversation(talks: Talks) -> None:
    one, two = asked(talks, "one"), asked(talks, "two")
    message = talks.messages(one, owner=ME)[0].id
    with pytest.raises(NotFound):
        talks.truncate(two, message, owner=ME)
    with pytest.raises(NotFound):
        talks.rate(two, message, 1, owner=ME)
    assert talks.get(one, owner=ME).messages == 2


# -- thought of, and cut short -----------------------------------------------------------------------------------


def test_feedback_is_kept_and_taken_back(talks: Talks) -> None:
    key = asked(talks, "How long?")
    message = talks.messages(key, owner=ME)[1].id
    given = talks.rate(key, message, -1, " wrong\npage ", owner=ME).feedback
    assert given is not None
    assert (given.rating, given.comment) == (-1, "wrong\npage")
    assert talks.messages(key, owner=ME)[1].feedback == given
    assert talks.rate(key, message, 0, "just a note", owner=ME).feedback is not None
    assert talks.rate(key, message, 0, owner=ME).feedback is None
    for rating, comment in ((2, ""), (1, "x" * (MAX_COMMENT + 1))):
        with pytest.raises(ConfigError):
            talks.rate(key, message, rating, comment, owner=ME)


def test_a_message_goes_with_all_after_it(talks: Talks) -> None:
    key = asked(talks, "one")
    again = talks.append(key, "user", "two", owner=ME)
    talks.append(key, "assistant", "three", ANSWER, owner=ME)
    assert talks.truncate(key, again.id, owner=ME) == 2
    assert [message.text for message in talks.messages(key, owner=ME)] == ["one", "24 months [1]."]
    talks.append(key, "user", "four", owner=ME)
    assert [message.text for message in talks.messages(key, owner=ME)][2:] == ["four"]


# -- gone --------------------------------------------------------------------------------------------------------


def test_of_a_deleted_conversation_no_byte_is_left(talks: Talks, tmp_path: Path) -> None:
    kept = [asked(talks, f"kept question {number} " + "words " * 50) for number in range(20)]
    gone = [asked(talks, f"SECRET-{number}! " + "more " * 200, f"geheim {number}") for number in range(40)]
    for key in gone:
        talks.rename(key, "vertraulich", owner=ME)
        talks.rate(key, talks.messages(key, owner=ME)[1].id, 1, "unheimlich gut", owner=ME)
        talks.set_settings(key, {"who": "niemand"}, owner=ME)
    traces = (b"SECRET-", b"secret-", b"geheim", b"vertraulich", b"unheimlich", b"niemand", *map(str.encode, gone))
    before = bytes_of(tmp_path)
    assert all(trace in before for trace in traces)
    for key in gone:
        talks.delete(key, owner=ME)
    after = bytes_of(tmp_path)
    assert [trace for trace in traces if trace in after] == []
    assert all(key.encode() in after for key in kept)
    assert len(talks.list(owner=ME)) == 20
    assert talks.get(kept[0], owner=ME).messages == 2


def test_of_a_cut_message_no_byte_is_left(talks: Talks, tmp_path: Path) -> None:
    key = asked(talks, "SECRET question", "SECRET answer")
    assert b"SECRET" in bytes_of(tmp_path)
    talks.truncate(key, talks.messages(key, owner=ME)[0].id, owner=ME)
    assert b"secret" not in bytes_of(tmp_path).lower()


def test_deleting_twice_says_so(talks: Talks) -> None:
    key = asked(talks, "one")
    talks.delete(key, owner=ME)
    for use in (talks.delete, talks.get, talks.messages):
        with pytest.raises(NotFound):
            use(key, owner=ME)


# -- by many -----------------------------------------------------------------------------------------------------


def test_threads_and_another_process_write_one_conversation(talks: Talks, tmp_path: Path) -> None:
    key = talks.create(owner=ME).id
    program = (
        "import sys\nfrom pathlib import Path\nfrom ragapp.desk import Desk\nfrom ragapp.talks import Talks\n"
        "talks = Talks(Desk(Path(sys.argv[1])))\n"
        "for n in range(25):\n    talks.append(sys.argv[2], 'user', f'p-{n}', owner='key_me')\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, tmp_path, key], env=child_environment())
    failed: list[BaseException] = []

    def write(name: int) -> None:
        try:
            for number in range(25):
                talks.append(key, "user", f"{name}-{number}", owner=ME)
                talks.list("-", owner=ME)
        except Exception as error:  # noqa: BLE001 - it is told below
            failed.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait(30) == 0
    assert failed == []
    texts = [message.text for message in talks.messages(key, owner=ME)]
    assert sorted(texts) == sorted(f"{name}-{number}" for name in (0, 1, 2, 3, "p") for number in range(25))
    for name in (0, 1, 2, 3, "p"):  # each writer's own are in order
        assert [text for text in texts if text.startswith(f"{name}-")] == [f"{name}-{n}" for n in range(25)]


def test_ids_are_not_to_be_guessed() -> None:
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch("[0-9a-f]{24}", key) for key in made)


# -- exported ----------------------------------------------------------------------------------------------------


def test_an_export_holds_all_of_it(talks: Talks) -> None:
    key = asked(talks, "How long?")
    exported = json.loads(json.dumps(talks.export(key, owner=ME)))
    assert (exported["format"], exported["version"], exported["title"]) == ("ragapp-conversation", 1, "How long?")
    assert [message["role"] for message in exported["messages"]] == ["user", "assistant"]
    assert exported["messages"][1]["answer"] == ANSWER


def test_a_transcript_names_the_sources(talks: Talks) -> None:
    text = talks.export_markdown(asked(talks, "How long?"), owner=ME)
    assert text.startswith("# How long?\n\n*2")
    assert "## Question\n\n> How long?\n\n## Answer\n\n24 months [1].\n\n### Sources\n\n" in text
    assert r"- \[1\] manuals/a\_\<b\>.pdf, page 12 (verified): “It lasts \*24\* months.”" in text
    assert "stopped" not in text


def test_a_transcript_is_in_the_language_of_the_question(talks: Talks) -> None:
    text = talks.export_markdown(asked(talks, "保修期多长？"), owner=ME)
    assert "## 问题\n\n> 保修期多长？" in text
    assert r"manuals/a\_\<b\>.pdf，第 12 页 (已核实)" in text


def test_a_transcript_says_where_an_answer_was_stopped(talks: Talks) -> None:
    key = talks.create(owner=ME).id
    talks.append(key, "user", "How long?", owner=ME)
    talks.append(key, "assistant", "24 mon", {**ANSWER, "finish_reason": "cancelled", "citations": []}, owner=ME)
    assert "24 mon\n\n(This answer was stopped.)" in talks.export_markdown(key, owner=ME)
    assert "Sources" not in talks.export_markdown(key, owner=ME)


def test_code_in_an_answer_stays_code() -> None:
    code = "Like this:\n\n```html\n<b>bold</b>\n```\n\nand <b>no more</b>"
    assert without_tags(code) == code.replace("<b>no more</b>", "\\<b>no more\\</b>")
    assert without_tags("```\n<b>") == "```\n<b>\n```"
    assert without_tags("a\u2028b\x85c\x0bd") == "a\u2028b\x85c\x0bd"


HOSTILE = st.text(st.sampled_from("`~<>b/!- \n\r\t\u2028\u00a0\\[](x:)\"'&>1.#*=") | st.characters(), max_size=60)


def _has_html(text: str) -> bool:
    """Whether Markdown with HTML allowed would make an element that we did not write."""
    parsed = MarkdownIt("commonmark", {"html": True}).parse(text)
    inner = [child for token in parsed for child in token.children or ()]
    return any(token.type in ("html_block", "html_inline") for token in [*parsed, *inner])


@given(HOSTILE)
def test_no_answer_begins_an_element(text: str) -> None:
    assert not _has_html(without_tags(text))
    assert not _has_html(without_tags(text) + "\n\n### Sources\n\n<safe")


@pytest.mark.parametrize(
    "text",
    [
        "- ```\n  ```\n<script>alert(1)</script>", "   ```\n```\n<script>x</script>", "> ```\n<script>x</script>",
        "```\u00a0\nx\n```\u00a0\n<script>x</script>\n```", "```\u2028```\n<b>", "``` a`\n<script>x</script>",
        "```\nx\n```\u00a0\n```\n<script>x</script>", "```\nx\u2028```\n```\n<script>x</script>",
        "~~~\n```\n~~~\n<script>x</script>", "`a\n`<script>x</script>`", "<!-- -->", "<?php ?>", "<![CDATA[x]]>",
    ],
)  # fmt: skip
def test_hostile_answers_begin_no_element(text: str) -> None:
    assert not _has_html(without_tags(text))


@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_name_title_or_quote_begins_anything(title: str, document: str, quote: str) -> None:
    citation = {**CITATION, "document": document, "quote": quote}
    answer = {"id": "m", "role": "assistant", "text": "24.", "created": "t", "answer": {"citations": [citation]}}
    question = {"id": "q", "role": "user", "text": quote, "created": "t", "answer": None}
    made = markdown({"title": title, "created": "2026", "messages": [question, answer]})
    assert not _has_html(made)
    parsed = MarkdownIt("commonmark", {"html": True}).parse(made)
    assert [token.markup for token in parsed if token.type == "heading_open"] == ["#", "##", "##", "###"]
    inner = [child.type for token in parsed for child in token.children or ()]
    assert "link_open" not in inner
    assert "image" not in inner
    assert "code_inline" not in inner


@pytest.mark.parametrize("text", ["1. one", "- a", "+ a", "# h", "> q", "a_b*c", "```", "===", "---", "|a|b|", "&lt;"])
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    made = MarkdownIt("commonmark").render(escaped(text))
    assert made == f"<p>{text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}</p>\n"
