"""GGUF files of a few kilobytes, written byte by byte, good and bad."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TOKENS = ["<unk>", "<s>", "</s>", "<|user|>", "<|system|>", "<|assistant|>", "word"]
METADATA: Mapping[str, Any] = {
    "general.architecture": "llama",
    "llama.context_length": 512,
    "llama.embedding_length": 64,
    "llama.block_count": 2,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.chat_template": TEMPLATE,
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [2, 3, 3, 3, 3, 3, 1],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
}
TENSORS: Mapping[str, tuple[Sequence[int], int]] = {
    "token_embd.weight": ((64, 10), 0),  # F32: 2,560 bytes
    "output.weight": ((64, 10), 8),  # Q8_0: 20 blocks of 34 bytes
}


def write(
    file: Path,
    metadata: Mapping[str, Any] = METADATA,
    tensors: Mapping[str, tuple[Sequence[int], int]] = TENSORS,
    *,
    size: int = 3264,
) -> Path:
    """``size`` bytes of zeros stand for the weights. The tensors follow one another at multiples of 32 bytes."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _text(key) + _value(value)
    offset = 0
    for name, (shape, kind) in tensors.items():
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += 2560
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(head + bytes(-len(head) % 32) + bytes(size))
    return file


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<IQ", 10, value)
        case float():
            return struct.pack("<Id", 12, value)
        case str():
            return struct.pack("<I", 8) + _text(value)
        case _:
            items = [_value(item) for item in value]
            kind = items[0][:4] if items else struct.pack("<I", 8)
            return struct.pack("<I", 9) + kind + struct.pack("<Q", len(items)) + b"".join(item[4:] for item in items)
