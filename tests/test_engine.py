"""The engine below the local Llama: the same text as transformers', alone or together, guessed or not."""

from __future__ import annotations

import json
import string
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from ragapp import modelfiles
from ragapp.chat import LlamaChat
from ragapp.errors import ModelError
from ragapp.lookup import Lookup
from ragapp.prefixes import STEP, Prefixes
from ragapp.queueing import Line, Request
from ragapp.sampling import Options, Sampler
from ragapp.streaming import Stops, Text
from tests import tiny_llama

LONG: list[BaseMessage] = [SystemMessage("Passage 现金流量表. " * 25), HumanMessage("question?")]
SHAPE: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama 3 rope": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, linear rope": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    "llama, wide heads": ("Llama", {"head_dim": 32, "num_key_value_heads": 1}),
    "mistral, sliding": ("Mistral", {"sliding_window": 20}),
    "qwen 2, some layers sliding": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 2},
    ),
    "qwen 3": ("Qwen3", {"head_dim": 16}),
}


def network_of(name: str, dtype: str = "float32", **more: Any) -> Any:
    import torch
    import transformers

    family, settings_ = FAMILIES[name]
    config = getattr(transformers, f"{family}Config")(**{**SHAPE, **settings_, **more})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = getattr(transformers, f"{family}ForCausalLM")(config)
        for weight, values in network.named_parameters():
            if weight.endswith("bias") or "norm" in weight:
                torch.nn.init.normal_(values, 0.5 if "norm" in weight else 0.0, 0.3)
        ids = torch.randint(0, 300, (1, 90))
    return network.to(getattr(torch, dtype)).eval(), ids


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_and_greedy_tokens_are_those_of_transformers(name: str) -> None:
    import torch

    from ragapp.llama import Llama, is_known

    network, ids = network_of(name)
    with torch.inference_mode():
        wanted = network(ids).logits[0]
        written = network.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=None
        )
    assert is_known(network)
    model = Llama(network)
    cache_ = model.cache(130)
    parts = [ids[0, a:b].tolist() for a, b in ((0, 50), (50, 51), (51, 90))]
    scores = torch.cat([model.forward([(cache_, part)], last=False) for part in parts])
    torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-4)
    tokens, last = [], scores[-1:]
    for _ in range(24):
        tokens.append(int(last[0].argmax()))
        last = model.forward([(cache_, tokens[-1:])])
    assert tokens == written[0, 90:].tolist()


def test_bfloat16_differs_by_rounding_only() -> None:
    import torch

    from ragapp.llama import Llama

    network, ids = network_of("llama 3 rope", "bfloat16")
    with torch.inference_mode():
        wanted = network(ids).logits[0].float()
    model = Llama(network)
    scores = model.forward([(model.cache(90), ids[0].tolist())], last=False).float()
    assert float((scores - wanted).abs().mean()) < 0.02 * float(wanted.abs().mean()) + 0.05


def test_sequences_that_are_read_together_do_not_mix() -> None:
    import torch

    from ragapp.llama import Llama

    network, ids = network_of("mistral, sliding")
    model, tokens = Llama(network), ids[0].tolist()
    alone = [model.forward([(model.cache(90), tokens[:n])]) for n in (5, 40, 90)]
    caches = [model.cache(90) for _ in alone]
    first = [tokens[: n - 3] for n in (5, 40, 90)]
    model.forward(list(zip(caches, first, strict=True)))
    rest = [tokens[n - 3 : n] for n in (5, 40, 90)]
    together = model.forward(list(zip(caches, rest, strict=True)))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes", [{"hidden_act": "gelu"}, {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}]
)
def test_a_model_that_is_not_quite_a_llama_is_left_to_transformers(changes: dict[str, Any]) -> None:
    from ragapp.llama import is_known

    assert not is_known(network_of("llama", **changes)[0])
    assert is_known(network_of("llama")[0])


def test_weights_of_another_name_are_not_taken_for_a_llamas() -> None:
    import torch

    from ragapp.llama import is_known

    network, _ = network_of("llama")
    network.model.layers[1].extra = torch.nn.Linear(2, 2)
    assert not is_known(network)


