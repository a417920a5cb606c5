"""Rerankers: late interaction, a CrossEncoder made on the spot, LangChain compressors, and the time limit."""

from __future__ import annotations

import itertools
import math
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as LCDocument

from ragapp.bridge import CompressorReranker, from_langchain
from ragapp.config import load
from ragapp.errors import ConfigError, ModelError, QuestionError
from ragapp.parts import reranker_of
from ragapp.rerankers import (
    CrossEncoderReranker,
    KeepOrder,
    LateInteraction,
    Limited,
    Timed,
    batches,
    check_cross_encoder,
    in_turns,
    max_sim,
)
from ragapp.retrievers import SAME_PAGE
from ragapp.testing import HashingEmbedder
from ragapp.types import Chunk, Passage, Rank
from tests import tiny_encoder

TEXTS = ("Boats float on water", "Apples are red and round", "A lighthouse stands on the rock by the sea", "红苹果")


def passages(texts: Sequence[str] = TEXTS, header: str = "") -> list[Passage]:
    """One a text, of one document, the first the best."""
    found = []
    at = 0
    for place, text in enumerate(texts, 1):
        chunk = Chunk(place, "d", text, at, at + len(text), place, (), header)
        at += len(text) + 1
        found.append(Passage(chunk, "fruit.pdf", "Fruit", 1 / place, {"dense": Rank(place, 1 / place)}))
    return found


