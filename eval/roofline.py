"""How near the two heavy loops come to what this machine can do, and how fast a Llama writes beside transformers.

    python -m ragapp.eval.roofline [--llm DIR|135M|1.2B|none] [--rounds 5]

Decoding reads every weight once a token, so the memory bounds it: the limit is the better of a sum over 256 MB and a
copy of them (which reads and writes), in bytes per second. Embedding is products of matrices, so the cores' arithmetic
bounds it: the limit is the best product of two square matrices by torch in the number format that the embedder computes
in. A multiplication and an addition count as two operations; special tokens count as work, padding does not, nor does
what is not a product of matrices. That is the roofline model (Williams, Waterman, Patterson 2009) at its two ends.

The Llama has random weights, or those of a folder: the text means nothing, and costs what real text costs. Its loops
are those of ragapp.eval.decoding. Lines of JSON, with an ``event`` each. Not covered: accelerators.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from ragapp import minilm
from ragapp.eval import decoding, madeup
from ragapp.eval.benched import Roof, Writing
from ragapp.modelfiles import cpu_has_bf16

MEGABYTES = 256
SIDES = (1024, 2048, 3072)  # of the square matrices; the best counts
PROMPT, TOKENS, LOOKUP = 512, 48, 8
INNER = 1536  # width between the two products of a layer's second half
SPECIAL = 2
TEXTS = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", default="135M", help="a folder, a size of random weights, or none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=PROMPT, help="tokens")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens written")
    parser.add_argument("--texts", type=int, default=TEXTS, help="texts embedded a round")
    given = parser.parse_args()
    _say("embedding", **embedding(given.rounds, given.texts))
    if given.llm != "none":
        _say("writing", **writing(given.llm, given.rounds, given.prompt, given.tokens))


def _say(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


# -- the embedder ----------------------------------------------------------------------------------------------------


def embedding(rounds: int, texts: int, seconds: float = 1.0) -> dict[str, object]:
    """Tokens per second of each round, operations a token costs, and the operations per second that are possible.

    ``seconds`` go into the products of each size.
    """
    from ragapp.embedders import BuiltinEmbedder

    made = [madeup.text_of(number, 1) for number in range(texts)]
    embedder = BuiltinEmbedder()
    sizes = [len(embedder.spans(text)) + SPECIAL for text in made]
    dtype = computed_in()
    embedder.embed_documents(made[: texts // 4 or 1])
    rates = [sum(sizes) / _timed(lambda: embedder.embed_documents(made)) for _ in range(rounds)]
    return {
        "dtype": dtype,
        "tokens_per_s": rates,
        "operations_a_token": sum(map(operations, sizes)) / sum(sizes),
        "limit": matrix_rate(dtype, seconds),
        "tokens_a_text": sum(sizes) / len(sizes),
    }


def computed_in() -> str:
    """The number format in which the built-in embedder computes here: "bfloat16" or "float32"."""
    try:
        hint = str(minilm.compile_model().get_property("INFERENCE_PRECISION_HINT"))
    except ImportError:
        return "float32"  # without OpenVINO torch does the work, as the weights are
    return "bfloat16" if "bf" in hint else "float32"


def operations(tokens: int) -> int:
    """What the built-in embedder computes for one window of so many tokens, as products of matrices.

    A layer: four products of (tokens, 384) with (384, 384), two with 384 × 1536, and twice tokens × tokens × 384 for
    the attention.
    """
    weights = 4 * minilm.WIDTH**2 + 2 * minilm.WIDTH * INNER
    return 2 * minilm.LAYERS * (tokens * weights + 2 * tokens**2 * minilm.WIDTH)


def matrix_rate(dtype: str, seconds: float) -> float:
    """Operations per second of the best product of two square matrices."""
    import torch

    best = 0.0
    for side in SIDES:
        a, b = (torch.randn(side, side).to(getattr(torch, dtype)) for _ in range(2))
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            best = max(best, 2 * side**3 / _timed(lambda a=a, b=b: a @ b))  # type: ignore[misc]
    return best


# -- the Llama -------------------------------------------------------------------------------------------------------


def writing(llm: str, rounds: int, prompt_tokens: int, tokens: int, megabytes: int = MEGABYTES) -> dict[str, object]:
    """Both sides by turns, prompt lookup on and off, and what the memory gives, tried on so many megabytes."""
    import torch

    from ragapp.llama import Llama

    dtype = "bfloat16" if cpu_has_bf16() else "float32"
    is_size = llm in decoding.SIZES
    network = decoding.network_of(llm if is_size else "", "" if is_size else llm, dtype)
    dice = torch.Generator().manual_seed(1)
    prompt = torch.randint(0, network.config.vocab_size, (prompt_tokens,), generator=dice).tolist()
    model = Llama(copy.deepcopy(network), "none")
    pairs = [_pair(network, model, prompt, tokens) for _ in range(rounds + 1)][1:]  # the first one fills caches
    names = ("ragapp", "transformers")
    return {
        "model": f"random weights, {llm}" if is_size else os.path.basename(os.path.normpath(llm)),
        "dtype": dtype,
        "prompt_tokens": prompt_tokens,
        "tokens": tokens,
        "first_s": {name: [pair[side][0] for pair in pairs] for side, name in enumerate(names)},
        "tokens_per_s": {name: [pair[side][1] for pair in pairs] for side, name in enumerate(names)},
        "lookup": lookups(network, model, prompt, rounds, tokens),
        "weights": model.size,
        "limit": bandwidth(megabytes),
    }


def _pair(network: Any, model: Any, prompt: list[int], tokens: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds to the first token and tokens per second: ours, theirs."""
    theirs = decoding.theirs(network, prompt, tokens, time.perf_counter)
    return decoding.ours(model, prompt, tokens, time.perf_counter)[:2], theirs


