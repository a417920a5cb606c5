"""How fast a Llama writes on this CPU: our loop beside transformers' ``generate``, and where the time goes.

    python -m ragapp.eval.decoding --size 135M --prompt 512 --tokens 48 --rounds 5

Weights are random (or those of ``--model FOLDER``): the text means nothing, and costs what real text costs. Both sides
read the same prompt and write the same number of tokens, by turns in one process; figures are medians over the rounds,
"faster" is the median of the rounds' ratios. The floor is the time in which the memory gives the weights' bytes once,
measured by summing 256 MB. Prompt lookup is shown at its best, on a model whose next token follows from the last one
(its layers add nothing) and stands in the prompt, and on random weights, where a guess is right by chance.

On a machine that others use too, ``--cpu --threads 1`` counts the processor's seconds in place of the clock's.

Lines of JSON with ``--json``. Not covered: accelerators.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ragapp.decoding import Batch
from ragapp.llama import Llama
from ragapp.matrices import Bits
from ragapp.queueing import Line, Request
from ragapp.sampling import Options
from ragapp.streaming import Text

SIZES: Mapping[str, Mapping[str, Any]] = {
    "135M": {
        "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "vocab_size": 49152,
    },
    "1.2B": {
        "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 8192, "vocab_size": 128256,
    },
}  # fmt: skip
BATCHES = (1, 2, 4, 8)
CHECKED = (1, 2, 5, 9)  # tokens of one sequence that a step computes: the next one and the guesses
Facts = dict[str, float | int | str]
Clock = Callable[[], float]


def network_of(size: str, model: str, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    number = getattr(torch, dtype)
    if model:
        return AutoModelForCausalLM.from_pretrained(model, dtype=number, local_files_only=True).eval()
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(number)
    network = LlamaForCausalLM(
        LlamaConfig(**SIZES[size], tie_word_embeddings=True, max_position_embeddings=8192, eos_token_id=None)
    ).eval()
    torch.set_default_dtype(before)
    return network


def bandwidth(clock: Clock, megabytes: int = 256, rounds: int = 7) -> float:
    """Bytes per second that a sum over more memory than the caches hold reads, at best."""
    import torch

    numbers = torch.ones(megabytes << 18)
    return (megabytes << 20) / min(_timed(numbers.sum, clock) for _ in range(rounds))


def theirs(network: Any, prompt: Sequence[int], tokens: int, clock: Clock) -> tuple[float, float]:
    """Seconds to the first token, and tokens per second from there on, of ``generate``."""
    import torch

    stamps: list[float] = []

    class Stamps:
        def put(self, _: Any) -> None:
            stamps.append(clock())

        def end(self) -> None:
            """Nothing is left."""

    ids = torch.tensor([prompt])
    started = clock()
    with torch.inference_mode():
        network.generate(
            ids, attention_mask=torch.ones_like(ids), streamer=Stamps(), max_new_tokens=tokens, do_sample=False,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
    return stamps[1] - started, (tokens - 1) / (stamps[-1] - stamps[1])


def ours(
    model: Llama, prompt: Sequence[int], tokens: int, clock: Clock, lookup: int = 0
) -> tuple[float, float, Request]:
    """The same of our loop, and the request with what was guessed. Nothing is remembered between calls."""
    stamps: list[float] = []

    class Stamped(Request):
        def put(self, token: int) -> None:
            super().put(token)
            stamps.append(clock())

    line = Line(Batch(model, 1, lookup).work, "ragapp-measured")
    request = Stamped(list(prompt), Options(tokens, 0.0, 1.0, None, ()), tokens, (), Text(lambda ids: "x" * len(ids)))
    started = clock()
    line.submit(request)
    request.done.wait()
    if request.error:
        raise request.error
    return stamps[0] - started, (tokens - 1) / (stamps[-1] - stamps[0]), request


def step(model: Llama, prompt: Sequence[int], rows: int, together: int, given: argparse.Namespace) -> float:
    """Seconds of one pass over ``rows`` tokens of each of ``together`` sequences, behind the prompt; the median."""
    caches = [model.cache(len(prompt) + rows) for _ in range(together)]
    for cache in caches:
        if cache is caches[0]:
            model.forward([(cache, prompt)])
        else:
            cache.take(caches[0], len(prompt))

    def once() -> None:
        for cache in caches:
            cache.length = len(prompt)
        model.forward([(cache, prompt[:rows]) for cache in caches], last=False).argmax(-1).tolist()

    once()
    return statistics.median(_timed(once, given.clock) for _ in range(given.steps))


def circling(network: Any) -> Any:
    """A copy whose layers add nothing: every token is followed by always the same one."""
    import torch

    network = copy.deepcopy(network)
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    return network


def measure(given: argparse.Namespace) -> Iterator[Facts]:
    import torch

    if given.threads:
        torch.set_num_threads(given.threads)
    network = network_of(given.size, given.model, given.dtype)
    dice = torch.Generator().manual_seed(1)
    prompt = torch.randint(0, network.config.vocab_size, (given.prompt,), generator=dice).tolist()
    model = Llama(copy.deepcopy(network), given.bits)
    speed = bandwidth(given.clock)
    floor = model.size / speed
    yield {"what": "memory", "gb_per_s": speed / 1e9, "weights_mb": model.size / 1e6, "floor_tokens_per_s": 1 / floor}
    pairs = [
        (theirs(network, prompt, given.tokens, given.clock), ours(model, prompt, given.tokens, given.clock)[:2])
        for _ in range(given.rounds + 1)
    ][1:]
    for name, side in (("transformers", 0), ("ragapp", 1)):
        rates = [pair[side][1] for pair in pairs]
        yield {
            "what": name, "first_token_s": statistics.median(pair[side][0] for pair in pairs),
            "tokens_per_s": statistics.median(rates), "best": max(rates), "of_floor": max(rates) * floor,
        }  # fmt: skip
    yield {
        "what": "faster", "first_token": statistics.median(a[0] / b[0] for a, b in pairs),
        "decode": statistics.median(b[1] / a[1] for a, b in pairs),
    }  # fmt: skip
    alone = step(model, prompt, 1, 1, given)
    for rows in CHECKED:
        seconds = step(model, prompt, rows, 1, given)
        yield {"what": "check", "rows": rows, "ms": seconds * 1e3, "cost": seconds / alone}
    for together in BATCHES:
        seconds = step(model, prompt, 1, together, given)
        yield {
            "what": "batch",
            "together": together,
            "tokens_per_s": together / seconds,
            "gain": together * alone / seconds,
        }
    yield from lookups(network, model, prompt, given)


def lookups(network: Any, model: Llama, prompt: list[int], given: argparse.Namespace) -> Iterator[Facts]:
    """Prompt lookup on and off, by turns, where every guess is right, and with random weights."""
    turning = Llama(circling(network), given.bits)
    told = ours(turning, prompt[:8], given.prompt, given.clock)[2].written  # so the prompt holds what will be written
    for name, one, text in (("copying", turning, told + told[:4]), ("random", model, prompt)):
        ratios, last = [], None
        for _ in range(given.rounds):
            off = ours(one, text, given.tokens, given.clock)[1]
            _, on, last = ours(one, text, given.tokens, given.clock, given.lookup)
            ratios.append(on / off)
        yield {
            "what": f"lookup, {name}", "faster": statistics.median(ratios),
            "guessed": last.guessed if last else 0, "accepted": last.accepted if last else 0,
        }  # fmt: skip


def _timed(work: Callable[[], object], clock: Clock) -> float:
    started = clock()
    work()
    return clock() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="135M")
    parser.add_argument("--model", default="", help="folder of a model, in place of random weights")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    bits: tuple[Bits, ...] = ("none", "int8", "int4")
    parser.add_argument("--bits", choices=bits, default="none", help="of our side's weights")
    parser.add_argument("--prompt", type=int, default=512, help="tokens")
    parser.add_argument("--tokens", type=int, default=48, help="tokens written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15, help="passes per figure of a batch or a check")
    parser.add_argument("--lookup", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="count the processor's seconds")
    given = parser.parse_args()
    given.clock = time.process_time if given.cpu else time.perf_counter
    for facts in measure(given):
        if given.json:
            line = json.dumps(facts)
        else:
            shown = (
                f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in facts.items()
            )
            line = "  ".join(shown).removeprefix("what ")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
