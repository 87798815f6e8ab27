"""Frozen linear maps in FP8 (e4m3): one byte a weight, products by the GPU's FP8 units.

A weight has one scale; what it is multiplied by, x on the way forth and the gradient on the way
back, is rounded row by row with a scale each. An L40S and an H100 have such units, an A100 has not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.nn.functional import ScalingType, scaled_mm

FORMAT = torch.float8_e4m3fn
LARGEST = torch.finfo(FORMAT).max
SMALLEST_PEAK = 1e-12  # a row of zeros has a scale too


@dataclass(frozen=True)
class Rounded:
    """A matrix in FP8: values (rows, width), scales (rows, 1) in float32."""

    values: torch.Tensor
    scales: torch.Tensor


def rounded(x: torch.Tensor) -> Rounded:
    """x (rows, width), each row scaled so that its largest value is FP8's largest."""
    if x.is_cuda:
        from training.fp8_kernel import round_rows

        return Rounded(*round_rows(x))
    scales = x.abs().amax(1, keepdim=True).float().clamp(min=SMALLEST_PEAK) / LARGEST
    return Rounded((x / scales).to(FORMAT), scales)


def turned(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix in FP8, (height, width) → its contiguous transpose (width, height)."""
    if matrix.is_cuda:
        from training.fp8_kernel import turn

        return turn(matrix)
    return matrix.t().contiguous()


class Fp8Linear(nn.Module):
    """A frozen map without bias, y = W x, W (out, in) in FP8 with one scale."""

    bias = None

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        weight = linear.weight.detach()
        scale = weight.abs().max().float().clamp(min=SMALLEST_PEAK) / LARGEST
        self.weight = nn.Parameter((weight / scale).to(FORMAT), requires_grad=False)
        self.register_buffer("scale", scale, persistent=False)

    def forth(self, x: Rounded, dtype: torch.dtype) -> torch.Tensor:
        """W x for rows x: (tokens, in) → (tokens, out) in `dtype`."""
        return self._product(x, self.weight.t(), dtype)

    def back(self, gradient: Rounded, dtype: torch.dtype) -> torch.Tensor:
        """The gradient of x: (tokens, out) → (tokens, in) in `dtype`."""
        # The units want the second factor column by column, so the weight is turned round.
        return self._product(gradient, turned(self.weight).t(), dtype)

    def _product(self, left: Rounded, right: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        scales = self.scale.expand(1, right.shape[1]).contiguous()
        by_row = ScalingType.RowWise
        return scaled_mm(
            left.values, right, left.scales, by_row, scales, by_row, output_dtype=dtype
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) → (..., out) in x's dtype."""
        return Fp8Map.apply(x, self)


class Fp8Map(torch.autograd.Function):
    """A map by itself, where no adapter acts on it."""

    @staticmethod
    def forward(ctx, x, layer: Fp8Linear):
        ctx.layer = layer
        tokens = x.reshape(-1, x.shape[-1])
        return layer.forth(rounded(tokens), x.dtype).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, gradient):
        tokens = gradient.reshape(-1, gradient.shape[-1])
        wide = ctx.layer.back(rounded(tokens), gradient.dtype)
        return wide.view(*gradient.shape[:-1], -1), None


def convert(model: nn.Module) -> int:
    """Put every map that carries LoRA into FP8, one after the other; how many there were.

    What carries none (eyes, projector, head, embeddings) stays as it is.
    """
    adapted = [module for module in model.modules() if type(module) is Linear]
    for module in adapted:
        module.base_layer = Fp8Linear(module.base_layer)
    return len(adapted)


def has_units() -> bool:
    """Whether this machine's GPU multiplies in FP8; True without a GPU, where it is computed."""
    return not torch.cuda.is_available() or torch.cuda.get_device_capability() >= (8, 9)