def lookups(network: Any, model: Any, prompt: list[int], rounds: int, tokens: int) -> dict[str, list[float]]:
    """The speed with prompt lookup by that without, where every guess is right and where it is so by chance."""
    from ragapp.llama import Llama

    turning = Llama(decoding.circling(network), "none")
    # What the model will write stands in its prompt.
    told = decoding.ours(turning, prompt[:8], len(prompt), time.perf_counter)[2].written
    cases = {"copying": (turning, told + told[:4]), "random": (model, prompt)}
    return {
        name: [_on(one, text, tokens) / _off(one, text, tokens) for _ in range(rounds)]
        for name, (one, text) in cases.items()
    }


def _on(model: Any, prompt: list[int], tokens: int) -> float:
    return decoding.ours(model, prompt, tokens, time.perf_counter, LOOKUP)[1]


def _off(model: Any, prompt: list[int], tokens: int) -> float:
    return decoding.ours(model, prompt, tokens, time.perf_counter)[1]


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bandwidth(megabytes: int, rounds: int = 15) -> float:
    """Bytes per second that the memory reads, or reads and writes, at best."""
    import torch

    numbers = torch.ones(megabytes << 18)
    copied = torch.empty_like(numbers)
    copied.copy_(numbers)  # its pages are there from now on
    copying = 2 * (megabytes << 20) / min(_timed(lambda: copied.copy_(numbers)) for _ in range(rounds))
    return max(copying, decoding.bandwidth(time.perf_counter, megabytes, rounds))


# -- what the parent makes of it -------------------------------------------------------------------------------------


def writing_of(events: Mapping[str, Any]) -> Writing | None:
    """The Llama path, None where it was left out."""
    facts = events.get("writing")
    if facts is None:
        return None
    rounds = {
        name: {key: tuple(values) for key, values in facts[name].items()}
        for name in ("first_s", "tokens_per_s", "lookup")
    }
    return Writing(facts["model"], facts["dtype"], facts["prompt_tokens"], facts["tokens"], **rounds)


def roofs_of(events: Mapping[str, Any]) -> tuple[Roof, ...]:
    """The best round against the best that a simple test reaches, for the memory and for the arithmetic."""
    embedding, writing = events["embedding"], events.get("writing")
    embedded = max(embedding["tokens_per_s"])
    embeds = Roof(
        "embedding",
        "operations",
        embedding["limit"],
        embedded * embedding["operations_a_token"],
        f"{embedded:,.0f} tokens a second, {embedding['operations_a_token'] / 1e6:.1f} million operations each "
        f"({embedding['dtype']}, {embedding['tokens_a_text']:.0f} tokens a text); the limit is the best product of two "
        "square matrices in the same number format",
    )
    if writing is None:
        return (embeds,)
    decoded = max(writing["tokens_per_s"]["ragapp"])
    decodes = Roof(
        "decoding",
        "bytes",
        writing["limit"],
        decoded * writing["weights"],
        f"{decoded:,.1f} tokens a second, each of which reads {writing['weights'] / 1e6:,.0f} MB of weights "
        f"({writing['model']}, {writing['dtype']}); the limit is the best sum or copy of {MEGABYTES} MB",
    )
    return (decodes, embeds)


if __name__ == "__main__":
    main()
