"""The forward pass of Llama's family on a CPU: Llama, Mistral, Qwen 2 and 3, with little work outside the products.

It takes the weights of a loaded transformers model and computes what that model's own ``forward`` computes, for several
sequences at once. What makes it quicker token by token: matrices packed once (``matrices.py``), query, key and value in
one product and gate and up in another, rotary tables made beforehand, a cache that is written in place, heads that
share a key attended as rows of one, and no mask where one token is asked. In float32 the results agree with those of
transformers to rounding; in bfloat16 sums are rounded in another order.

Not covered: accelerators, gradients, experts, quantised checkpoints, and rotary embeddings that change with the length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragapp.matrices import Bits, Matrix, matrix

__all__ = ["FAMILIES", "Cache", "Llama", "is_known"]

# The models that are computed here: config.json's model_type, and the class that transformers has for it.
FAMILIES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}
FAMILIES |= {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_ROPES = {"default", "linear", "llama3", "yarn"}  # those whose frequencies do not depend on the length of the text
_QKV = ("q_proj", "k_proj", "v_proj")


class Cache:
    """The keys and values of one sequence: ``store`` is [layers, 2, key heads, room, head width], ``length`` filled."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.layers = list(store)
        self.length = 0

    @property
    def room(self) -> int:
        return int(self.store.shape[3])

    @property
    def size(self) -> int:
        """Bytes of the room."""
        return int(self.store.numel() * self.store.element_size())

    def take(self, other: Cache, length: int) -> None:
        """Begin with the first ``length`` positions of another cache."""
        self.store[:, :, :, :length] = other.store[:, :, :, :length]
        self.length = length


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: Any
    qkv: Matrix
    norm_heads: Any  # [query and key heads, head width], Qwen 3 only
    out: Matrix
    norm_mlp: Any
    gate_up: Matrix
    down: Matrix
    window: int | None  # how many positions back it sees, itself counted


@dataclass(frozen=True, slots=True)
class _Step:
    """What all layers of one pass share; cosines and sines are those of the rows, [rows, 1, head width]."""

    pieces: Sequence[tuple[Cache, Sequence[int]]]
    cos: Any
    sin: Any
    masks: Sequence[Any]