class Letters:
    """A token a word; its vector is the word's own. Notes how many texts were embedded together."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls: list[int] = []
        self.embedder = HashingEmbedder(64)

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        return self.embedder.spans(text)

    def embed_tokens(self, texts: Sequence[str]) -> list[Any]:
        self.calls.append(len(texts))
        time.sleep(self.seconds)
        return [np.asarray(self.embedder.embed_documents(text.lower().split())).reshape(-1, 64) for text in texts]


# -- late interaction --------------------------------------------------------------------------------------------------


def test_late_interaction_reorders_and_keeps_its_scores_beside_the_others() -> None:
    first, *rest = LateInteraction(Letters(), weight=0.8).rerank("red apples", passages())
    assert first.chunk.text == TEXTS[1]
    assert first.found_by["late"] == Rank(1, pytest.approx(1.0))
    assert first.found_by["dense"] == Rank(2, 0.5)
    assert first.score == pytest.approx(0.8 + 0.2 * (1 / 2 - 1 / 4) / (1 - 1 / 4))
    scores = [first.score, *(p.score for p in rest)]
    assert scores == sorted(scores, reverse=True)
    assert LateInteraction(Letters()).rerank("red", []) == []


def test_late_interaction_reads_the_header_line_too() -> None:
    given = passages(["They are round", "They float"])
    given[1] = replace(given[1], chunk=replace(given[1].chunk, header="Boats › red ones"))
    best, other = LateInteraction(Letters(), weight=1.0).rerank("red boats", given)
    assert best.chunk.text == "They float"
    assert (best.score, other.score) == (1.0, 0.0)
    asked = max_sim(Letters(), "red boats", ["Boats › red ones\nThey float"])[0]
    assert best.found_by["late"].score == pytest.approx(asked)


def test_late_interaction_weighs_less_than_the_search() -> None:
    # MaxSim and search could not be further apart: with the usual share the search wins, with half it is a draw.
    given = passages(["boats", "red"])
    assert [p.score for p in LateInteraction(Letters()).rerank("red", given)] == pytest.approx([0.6, 0.4])
    assert LateInteraction(Letters()).rerank("red", given)[0].chunk.text == "boats"
    assert LateInteraction(Letters(), weight=0.6).rerank("red", given)[0].chunk.text == "red"


def on_pages(*pages: int) -> list[Passage]:
    return [
        replace(p, chunk=replace(p.chunk, page=n)) for p, n in zip(passages(TEXTS[: len(pages)]), pages, strict=True)
    ]


def test_pages_take_turns_after_the_sum() -> None:
    given = [replace(p, score=s) for p, s in zip(on_pages(1, 1, 2, 1), (1.0, 0.9, 0.7, 0.0), strict=True)]
    late = LateInteraction(Letters(), weight=0.0001, same_page=0.7)
    found = late.rerank("nothing", given)
    assert [p.chunk.page for p in found] == [1, 2, 1, 1]
    assert [p.score for p in found] == pytest.approx([1, 0.7, 0.9 * 0.7, 0], abs=0.001)
    alone = LateInteraction(Letters(), weight=0.0001).rerank("nothing", given)
    assert [p.score for p in alone] == pytest.approx([1, 0.9, 0.7, 0], abs=0.001)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 3)), min_size=1, max_size=12), st.floats(0.1, 1))
def test_turns_keep_the_order_within_a_page(rows: list[tuple[float, int]], share: float) -> None:
    given = [
        replace(p, chunk=replace(p.chunk, page=page)) for p, (_, page) in zip(passages("x" * 12), rows, strict=False)
    ]
    totals = np.array([total for total, _ in rows])
    result = in_turns(totals, given, share)
    assert (result <= totals).all()
    for page in (1, 2, 3):
        mine = [i for i, (_, n) in enumerate(rows) if n == page]
        order = sorted(mine, key=lambda i: (-totals[i], i))
        assert result[order].tolist() == pytest.approx([totals[i] * share**n for n, i in enumerate(order)])
        assert [result[i] for i in order] == sorted((result[i] for i in mine), reverse=True)


def test_other_documents_have_pages_of_their_own() -> None:
    given = on_pages(1, 1)
    given[1] = replace(given[1], chunk=replace(given[1].chunk, document_id="e"))
    assert in_turns(np.array([1.0, 0.5]), given, 0.7).tolist() == [1.0, 0.5]


@pytest.mark.parametrize("wanted", [2, 3, 4])
def test_what_is_not_read_follows_as_it_was(wanted: int) -> None:
    embedder = Letters()
    late = LateInteraction(embedder, weight=0.8, candidates=2)
    found = late.rerank("red apples", passages()[:wanted])
    assert [p.chunk.text for p in found] == [TEXTS[1], TEXTS[0], *TEXTS[2:wanted]]
    assert ["late" in p.found_by for p in found] == [True, True, False, False][:wanted]
    scores = [p.score for p in found]
    assert scores == sorted(scores, reverse=True)
    assert sum(embedder.calls) == 1 + 2
    assert found[:2] == late.rerank("red apples", passages()[:2])


def test_what_is_not_read_keeps_a_score_that_fits() -> None:
    given = [replace(p, score=s) for p, s in zip(passages(), (0.9, 0.8, 0.7, 0.1), strict=True)]
    found = LateInteraction(Letters(), candidates=1).rerank("red apples", given)
    assert [p.score for p in found] == [1.0, 0.8, 0.7, 0.1]


def test_questions_that_the_model_cannot_read_keep_their_order() -> None:
    embedder = Letters()
    assert LateInteraction(embedder).rerank("红苹果", passages()) == passages()
    assert embedder.calls == []
    first, *_ = LateInteraction(embedder, weight_cjk=0.9).rerank("红苹果", passages())
    assert first.chunk.text == "红苹果"
    assert LateInteraction(embedder, weight=0).rerank("red", passages()) == passages()


@pytest.mark.parametrize("batch", [1, 2, 3, 50])
def test_max_sim_does_not_depend_on_the_batch(batch: int) -> None:
    embedder = Letters()
    alone = [max_sim(embedder, "red apples", [text])[0] for text in TEXTS]
    embedder.calls.clear()
    assert max_sim(embedder, "red apples", TEXTS, batch).tolist() == pytest.approx(alone)
    assert max(embedder.calls) <= batch


def test_max_sim_of_nothing_is_nothing() -> None:
    assert max_sim(Letters(), "", TEXTS).tolist() == [0] * len(TEXTS)
    assert max_sim(Letters(), "red", ["", "red"]).tolist() == pytest.approx([0, 1])


def test_late_interaction_stops_between_batches() -> None:
    embedder = Letters(seconds=0.05)
    late = LateInteraction(embedder, batch=1)
    with pytest.raises(TimeoutError):
        late.rerank_until("red", passages(), time.monotonic() + 0.12)
    assert len(embedder.calls) < 1 + len(TEXTS)


@given(st.lists(st.text(max_size=9), max_size=30), st.integers(1, 9))
def test_batches_hold_every_text_once_longest_first(texts: list[str], size: int) -> None:
    found = list(batches(texts, size))
    flat = list(itertools.chain.from_iterable(found))
    assert sorted(flat) == list(range(len(texts)))
    assert all(len(part) == size for part in found[:-1])
    assert [len(texts[i]) for i in flat] == sorted((len(text) for text in texts), reverse=True)


# -- what the settings name --------------------------------------------------------------------------------------------


def test_the_usual_reranker_is_late_interaction_as_it_was_measured() -> None:
    made = reranker_of(load(env={}), Letters())
    assert isinstance(made, Limited)
    assert isinstance(made.reranker, LateInteraction)
    late = made.reranker
    assert (late.weight, late.weight_cjk, late.candidates, late.same_page) == (0.4, 0, 20, SAME_PAGE)
    assert late == LateInteraction(late.embedder, same_page=SAME_PAGE)


def test_keys_of_the_settings_reach_it() -> None:
    table = {"reranker.weight": 0.25, "reranker.candidates": 7, "reranker.same_page": 1.0, "reranker.seconds": 2}
    made = reranker_of(load(table, env={}), Letters())
    assert isinstance(made, Limited)
    assert (made.seconds, made.reranker) == (2, LateInteraction(made.reranker.embedder, 0.25, candidates=7))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="does not take these settings"):
        reranker_of(load({"reranker.wait": 1}, env={}), Letters())


def test_without_token_vectors_the_order_stays_unless_they_are_asked_for() -> None:
    assert isinstance(reranker_of(load(env={}), HashingEmbedder(64)), KeepOrder)
    assert isinstance(reranker_of(load({"reranker.name": "keep"}, env={}), Letters()), KeepOrder)
    with pytest.raises(ConfigError, match="gives no token vectors"):
        reranker_of(load({"reranker.name": "late"}, env={}), HashingEmbedder(64))


# -- a CrossEncoder ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.make(tmp_path_factory.mktemp("models") / "cross")


def reference(folder: Path, pairs: list[tuple[str, str]]) -> list[float]:
    """What the network itself gives, asked without sentence-transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    inputs = tokenizer([q for q, _ in pairs], [p for _, p in pairs], padding=True, return_tensors="pt")
    with torch.inference_mode():
        scores: list[float] = torch.sigmoid(network(**inputs).logits[:, 0]).tolist()
    return scores


