"""A Llama of a few hundred kilobytes with random weights, for tests of everything that needs a real model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, TURN, END = "<|begin|>", "<|turn|>", "<|end|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "Cash flows of the year 2018, in millions.",
    "现金流量表与年度报告",
]


def make(
    folder: Path, *, chat_template: bool = True, weights: bool = True, vocab_size: int | None = None, window: int = 512
) -> Path:
    """Write config, tokenizer and, if wanted, chat template and weights into ``folder``, and return it.

    The same arguments give the same weights. ``vocab_size`` is what the config claims, the tokenizer's own if None: a
    smaller one makes generation raise IndexError at the first token that the model does not know.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=320, special_tokens=[BEGIN, TURN, END], initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=BEGIN, eos_token=END, additional_special_tokens=[TURN]
    )
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=vocab_size or len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        initializer_range=0.5,  # the usual 0.02 gives one token again and again
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    if weights:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            LlamaForCausalLM(config).save_pretrained(folder)
    else:
        config.save_pretrained(folder)
    return folder
