"""Weight matrices in the form in which a CPU multiplies them fastest, and in 8 or 4 bits.

torch's ``linear`` puts a bfloat16 matrix into oneDNN's order of blocks again at every call, which costs more than the
product with a single row. Here that is done once. Packed so, a matrix is read at the speed of the memory, and the
products of two to some dozen rows are the same to the bit however many rows are computed together.

Inference on a CPU only. Rows are ``[n, inputs]`` in the matrix's own dtype, and so are results, ``[n, outputs]``.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, Protocol

__all__ = ["Bits", "Matrix", "matrix"]

Bits = Literal["none", "int8", "int4"]
_ROWS_AT_ONCE = 8  # oneDNN chooses its blocks for so many rows; other numbers work too
_GROUP = 32  # neighbouring weights that share scale and zero in 4 bits
_WIDE = 32  # from so many rows on, weights in 8 bits are turned into floats first: that pays for itself


class Matrix(Protocol):
    """A linear map; ``size`` is what its weights take, in bytes."""

    size: int

    def __call__(self, rows: Any) -> Any: ...


def matrix(weight: Any, bias: Any, bits: Bits = "none") -> Matrix:
    """The map of a ``[outputs, inputs]`` weight and a bias (or None), in the given bits.

    4 bits want inputs that are a multiple of 32 and outputs that are a multiple of 64, else 8 bits are taken.
    """
    if bits == "int4" and weight.shape[1] % _GROUP == 0 and weight.shape[0] % 64 == 0:
        return _Int4(weight, bias)
    if bits != "none":
        return _Int8(weight, bias)
    return _Packed(weight, bias) if _packs(weight.dtype) else _Plain(weight, bias)


class _Plain:
    def __init__(self, weight: Any, bias: Any) -> None:
        self.weight, self.bias = weight.detach(), bias
        self.size = weight.numel() * weight.element_size()

    def __call__(self, rows: Any) -> Any:
        from torch.nn import functional

        return functional.linear(rows, self.weight, self.bias)


class _Packed:
    def __init__(self, weight: Any, bias: Any) -> None:
        import torch

        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _ROWS_AT_ONCE)
        self.bias = bias
        self.size = weight.numel() * weight.element_size()
        self.product = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, rows: Any) -> Any:
        return self.product(rows, self.weight, self.bias, "none", [], "")


class _Int8:
    """One scale for each output, symmetric."""

    def __init__(self, weight: Any, bias: Any) -> None:
        import torch

        floats = weight.detach().float()
        scale = (floats.abs().amax(1) / 127).clamp_min(1e-12)
        self.weight = (floats / scale[:, None]).round_().to(torch.int8)
        self.scale, self.bias = scale.to(weight.dtype), bias
        self.size = self.weight.numel() + self.scale.numel() * self.scale.element_size()
        self.product = torch.ops.aten._weight_int8pack_mm.default

    def __call__(self, rows: Any) -> Any:
        if len(rows) < _WIDE:
            out = self.product(rows.contiguous(), self.weight, self.scale)
        else:
            out = (rows @ self.weight.to(rows.dtype).t()) * self.scale
        return out if self.bias is None else out + self.bias


class _Int4:
    """A scale and a zero for every 32 neighbours of a row: ``weight = (code - 8) * scale + zero``."""

    def __init__(self, weight: Any, bias: Any) -> None:
        import torch

        outputs, inputs = weight.shape
        groups = weight.detach().float().view(outputs, inputs // _GROUP, _GROUP)
        low, high = groups.amin(2, keepdim=True), groups.amax(2, keepdim=True)
        scale = ((high - low) / 15).clamp_min(1e-8)
        codes = ((groups - low) / scale).round_().clamp_(0, 15).to(torch.int32).view(outputs, inputs)
        self.weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
        zero = low + 8 * scale
        self.scale = torch.cat([scale, zero], 2).transpose(0, 1).contiguous().to(weight.dtype)
        self.bias = bias
        self.size = outputs * inputs // 2 + self.scale.numel() * self.scale.element_size()
        self.product = torch.ops.aten._weight_int4pack_mm_for_cpu.default

    def __call__(self, rows: Any) -> Any:
        out = self.product(rows.contiguous(), self.weight, _GROUP, self.scale)
        return out if self.bias is None else out + self.bias


@functools.cache
def _packs(dtype: Any) -> bool:
    """Whether this build of torch on this processor packs matrices of a dtype, tried on a small one."""
    import torch

    if not torch._C._has_mkldnn or dtype not in {torch.bfloat16, torch.float32}:
        return False
    weight = (torch.arange(64 * 32).remainder(13).view(64, 32) / 8).to(dtype)
    rows = (torch.arange(3 * 32).remainder(7).view(3, 32) / 4).to(dtype)
    try:
        with torch.inference_mode():
            got, wanted = _Packed(weight, None)(rows), torch.nn.functional.linear(rows, weight)
    except (AttributeError, RuntimeError):  # an operator or a format that is not there
        return False
    return bool(torch.allclose(got.float(), wanted.float(), rtol=0.02))