@pytest.mark.parametrize("header", ["", "Fruit › Apples"])
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_a_cross_encoder_orders_by_its_own_scores(encoder: Path, batch: int, header: str) -> None:
    reranker = CrossEncoderReranker(str(encoder), batch)
    found = reranker.rerank("red apples", passages(header=header))
    texts = [f"{header}\n{text}" if header else text for text in TEXTS]
    expected = dict(zip(TEXTS, reference(encoder, [("red apples", text) for text in texts]), strict=True))
    assert {p.chunk.text: p.score for p in found} == pytest.approx(expected, abs=1e-5)
    assert [p.chunk.text for p in found] == sorted(TEXTS, key=lambda text: -expected[text])
    assert [p.found_by["cross-encoder"].rank for p in found] == [1, 2, 3, 4]
    assert all(p.found_by["cross-encoder"].score == p.score and "dense" in p.found_by for p in found)
    assert reranker.rerank("red apples", []) == []


def test_a_text_longer_than_the_model_reads_is_no_accident(encoder: Path) -> None:
    (found,) = CrossEncoderReranker(str(encoder)).rerank("red", passages(["apple " * 500]))
    assert 0 < found.score < 1


def test_threads_share_a_cross_encoder(encoder: Path) -> None:
    reranker = CrossEncoderReranker(str(encoder), 2)
    expected = reranker.rerank("red apples", passages())
    results: list[list[Passage]] = []
    fresh = CrossEncoderReranker(str(encoder), 2)
    threads = [
        threading.Thread(target=lambda: results.append(fresh.rerank("red apples", passages()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_a_cross_encoder_stops_between_batches(encoder: Path) -> None:
    reranker = CrossEncoderReranker(str(encoder), 1)
    reranker.warm()
    network = Slow(reranker._loaded)
    reranker._loaded = network
    with pytest.raises(TimeoutError):
        reranker.rerank_until("red", passages(), time.monotonic() + 0.07)
    assert 0 < network.calls < len(TEXTS)
    with reranker._lock, pytest.raises(TimeoutError):
        reranker.rerank_until("red", passages(), time.monotonic() + 0.02)


class Slow:
    """A loaded model that takes 50 ms a batch."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.calls = 0

    def predict(self, pairs: Any, **rest: Any) -> Any:
        self.calls += 1
        time.sleep(0.05)
        return self.model.predict(pairs, **rest)


def broken(name: str, encoder: Path, folder: Path) -> Path:
    """A folder with one thing wrong."""
    if name == "embeds":
        return tiny_encoder.make(folder, head=False)
    if name == "empty":
        folder.mkdir()
        return folder
    shutil.copytree(encoder, folder)
    if name == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif name == "short":
        with (folder / "model.safetensors").open("r+b") as file:
            file.truncate(3000)
    elif name == "mute":
        for file in folder.glob("tokenizer*"):
            file.unlink()
    elif name == "torn":
        (folder / "config.json").write_text("{")
    return folder


@pytest.mark.parametrize("name", ["embeds", "empty", "pickle", "short", "mute", "torn"])
def test_a_folder_without_a_cross_encoder_is_refused_at_once(name: str, encoder: Path, tmp_path: Path) -> None:
    folder = broken(name, encoder, tmp_path / name)
    with pytest.raises(ModelError) as caught:
        CrossEncoderReranker(str(folder))
    assert str(folder) in caught.value.message
    assert caught.value.hint


def test_what_sentence_transformers_saved_is_taken(encoder: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(encoder)).save_pretrained(str(tmp_path / "saved"))
    check_cross_encoder(tmp_path / "saved")
    one, other = (
        CrossEncoderReranker(str(folder)).rerank("red", passages()) for folder in (encoder, tmp_path / "saved")
    )
    assert one == other


@pytest.mark.parametrize("name", ["", "nowhere", "/no/such/folder", "./nowhere", "~/nowhere", "a/b/c", __file__])
def test_a_name_that_can_be_no_model(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CrossEncoderReranker(name)
    assert "neither a folder" in caught.value.message


def test_a_batch_of_nothing() -> None:
    with pytest.raises(ConfigError):
        CrossEncoderReranker("org/name", batch=0)


def test_a_hub_id_is_not_asked_for_before_the_first_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("_RAGAPP_TOOK_HUB_OFFLINE", raising=False)
    reranker = CrossEncoderReranker("nobody/no-such-model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        reranker.rerank("red", passages())
    assert "nobody/no-such-model" in caught.value.message
    assert "HF_HUB_OFFLINE" in caught.value.hint


def test_a_classifier_is_no_reranker(tmp_path: Path) -> None:
    folder = tiny_encoder.make(tmp_path / "classes", labels=3)
    with pytest.raises(ModelError, match="3 classes"):
        CrossEncoderReranker(str(folder)).warm()


def test_a_device_that_is_not_there(encoder: Path) -> None:
    with pytest.raises(ModelError) as caught:
        CrossEncoderReranker(str(encoder), device="no-device").rerank("red", passages())
    assert "cannot be loaded" in caught.value.message


@pytest.mark.parametrize("scores", [[math.nan] * 4, [[1.0, 2.0]] * 4, [1.0]])
def test_scores_that_say_nothing_are_an_error(encoder: Path, scores: list[Any]) -> None:
    class Strange:
        def predict(self, pairs: Any, **rest: Any) -> Any:
            return scores

    reranker = CrossEncoderReranker(str(encoder))
    reranker._loaded = Strange()
    with pytest.raises(ModelError, match="one number"):
        reranker.rerank("red", passages())


def test_a_failure_inside_names_the_model(encoder: Path) -> None:
    class Failing:
        def predict(self, pairs: Any, **rest: Any) -> Any:
            raise RuntimeError("CUDA out of memory\nand more")

    reranker = CrossEncoderReranker(str(encoder))
    reranker._loaded = Failing()
    with pytest.raises(ModelError) as caught:
        reranker.rerank("red", passages())
    assert str(encoder) in caught.value.message
    assert "CUDA out of memory" in caught.value.message
    assert "and more" not in caught.value.message
    assert not reranker._lock.locked()


# -- LangChain compressors ---------------------------------------------------------------------------------------------


class Compressor(BaseDocumentCompressor):
    """Does what its function says."""

    work: Callable[[Sequence[LCDocument], str], Sequence[LCDocument]]

    def compress_documents(
        self, documents: Sequence[LCDocument], query: str, callbacks: Any = None
    ) -> Sequence[LCDocument]:
        return self.work(documents, query)


def compressed(work: Callable[[Sequence[LCDocument], str], Any], question: str = "red") -> list[Passage]:
    found: list[Passage] = CompressorReranker(Compressor(work=work)).rerank(question, passages())
    return found


def with_score(document: LCDocument, score: Any) -> LCDocument:
    return LCDocument(page_content=document.page_content, metadata={**document.metadata, "relevance_score": score})


def test_a_compressor_gives_order_drops_and_scores() -> None:
    found = compressed(lambda docs, _: [with_score(docs[2], np.float32(0.75)), with_score(docs[0], 0.5)])
    assert [p.chunk.text for p in found] == [TEXTS[2], TEXTS[0]]
    assert [p.score for p in found] == [0.75, 0.5]
    assert found[0].found_by == {"dense": Rank(3, 1 / 3), "compressor": Rank(1, 0.75)}


@pytest.mark.parametrize("score", [None, "much", math.nan, math.inf])
def test_without_scores_the_place_counts(score: Any) -> None:
    found = compressed(lambda docs, _: [with_score(docs[1], 3.0), with_score(docs[3], score), with_score(docs[0], 1)])
    assert [p.chunk.text for p in found] == [TEXTS[1], TEXTS[3], TEXTS[0]]
    assert [p.score for p in found] == [1, 1 / 2, 1 / 3]
    assert [p.found_by["compressor"].rank for p in found] == [1, 2, 3]


def test_a_compressor_sees_question_text_and_place() -> None:
    seen: list[Any] = []

    def look(documents: Sequence[LCDocument], query: str) -> Sequence[LCDocument]:
        seen.extend([query, documents[1].page_content, documents[1].metadata])
        return []

    assert compressed(look, "red apples") == []
    question, text, metadata = seen
    assert (question, text) == ("red apples", TEXTS[1])
    assert (metadata["document"], metadata["page"], metadata["title"]) == ("fruit.pdf", 2, "Fruit")


def test_shortened_split_and_unmarked_documents_stand_for_their_passage() -> None:
    def work(documents: Sequence[LCDocument], _: str) -> Sequence[LCDocument]:
        return [
            LCDocument(page_content="Apples", metadata=documents[1].metadata),
            LCDocument(page_content="red", metadata=documents[1].metadata),
            LCDocument(page_content=TEXTS[3]),
        ]

    assert [p.chunk.text for p in compressed(work)] == [TEXTS[1], TEXTS[3]]
    (split,) = compressed(lambda docs, _: [with_score(docs[1], 3.0), with_score(docs[1], 1.0)])
    assert split.score == 3.0


@pytest.mark.parametrize("metadata", [{}, {"place": 77}, {"place": -1}, {"place": "1"}])
def test_a_text_that_was_not_given_is_an_error(metadata: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="Compressor gave back a text"):
        compressed(lambda docs, _: [LCDocument(page_content="new", metadata=metadata)])


def test_a_compressor_that_fails_is_named() -> None:
    def fail(documents: Sequence[LCDocument], _: str) -> Sequence[LCDocument]:
        raise ConnectionError("no route\nto host")

    with pytest.raises(ModelError, match="The compressor Compressor failed: no route") as caught:
        compressed(fail)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert CompressorReranker(Compressor(work=fail)).rerank("red", []) == []


def test_a_compressor_is_wrapped_as_it_is() -> None:
    wrapped = from_langchain(Compressor(work=lambda docs, _: docs[:1]))
    assert [p.chunk.text for p in wrapped.rerank("red", passages())] == [TEXTS[0]]


# -- the limit ---------------------------------------------------------------------------------------------------------


class Backwards:
    """A reranker that knows nothing of clocks; waits until it may go on, where it is given an event."""

    def __init__(self, wait: threading.Event | None = None, error: Exception | None = None, result: Any = None) -> None:
        self.wait = wait
        self.error = error
        self.result = result
        self.calls = 0

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        self.calls += 1
        if self.wait is not None:
            assert self.wait.wait(20)
        if self.error is not None:
            raise self.error
        return list(reversed(passages)) if self.result is None else self.result


def test_in_time_the_new_order_counts() -> None:
    for reranker in (Backwards(), LateInteraction(Letters())):
        given = passages()
        noted = Limited(reranker, 20).rerank_noted("red apples", given)
        assert list(noted.passages) == reranker.rerank("red apples", given)
        assert noted.warning == ""
    assert Limited(Backwards(), 20).rerank("red", passages()) == passages()[::-1]


def test_ours_looks_at_the_clock_itself_and_the_order_stays() -> None:
    embedder = Letters(seconds=0.05)
    noted = Limited(LateInteraction(embedder, batch=1), 0.08).rerank_noted("red", passages())
    assert list(noted.passages) == passages()
    assert noted.warning == (
        "The reranker LateInteraction did not finish in 0.08 s. The passages stand in the order of the search."
    )
    assert len(embedder.calls) < 1 + len(TEXTS)


def test_a_slow_stranger_is_left_alone_and_only_one() -> None:
    go_on = threading.Event()
    slow = Backwards(go_on)
    limited = Limited(slow, 0.05)
    before = threading.active_count()
    try:
        first = limited.rerank_noted("red", passages())
        started = time.monotonic()
        limited.seconds = 20.0
        second = limited.rerank_noted("red", passages())
        assert time.monotonic() - started < 10
        assert (slow.calls, threading.active_count()) == (1, before + 1)
    finally:
        go_on.set()
    assert "did not finish in 0.05 s" in first.warning
    assert "still busy" in second.warning
    assert list(first.passages) == list(second.passages) == passages()
    # As soon as it has ended, the next question is served again.
    for _ in range(1000):
        third = limited.rerank_noted("red", passages())
        if not third.warning:
            break
        time.sleep(0.005)
    assert list(third.passages) == passages()[::-1]


def test_a_question_waits_for_one_that_is_served_in_time() -> None:
    go_on = threading.Event()
    limited = Limited(Backwards(go_on), 20)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(limited.rerank_noted("red", passages()))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    go_on.set()
    for thread in threads:
        thread.join()
    assert [noted.warning for noted in results] == [""] * 3
    assert all(list(noted.passages) == passages()[::-1] for noted in results)


@pytest.mark.parametrize("error", [ModelError("The compressor X failed: boom."), ValueError("boom"), KeyError()])
def test_a_failing_reranker_costs_its_order_only(error: Exception) -> None:
    limited = Limited(Backwards(error=error), 20)
    for _ in range(2):
        noted = limited.rerank_noted("red", passages())
        assert list(noted.passages) == passages()
        assert noted.warning.endswith(". The passages stand in the order of the search.")
        assert "boom" in noted.warning or "KeyError" in noted.warning


@pytest.mark.parametrize("error", [QuestionError("Too long."), ConfigError("No such thing.")])
def test_wrong_questions_and_settings_still_raise(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        Limited(Backwards(error=error), 20).rerank("red", passages())


@pytest.mark.parametrize(
    "result", [[], passages()[1:3], [passages()[0], passages(["new text"])[0]], [passages()[0]] * 2, ["text"], 5]
)
def test_a_stranger_may_drop_and_not_add(result: Any) -> None:
    noted = Limited(Backwards(result=result), 20).rerank_noted("red", passages())
    is_good = result in ([], passages()[1:3])
    assert list(noted.passages) == (result if is_good else passages())
    assert bool(noted.warning) != is_good


def test_loading_is_no_part_of_the_time() -> None:
    class Loads(KeepOrder):
        loaded = False

        def warm(self) -> None:
            time.sleep(0.1)
            self.loaded = True

        def rerank_until(self, question: str, passages: Sequence[Passage], deadline: float) -> list[Passage]:
            assert self.loaded
            assert deadline > time.monotonic()
            return list(passages)[::-1]

    noted = Limited(Loads(), 0.08).rerank_noted("red", passages())
    assert (list(noted.passages), noted.warning) == (passages()[::-1], "")


def test_a_model_that_cannot_be_loaded_costs_the_order_only(encoder: Path, tmp_path: Path) -> None:
    folder = tiny_encoder.make(tmp_path / "classes", labels=3)
    limited = Limited(CrossEncoderReranker(str(folder)), 20)
    noted = limited.rerank_noted("red", passages())
    assert list(noted.passages) == passages()
    assert "3 classes" in noted.warning
    with pytest.raises(ModelError):
        limited.warm()


def test_nothing_to_rerank() -> None:
    slow = Backwards()
    assert Limited(slow, 20).rerank("red", []) == []
    assert slow.calls == 0


def test_a_compressor_is_called_by_its_own_name() -> None:
    assert Limited(CompressorReranker(Compressor(work=lambda d, _: d)), 1).name == "Compressor"


def test_ours_know_the_clock() -> None:
    for reranker in (KeepOrder(), LateInteraction(Letters()), CrossEncoderReranker("org/name")):
        assert isinstance(reranker, Timed)
        assert Limited(KeepOrder(), 1).rerank("red", passages()) == passages()
    assert not isinstance(Backwards(), Timed)