class Llama:
    """Takes the weights out of a transformers model that ``is_known``, which is empty afterwards."""

    def __init__(self, network: Any, bits: Bits = "none") -> None:
        import torch

        config, body = network.config, network.model
        self.dtype = body.embed_tokens.weight.dtype
        self.vocabulary = int(body.embed_tokens.weight.shape[0])
        self.heads, self.key_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self.width = int(getattr(config, "head_dim", None) or config.hidden_size // self.heads)
        self.inner = int(config.intermediate_size)
        self.epsilon = float(config.rms_norm_eps)
        self._frequencies = body.rotary_emb.inv_freq.float()
        self._rope_scale = float(body.rotary_emb.attention_scaling)
        self._rotations: Any = None  # (cos, sin), each [positions, 1, head width]
        self._embedding = body.embed_tokens.weight.detach()
        self._norm = body.norm.weight.detach()
        none: Any = None
        with torch.no_grad():
            self._layers = [self._layer(network, n, bits) for n in range(len(body.layers))]
            self._head = matrix(network.lm_head.weight, None, "int8" if bits == "int4" else bits)
            network.lm_head.weight = none
        maps = [m for layer in self._layers for m in (layer.qkv, layer.out, layer.gate_up, layer.down)]
        self.size = sum(m.size for m in maps) + self._head.size  # bytes that every token reads

    def cache(self, room: int) -> Cache:
        """An empty cache for ``room`` tokens; the memory is taken when it is written."""
        import torch

        shape = (len(self._layers), 2, self.key_heads, room, self.width)
        return Cache(torch.empty(shape, dtype=self.dtype))

    def cache_bytes(self, room: int) -> int:
        return int(len(self._layers) * 2 * self.key_heads * room * self.width * self.dtype.itemsize)

    def forward(self, pieces: Sequence[tuple[Cache, Sequence[int]]], last: bool = True) -> Any:
        """Read more tokens of each sequence into its cache; what may come next, ``[rows, vocabulary]``.

        Rows are one a sequence, behind its last token, or with ``last=False`` one for every token given, in order.
        Raises IndexError for a token that the model does not know, RuntimeError when memory is short.
        """
        import torch

        ids, places, asked = _rows(pieces, last)
        if wrong := [i for i in ids if not 0 <= i < self.vocabulary]:
            raise IndexError(f"token {wrong[0]} is outside the model's vocabulary of {self.vocabulary}")
        count = len(ids)
        if count == 1:  # one row alone is summed in another order than two or more
            ids, places = ids * 2, places * 2
        with torch.inference_mode():
            hidden = self._embedding[torch.tensor(ids)]
            cos, sin = self._rotation(max(places) + 1)
            at = torch.tensor(places)
            step = _Step(pieces, cos[at], sin[at], self._masks(pieces))
            for number, layer in enumerate(self._layers):
                hidden = hidden + layer.out(self._attend(number, layer, hidden, step))
                gate_up = layer.gate_up(self._normed(hidden, layer.norm_mlp))
                gate, up = gate_up[:, : self.inner], gate_up[:, self.inner :]
                hidden = hidden + layer.down(torch.nn.functional.silu(gate) * up)
            for cache, tokens in pieces:
                cache.length += len(tokens)
            if asked != list(range(len(hidden))):
                hidden = hidden[torch.tensor(asked if len(asked) > 1 else asked * 2)]
            return self._head(self._normed(hidden, self._norm))[: len(asked)]

    def _attend(self, number: int, layer: _Layer, hidden: Any, step: _Step) -> Any:
        """What each row gathers from the positions before it, [rows, heads * head width]; its own go into the cache."""
        import torch

        attention = torch.nn.functional.scaled_dot_product_attention
        rows, group = len(hidden), self.heads // self.key_heads
        turned = self.heads + self.key_heads
        mixed = layer.qkv(self._normed(hidden, layer.norm)).view(rows, turned + self.key_heads, self.width)
        heads = mixed[:, :turned]
        if layer.norm_heads is not None:
            heads.copy_(self._normed(heads, layer.norm_heads))
        torch.addcmul(heads * step.cos, torch.roll(heads, self.width // 2, -1), step.sin, out=heads)
        found = torch.empty(rows, self.heads * self.width, dtype=self.dtype)
        row = 0
        for (cache, tokens), mask in zip(step.pieces, step.masks, strict=True):
            n, start = len(tokens), cache.length
            end, store = start + n, cache.layers[number]
            fresh = mixed[row : row + n, self.heads :].view(n, 2, self.key_heads, self.width)
            store[:, :, start:end].copy_(fresh.permute(1, 2, 0, 3))
            begin = max(0, start + 1 - layer.window) if layer.window else 0
            asking = mixed[row : row + n, : self.heads].view(n, self.key_heads, group, self.width)
            seen = attention(
                asking.permute(1, 2, 0, 3).reshape(1, self.key_heads, group * n, self.width),
                store[0:1, :, begin:end],
                store[1:2, :, begin:end],
                attn_mask=None if mask is None else mask[layer.window],
            )
            seen = seen.view(self.key_heads, group, n, self.width).permute(2, 0, 1, 3)
            found[row : row + n].view(n, self.key_heads, group, self.width).copy_(seen)
            row += n
        if row < rows:
            found[row:] = found[:1]
        return found

    def _masks(self, pieces: Sequence[tuple[Cache, Sequence[int]]]) -> list[Any]:
        """For each piece None, or for each window the mask [heads that share a key * tokens, positions seen]."""
        import torch

        group = self.heads // self.key_heads
        masks: list[Any] = []
        for cache, tokens in pieces:
            n, start = len(tokens), cache.length
            if n == 1:
                masks.append(None)
                continue
            here = torch.arange(start, start + n)[:, None]
            mask = {}
            for window in {layer.window for layer in self._layers}:
                there = torch.arange(max(0, start + 1 - window) if window else 0, start + n)
                hidden = there > here
                if window:
                    hidden |= there <= here - window
                bars = torch.zeros(hidden.shape, dtype=self.dtype).masked_fill_(hidden, float("-inf"))
                mask[window] = bars.repeat(group, 1)[None, None]
            masks.append(mask)
        return masks

    def _normed(self, rows: Any, weight: Any) -> Any:
        """RMSNorm (Zhang & Sennrich 2019), rounded where transformers rounds."""
        floats = rows.float()
        scale = (floats * floats).mean(-1, keepdim=True).add_(self.epsilon).rsqrt_()
        return weight * (floats * scale).to(rows.dtype)

    def _rotation(self, positions: int) -> Any:
        """Cosines and sines of at least so many positions; the sines of the first half have the sign of its partner."""
        import torch

        if self._rotations is None or len(self._rotations[0]) < positions:
            there = torch.arange(max(512, 2 * positions)).float()
            angles = torch.outer(there, self._frequencies)
            cos, sin = angles.cos() * self._rope_scale, angles.sin() * self._rope_scale
            self._rotations = (
                torch.cat([cos, cos], -1)[:, None].to(self.dtype),
                torch.cat([-sin, sin], -1)[:, None].to(self.dtype),
            )
        return self._rotations

    def _layer(self, network: Any, number: int, bits: Bits) -> _Layer:
        """Pack one layer and let go of what it was made of, so that the weights are never there twice."""
        import torch

        layer, config = network.model.layers[number], network.config
        attention, mlp = layer.self_attn, layer.mlp
        norm_heads = None
        if config.model_type == "qwen3":
            weights = [attention.q_norm.weight] * self.heads + [attention.k_norm.weight] * self.key_heads
            norm_heads = torch.stack(weights).detach()
        packed = _Layer(
            norm=layer.input_layernorm.weight.detach(),
            qkv=_joined([getattr(attention, name) for name in _QKV], bits),
            norm_heads=norm_heads,
            out=_joined([attention.o_proj], bits),
            norm_mlp=layer.post_attention_layernorm.weight.detach(),
            gate_up=_joined([mlp.gate_proj, mlp.up_proj], bits),
            down=_joined([mlp.down_proj], bits),
            window=_window(config, number),
        )
        none: Any = None
        for part in (*(getattr(attention, name) for name in _QKV), attention.o_proj, *mlp.children()):
            if isinstance(part, torch.nn.Linear):
                part.weight = none
        return packed


def _rows(pieces: Sequence[tuple[Cache, Sequence[int]]], last: bool) -> tuple[list[int], list[int], list[int]]:
    """Tokens, their positions, and the rows that are asked for."""
    ids: list[int] = []
    places: list[int] = []
    asked: list[int] = []
    for cache, tokens in pieces:
        ids += tokens
        places += range(cache.length, cache.length + len(tokens))
        asked += [len(ids) - 1] if last else range(len(ids) - len(tokens), len(ids))
    return ids, places, asked


def _joined(parts: list[Any], bits: Bits) -> Matrix:
    import torch

    if len(parts) == 1:
        return matrix(parts[0].weight, _bias(parts[0]), bits)
    biases = [_bias(part) for part in parts]
    bias = None
    if any(b is not None for b in biases):
        zeros = [part.weight.new_zeros(len(part.weight)) for part in parts]
        bias = torch.cat([zero if b is None else b for b, zero in zip(biases, zeros, strict=True)])
    return matrix(torch.cat([part.weight for part in parts]), bias, bits)


def _bias(part: Any) -> Any:
    return None if part.bias is None else part.bias.detach()


def _window(config: Any, number: int) -> int | None:
    if config.model_type == "mistral":
        return getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    return int(config.sliding_window) if kinds and kinds[number] == "sliding_attention" else None


def is_known(network: Any) -> bool:
    """Whether a model is, by its class, settings and the names of its weights, one that is computed here."""
    import torch

    config = network.config
    kind = getattr(config, "model_type", "")
    if type(network).__name__ != FAMILIES.get(kind) or getattr(config, "hidden_act", "") != "silu":
        return False
    rope = network.model.rotary_emb
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    weights = dict(network.named_parameters())
    return (
        getattr(rope, "rope_type", "default") in _ROPES
        and 2 * rope.inv_freq.numel() == width
        and config.num_attention_heads % config.num_key_value_heads == 0
        and {name for name in weights if not name.endswith(".bias")} == _names(network, kind)
        and all(type(m) is torch.nn.Linear for n, m in network.named_modules() if n.endswith(("_proj", "lm_head")))
        and {(w.device.type, w.dtype) for w in weights.values()} <= {("cpu", network.model.embed_tokens.weight.dtype)}
        and network.model.embed_tokens.weight.dtype in {torch.float32, torch.bfloat16, torch.float16}
        and network.lm_head.bias is None
    )


def _names(network: Any, kind: str) -> set[str]:
    inner = [f"self_attn.{name}" for name in (*_QKV, "o_proj")] + ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    inner += ["input_layernorm", "post_attention_layernorm"]
    if kind == "qwen3":
        inner += ["self_attn.q_norm", "self_attn.k_norm"]
    names = {f"model.layers.{n}.{name}.weight" for n in range(len(network.model.layers)) for name in inner}
    tied = network.lm_head.weight is network.model.embed_tokens.weight
    return names | {"model.embed_tokens.weight", "model.norm.weight"} | (set() if tied else {"lm_head.weight"})