def test_matrices_in_few_bits_are_near_the_original() -> None:
    import torch

    from ragapp.matrices import matrix

    dice = torch.Generator().manual_seed(3)
    weight = torch.randn(128, 96, generator=dice)
    bias = torch.randn(128, generator=dice)
    with torch.inference_mode():
        for count in (1, 7, 40):
            rows = torch.randn(count, 96, generator=dice)
            wanted = torch.nn.functional.linear(rows, weight, bias)
            for bits, error in (("none", 1e-5), ("int8", 0.02), ("int4", 0.2)):
                made = matrix(weight, bias, bits)  # type: ignore[arg-type]
                assert made(rows).shape == wanted.shape
                assert float((made(rows) - wanted).norm() / wanted.norm()) < error, bits
    sizes = [matrix(weight, None, bits).size for bits in ("none", "int8", "int4")]  # type: ignore[arg-type]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < sizes[0] / 4
    assert matrix(weight[:, :50], None, "int4").size > weight[:, :50].numel()  # 50 is no multiple of 32: 8 bits


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small products are done sooner by one thread, above all on a machine that is busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def looping(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose next token depends on the last one only, so that it soon goes in circles."""
    import torch
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    made = tmp_path_factory.mktemp("looping")
    tiny_llama.make(made, weights=False)
    network.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.make(tmp_path_factory.mktemp("engine"))


@cache
def llama(folder: Path, **settings_: Any) -> LlamaChat:
    return LlamaChat(model=str(folder), dtype="float32", **settings_)


def ask(chat: LlamaChat, question: str | list[BaseMessage], **wishes: Any) -> tuple[str, dict[str, Any]]:
    chunks = list(chat.stream(question, **wishes))
    return "".join(str(chunk.text) for chunk in chunks), chunks[-1].response_metadata


@pytest.mark.parametrize("wishes", [{}, {"temperature": 0.3, "seed": 3}, {"temperature": 1.5, "top_p": 0.8, "seed": 4}])
def test_guessing_changes_no_text(folder: Path, looping: Path, wishes: dict[str, Any]) -> None:
    for model in (folder, looping):
        wanted, about = ask(llama(model, lookup_tokens=0), LONG, max_tokens=100, **wishes)
        assert about["guessed_tokens"] == 0
        for tokens in (1, 8):
            text, about = ask(llama(model, lookup_tokens=tokens), LONG, max_tokens=100, **wishes)
            assert text == wanted
            assert about["guessed_tokens"] >= about["accepted_tokens"]
            assert about["accepted_tokens"] > 30 or model == folder or wishes


def test_right_guesses_save_passes(looping: Path) -> None:
    chat = LlamaChat(model=str(looping), dtype="float32", lookup_tokens=8)
    passes = slowed(chat)
    ask(chat, LONG, max_tokens=120)
    assert len(passes) < 60


def test_guessing_stops_where_the_answer_does(looping: Path) -> None:
    chat = llama(looping, lookup_tokens=8)
    whole, _ = ask(chat, LONG, max_tokens=120)
    for most in (50, 51, 53, 57):
        *_, last = chat.stream(LONG, max_tokens=most)
        assert last.usage_metadata is not None
        assert last.usage_metadata["output_tokens"] == most
    stop = whole[30:36]
    text, about = ask(chat, LONG, max_tokens=120, stop=[stop])
    assert text == whole[: whole.index(stop)]
    assert about["finish_reason"] == "stop"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_was_read_before_is_not_read_again_and_changes_nothing(folder: Path, dtype: Any) -> None:
    other = [LONG[0], HumanMessage("And another one, 现金?")]
    fresh = LlamaChat(model=str(folder), dtype=dtype)
    wanted, about = ask(fresh, other, max_tokens=40)
    assert about["cached_tokens"] == 0
    chat = LlamaChat(model=str(folder), dtype=dtype)
    ask(chat, LONG, max_tokens=40)
    text, about = ask(chat, other, max_tokens=40)
    assert text == wanted
    assert about["cached_tokens"] >= STEP
    assert about["cached_tokens"] % STEP == 0
    again, about = ask(chat, other, max_tokens=40)
    assert again == wanted
    assert about["cached_tokens"] >= STEP


def slowed(chat: LlamaChat, seconds: float = 0.0, fail: Callable[[Any], bool] = lambda _: False) -> list[int]:
    """Makes every pass take longer, or fail; how many sequences each pass had."""
    chat._load_network()
    forward, together = chat._writer.model.forward, []

    def slow(pieces: Any, last: bool = True) -> Any:
        together.append(len(pieces))
        time.sleep(seconds)
        if fail(pieces):
            raise ValueError("as it was told to")
        return forward(pieces, last)

    chat._writer.model.forward = slow
    return together


def in_threads(jobs: list[Callable[[], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(jobs)

    def run(n: int) -> None:
        try:
            results[n] = jobs[n]()
        except ModelError as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_answers_written_together_are_those_written_alone(folder: Path) -> None:
    wishes: list[dict[str, Any]] = [
        {"max_tokens": 30}, {"max_tokens": 3}, {"max_tokens": 25, "temperature": 1.0, "seed": 1},
        {"max_tokens": 30, "temperature": 0.8, "top_p": 0.9, "seed": 2}, {"max_tokens": 20}, {"max_tokens": 12},
    ]  # fmt: skip
    questions = ["What?", "现金流量表", LONG, "fox", "dog " * 40, "Why?"]
    alone = [ask(llama(folder), q, **w)[0] for q, w in zip(questions, wishes, strict=True)]  # type: ignore[arg-type]
    chat = LlamaChat(model=str(folder), dtype="float32", batch=4)
    together = slowed(chat, 0.01)
    got = in_threads([lambda q=q, w=w: ask(chat, q, **w)[0] for q, w in zip(questions, wishes, strict=True)])  # type: ignore[misc]
    assert got == alone
    assert max(together) in {3, 4}  # and never more than ``batch``


def test_one_that_fails_harms_no_other(folder: Path) -> None:
    wanted = [ask(llama(folder), q, max_tokens=20)[0] for q in ("What?", "Why?")]
    chat = LlamaChat(model=str(folder), dtype="float32", lookup_tokens=0)
    marked = chat.get_token_ids("z")[0]
    prompts: dict[int, bool] = {}

    def fail(pieces: Any) -> bool:
        for cache_, tokens in pieces:
            prompts[id(cache_)] = prompts.get(id(cache_), False) or marked in tokens
        return any(prompts[id(cache_)] and cache_.length > 40 for cache_, _ in pieces)

    slowed(chat, 0.01, fail)
    got = in_threads([lambda q=q: ask(chat, q, max_tokens=20)[0] for q in ("What?", "z" * 30, "Why?")])  # type: ignore[misc]
    assert [got[0], got[2]] == wanted
    assert isinstance(got[1], ModelError)
    assert "as it was told to" in got[1].message


def test_a_newcomers_long_prompt_does_not_hold_up_the_others(folder: Path) -> None:
    chat = LlamaChat(model=str(folder), dtype="float32", lookup_tokens=0)
    running = chat.stream("What?", max_tokens=60)
    next(running)
    together = slowed(chat, 0.02)
    asked = chat.count_tokens(LONG)
    assert asked > 2 * STEP
    text, _ = ask(chat, LONG, max_tokens=3)
    assert text
    steps = together[: together.index(2)]  # until both were written: reading and writing by turns
    assert len(steps) >= 2 * (asked // STEP)
    assert sum(1 for _ in running) > 5


def test_a_closed_stream_leaves_the_others_at_work(folder: Path) -> None:
    wanted, _ = ask(llama(folder), "What?", max_tokens=40)
    chat = LlamaChat(model=str(folder), dtype="float32", lookup_tokens=0)
    together = slowed(chat, 0.01)
    leaving = chat._stream([HumanMessage("Why?")], max_tokens=400)
    next(leaving)
    staying = chat._stream([HumanMessage("What?")], max_tokens=40)
    first = next(staying)
    started = time.monotonic()
    leaving.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 1
    assert first.text + "".join(chunk.text for chunk in staying) == wanted
    assert {1, 2} <= set(together)


def test_speed_and_first_token_are_told(folder: Path) -> None:
    chat = LlamaChat(model=str(folder), dtype="float32", lookup_tokens=0)
    slowed(chat, 0.05)
    _, about = ask(chat, "What?", max_tokens=10)
    assert 0 < about["tokens_per_second"] < 20
    assert 0.05 <= about["first_token_seconds"] < 10
    assert 0 <= about["queue_seconds"] < about["first_token_seconds"]


def test_an_unknown_family_is_written_one_by_one_with_the_same_text(folder: Path, tmp_path: Path) -> None:
    import shutil

    import torch
    from transformers import AutoModelForCausalLM

    from ragapp.decoding import OneByOne

    other = Path(shutil.copytree(folder, tmp_path / "gelu"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "hidden_act": "gelu"}))
    chat = LlamaChat(model=str(other), dtype="float32")
    text, about = ask(chat, LONG, max_tokens=40)
    assert isinstance(chat._writer, OneByOne)
    assert about["finish_reason"] == "length"
    prompt = torch.tensor([chat._encode(LONG)])
    network = AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32)
    out = network.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=40, pad_token_id=2)
    assert text == chat._decode(out[0, prompt.shape[1] :].tolist())
    with pytest.raises(ModelError, match="cannot be made int8 here: it is no common llama"):
        ask(LlamaChat(model=str(other), device="cpu", quantize="int8"), LONG)
    sampled = [ask(chat, LONG, max_tokens=20, temperature=1.0, seed=seed)[0] for seed in (5, 5, 6)]
    assert sampled[0] == sampled[1] != sampled[2]


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_fewer_bits_are_smaller_and_write(folder: Path, bits: Any) -> None:
    chat = LlamaChat(model=str(folder), dtype="bfloat16", device="cpu", quantize=bits)
    chat.check()
    text, about = ask(chat, "What?", max_tokens=20)
    assert text
    assert about["finish_reason"] in {"length", "stop"}
    whole = LlamaChat(model=str(folder), dtype="bfloat16", device="cpu")
    whole.warm()
    assert chat._writer.model.size < 0.8 * whole._writer.model.size


# -- the queue -------------------------------------------------------------------------------------------------------


def request(most: int = 3) -> Request:
    return Request([1, 2], Options(most, 0.0, 1.0, None, ()), most, [9], Text(lambda ids: "x" * len(ids)))


def test_first_come_first_served_and_a_thread_that_ends() -> None:
    go_on, order = threading.Event(), []

    def work(line: Line) -> None:
        while (new := line.take(1)) is not None:
            go_on.wait(10)
            for one in new:
                order.append(one)
                while not one.over:
                    one.put(5)
                line.drop(one)

    line = Line(work, "ragapp-test")
    asked = [request() for _ in range(4)]
    for one in asked:
        line.submit(one)
    deadline = time.monotonic() + 5
    while line.place(asked[0]) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert [line.place(one) for one in asked] == [0, 1, 2, 3]
    asked[2].halt.set()
    go_on.set()
    assert all(one.done.wait(5) for one in asked)
    assert order == [asked[0], asked[1], asked[3]]
    assert [len(one.written) for one in asked] == [3, 3, 0, 3]
    late = request()
    line.submit(late)
    assert late.done.wait(5)
    assert late.reason == "length"


def test_one_who_comes_while_the_thread_ends_gets_another_thread() -> None:
    late = request()

    def work(line: Line) -> None:
        while (new := line.take(1)) is not None:
            for one in new:
                one.put(5)
                line.drop(one)
        if not late.done.is_set() and not line.place(late):
            line.submit(late)

    line = Line(work, "ragapp-test")
    line.submit(request())
    assert late.done.wait(5)
    assert late.error is None
    assert late.written == [5]


def test_a_thread_that_dies_leaves_nobody_waiting() -> None:
    started = threading.Event()

    def work(line: Line) -> None:
        line.take(1)
        started.wait(5)
        raise ValueError("boom")

    line = Line(work, "ragapp-test")
    asked = [request() for _ in range(3)]
    for one in asked:
        line.submit(one)
    started.set()
    for one in asked:
        assert one.done.wait(5)
        assert isinstance(one.error, ValueError)
        assert one.pieces.get(timeout=1) is None
    assert line.place(asked[1]) == 0


def test_a_tokenizer_that_fails_at_the_very_end_leaves_nobody_waiting() -> None:
    def decode(ids: list[int]) -> str:
        if len(ids) > 1:
            raise ValueError("broken")
        return "\ufffd" * len(ids)  # held back until more comes

    one = Request([1], Options(1, 0.0, 1.0, None, ()), 1, [9], Text(decode))
    one.put(5)
    one.text.ids.append(6)
    one.finish()
    assert one.done.is_set()
    assert isinstance(one.error, ValueError)
    assert one.pieces.get(timeout=1) is None


def test_caches_that_are_not_filled_yet_count_as_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is taken when it is written: four newcomers at once must not each count on the same half."""
    chat = llama(folder)
    chat.warm()
    fits, size = chat._writer._fits, chat._writer.model.cache_bytes(10)
    new, beside = (Request([1, 2], Options(8, 0.0, 1.0, None, ()), 8, [9], Text(lambda ids: "x")) for _ in range(2))
    monkeypatch.setattr(modelfiles, "free_memory", lambda: 3 * size - 1)
    assert fits(new, [])
    assert not fits(new, [beside])
    monkeypatch.setattr(modelfiles, "free_memory", lambda: 3 * size + 1)
    assert fits(new, [beside])
    monkeypatch.setattr(modelfiles, "free_memory", lambda: 3 * size - 1)
    for _ in range(4):
        beside.put(5)
    assert fits(new, [beside])
    monkeypatch.setattr(modelfiles, "free_memory", lambda: None)
    assert fits(new, [beside] * 9)


def test_what_does_not_fit_waits_unless_nothing_else_runs() -> None:
    line = Line(lambda _: None, "ragapp-test")
    asked = [request(), request(), request()]
    line._waiting.extend(asked)
    told: list[list[Request]] = []

    def fits(_: Request, running: Sequence[Request]) -> bool:
        told.append(list(running))
        return False

    assert line.take(3, fits) == asked[:1]
    assert line.take(3, fits) == []
    assert told == [asked[:1], asked[:1]]
    line.drop(asked[0])
    assert line.take(3, lambda _, __: True) == asked[1:]


# -- text ------------------------------------------------------------------------------------------------------------

CORPUS = ["现金流量表 年度报告", "the quick brown fox. it's  two", "naïve café 🎉", string.ascii_letters]


@cache
def tokenizer_of(kind: str) -> Any:
    """A small tokenizer of a kind, as transformers would load it."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if kind == "byte-level":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
        )
        made.train_from_iterator(CORPUS, trainer)
    elif kind == "sentencepiece with bytes":  # Llama 2, Mistral
        words = ["▁", "▁the", "▁a", "a", "b", ".", "▁现", "金", "s", "▁▁", "é"]
        vocabulary = {
            w: n for n, w in enumerate(["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256)), *words])
        }
        made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:  # unigram
        pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0)]
        pieces += [(f"<0x{n:02X}>", -9.0) for n in range(256)]
        pieces += [(w, -3.0) for w in ("▁the", "▁a", "a", "b", "现金", "流", "🎉", "▁现", ".", "'s")]
        made = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
        made.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token=None, bos_token="<s>", eos_token="</s>")


def streamed(tokenizer: Any, ids: list[int]) -> tuple[list[str], str]:
    chat = LlamaChat(model="org/none")
    chat._keep_tokenizer(tokenizer)
    text = Text(chat._decode, chat._open.__contains__)
    return [*(text.feed(token) for token in ids), text.end()], chat._decode(ids)


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece with bytes", "unigram"])
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_pieces_joined_are_the_decoded_text(kind: str, data: st.DataObject) -> None:
    tokenizer = tokenizer_of(kind)
    size = len(tokenizer)
    rare = st.sampled_from([i for i in range(size) if i < 20 or i > size - 14])
    real = st.text(max_size=8).map(lambda t: tokenizer(t, add_special_tokens=False)["input_ids"])
    parts = data.draw(st.lists(st.one_of(st.integers(0, size - 1).map(lambda i: [i]), rare.map(lambda i: [i]), real)))
    pieces, whole = streamed(tokenizer, [i for part in parts for i in part])
    assert "".join(pieces) == whole


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece with bytes", "unigram"])
def test_whole_characters_leave_early(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    text = "现金流量表 the 🎉👩‍👩‍👧 a naïve\n the end 终 a b"
    pieces, whole = streamed(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"])
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) == whole == text
    assert sum(map(bool, pieces)) > 8
    assert not pieces[-1]


@pytest.mark.parametrize(
    ("pieces", "stops", "passed"),
    [
        (["a EN", "D b"], ["END"], "a "),
        (["a EN", "T"], ["END"], "a ENT"),
        (["a EN"], ["END"], "a EN"),
        (["xaab"], ["ab", "aab"], "x"),
        (["x", "a", "a", "b"], ["ab"], "xa"),
        (["abc"], ["abcd", "c"], "ab"),
        (["ab"], [""], "ab"),
    ],
)
def test_stops(pieces: list[str], stops: list[str], passed: str) -> None:
    filter_ = Stops(stops)
    assert "".join([*(filter_.feed(piece) for piece in pieces), filter_.feed("", end=True)]) == passed


@given(st.lists(st.text("ab", max_size=4)), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=2))
def test_no_stop_string_ever_leaves(pieces: list[str], stops: list[str]) -> None:
    filter_, whole = Stops(stops), "".join(pieces)
    passed = "".join([*(filter_.feed(piece) for piece in pieces), filter_.feed("", end=True)])
    assert whole.startswith(passed)
    assert not any(stop in passed for stop in stops)
    assert filter_.hit == any(stop in whole for stop in stops)
    assert filter_.hit or passed == whole


# -- the parts -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 9), st.integers(0, 9))
def test_a_guess_is_what_followed_the_same_words(tokens: list[int], most: int, room: int) -> None:
    guess = Lookup(tokens, most).guess(room)
    assert len(guess) <= min(most, room)
    earlier = [
        tokens[at + 2 :][: len(guess)] for at in range(len(tokens) - 2) if tokens[at : at + 2] == tokens[-2:]
    ]  # fmt: skip
    if guess:
        assert guess in earlier
    elif room:
        assert not any(earlier)


def test_a_longer_match_is_preferred_and_wrong_guesses_get_shorter() -> None:
    lookup = Lookup([1, 2, 3, 7, 7, 9, 2, 3, 8, 8, 1, 2, 3], most=4)
    assert lookup.guess(8) == [7, 7, 9, 2]
    lookup.learn(4, 0)
    assert lookup.guess(8) == [7]
    lookup.learn(1, 1)
    assert len(lookup.guess(8)) == 4


class Sized:
    size = 10


@given(st.lists(st.lists(st.integers(0, 1), max_size=8), max_size=8), st.lists(st.integers(0, 1), max_size=8))
def test_what_is_found_is_a_beginning_in_whole_steps(kept: list[list[int]], asked: list[int]) -> None:
    prefixes = Prefixes(lambda: 1000, most=100)
    texts = [[token for token in one for _ in range(STEP // 2)] for one in kept]
    for tokens in texts:
        prefixes.keep(tokens, Sized())
    wanted = [token for token in asked for _ in range(STEP // 2)]
    _, length = prefixes.find(wanted)
    best = 0
    for tokens in texts:
        same = 0
        while (
            same + STEP <= len(tokens) and same + STEP < len(wanted) and tokens[: same + STEP] == wanted[: same + STEP]
        ):
            same += STEP
        best = max(best, same)
    assert length == best


def test_prefixes_stay_within_their_limit() -> None:
    prefixes = Prefixes(lambda: 25, most=4)
    for first in range(5):
        prefixes.keep([first] * STEP, Sized())
    assert len(prefixes) == 2
    assert [prefixes.find([n] * (STEP + 1))[1] for n in range(5)] == [0, 0, 0, STEP, STEP]
    prefixes.keep([4] * 2 * STEP, Sized())  # continues what is there, and takes its place
    assert prefixes.find([3] * (STEP + 1))[1] == STEP
    prefixes.clear()
    assert prefixes.find([4] * (STEP + 1)) == (None, 0)


def options(**wishes: Any) -> Options:
    return Options(**{"max_tokens": 9, "temperature": 1.0, "top_p": 1.0, "seed": 0, "stop": (), **wishes})


def drawn(scores: Any, count: int, **wishes: Any) -> Iterator[int]:
    sampler = Sampler(options(**wishes))
    return (sampler.draw(scores) for _ in range(count))


def test_tokens_are_drawn_as_often_as_their_chances_say() -> None:
    import torch

    chances = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    for top_p, kept in ((1.0, [0, 2, 3, 4]), (0.75, [0, 2]), (0.85, [0, 2, 3]), (0.01, [0])):
        counts = torch.zeros(5)
        for token in drawn(chances.log(), 3000, top_p=top_p):
            counts[token] += 1
        wanted = torch.zeros(5)
        wanted[kept] = chances[kept] / chances[kept].sum()
        assert float((counts / 3000 - wanted).abs().max()) < 0.04


def test_a_nucleus_wider_than_the_first_look() -> None:
    import torch

    flat = torch.zeros(5000)
    assert max(drawn(flat - torch.arange(5000) * 1e-5, 200, top_p=0.9)) > 1100
    assert len(set(drawn(flat, 200, temperature=1e-6))) > 100  # equal stays equal at any temperature


@given(st.floats(0.05, 2), st.floats(0.05, 1), st.integers(0, 99))
def test_rounding_noise_seldom_changes_what_a_seed_draws(temperature: float, top_p: float, seed: int) -> None:
    import torch

    scores = torch.linspace(0, 3, 17).sin() * 3
    noisy = scores + torch.linspace(-1, 1, 17) * 1e-9
    wishes = {"temperature": temperature, "top_p": top_p, "seed": seed}
    assert list(drawn(scores, 5, **wishes)) == list(drawn(noisy, 5, **wishes))
