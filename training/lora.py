"""Linear maps with LoRA that read one input, as one step of autograd with its products written out.

PEFT runs each map by itself: it copies W x, scales (tokens, out), adds, and keeps an input for each
of them. Here q, k and v, and gate and up, are one step: one product with all their A, the scale on
the narrow A x, every sum inside a product. Only x and A x are kept for the way back.
"""

from __future__ import annotations

from collections.abc import Sequence

import bitsandbytes as bnb
import torch
from peft.tuners.lora import Linear, LoraLayer
from peft.tuners.lora.bnb import Linear4bit
from torch import nn

stock_linear = Linear.forward
stock_linear_4bit = Linear4bit.forward


class LoraMaps(torch.autograd.Function):
    """y_i = W_i x + B_i (scale A_i x) for several maps i of one x; W_i is frozen.

    x (..., in), A_i (rank, in), B_i (out_i, rank) → y_i (..., out_i) in `dtype`, in which all
    products are done.
    """

    @staticmethod
    def forward(ctx, x, layers, scale, dtype, *matrices):
        """`layers` hold the W_i; `matrices` are all A, then all B."""
        downs = matrices[: len(layers)]
        ups = matrices[len(layers) :]
        rank = downs[0].shape[0]
        with torch.autocast(x.device.type, enabled=False):
            tokens = x.reshape(-1, x.shape[-1]).to(dtype)
            narrow = tokens @ _joined(downs, dtype).t()
            narrow.mul_(scale)
            outputs = []
            for layer, up, part in zip(layers, ups, narrow.split(rank, dim=1), strict=True):
                wide = tokens @ weight_of(layer, dtype).t()
                wide.addmm_(part, up.to(dtype).t())
                outputs.append(wide.view(*x.shape[:-1], -1))
        ctx.save_for_backward(tokens, narrow, *matrices)
        ctx.layers = layers
        ctx.scale = scale
        ctx.input_dtype = x.dtype
        return tuple(outputs)

    @staticmethod
    def backward(ctx, *output_gradients):
        """dB = g^T (scale A x), dA = (scale g B)^T x, dx = sum of g W + (scale g B) A."""
        tokens, narrow, *matrices = ctx.saved_tensors
        layers = ctx.layers
        downs = matrices[: len(layers)]
        ups = matrices[len(layers) :]
        dtype = tokens.dtype
        rank = downs[0].shape[0]
        narrow_gradient = torch.empty_like(narrow)
        input_gradient = None
        up_gradients = []
        with torch.autocast(tokens.device.type, enabled=False):
            for number, layer in enumerate(layers):
                part = slice(number * rank, (number + 1) * rank)
                up = ups[number]
                gradient = output_gradients[number].reshape(-1, up.shape[0]).to(dtype)
                torch.mm(gradient, up.to(dtype), out=narrow_gradient[:, part])
                up_gradients.append((gradient.t() @ narrow[:, part]).to(up.dtype))
                if not ctx.needs_input_grad[0]:
                    continue
                weight = weight_of(layer, dtype)
                if input_gradient is None:
                    input_gradient = gradient @ weight
                else:
                    input_gradient.addmm_(gradient, weight)
            narrow_gradient.mul_(ctx.scale)
            down_gradient = (narrow_gradient.t() @ tokens).to(downs[0].dtype)
            if input_gradient is not None:
                input_gradient.addmm_(narrow_gradient, _joined(downs, dtype))
                shape = (*output_gradients[0].shape[:-1], -1)
                input_gradient = input_gradient.to(ctx.input_dtype).view(shape)
        return input_gradient, None, None, None, *down_gradient.split(rank), *up_gradients


def _joined(downs: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """All A under each other: (maps * rank, in)."""
    return torch.cat([down.to(dtype) for down in downs])


def weight_of(layer: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """A frozen map's weight, (out, in), dequantised where it is in 4 bits."""
    if isinstance(layer, bnb.nn.Linear4bit):
        state = layer.weight.quant_state
        return bnb.functional.dequantize_4bit(layer.weight.data, state).to(dtype)
    return layer.weight.to(dtype)


def lora_maps(x: torch.Tensor, modules: Sequence[nn.Module]) -> Sequence[torch.Tensor]:
    """What each of `modules` makes of x, (..., in) → (..., out) each.

    One step where all of them carry one plain adapter of the same rank and scale; else each by
    itself.
    """
    if _alike(modules, x):
        return _one_step(x, modules)
    return [module(x) for module in modules]


def linear(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
    """`forward` of PEFT's Linear and Linear4bit: W x + B (scale A x), (..., in) → (..., out)."""
    if args or kwargs or not is_plain(self, x):
        stock = stock_linear_4bit if isinstance(self, Linear4bit) else stock_linear
        return stock(self, x, *args, **kwargs)
    return _one_step(x, [self])[0]


def _one_step(x: torch.Tensor, modules: Sequence[nn.Module]) -> Sequence[torch.Tensor]:
    names = [module.active_adapters[0] for module in modules]
    downs = [module.lora_A[name].weight for module, name in zip(modules, names, strict=True)]
    ups = [module.lora_B[name].weight for module, name in zip(modules, names, strict=True)]
    layers = [module.base_layer for module in modules]
    return LoraMaps.apply(x, layers, modules[0].scaling[names[0]], _dtype(x), *downs, *ups)


def _dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype of the products: autocast's where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _alike(modules: Sequence[nn.Module], x: torch.Tensor) -> bool:
    """Whether all of `modules` are plain, of one rank and one scale."""
    if not all(is_plain(module, x) for module in modules):
        return False
    names = [module.active_adapters[0] for module in modules]
    pairs = list(zip(modules, names, strict=True))
    return len({(module.r[name], module.scaling[name]) for module, name in pairs}) == 1


def is_plain(module: nn.Module, x: torch.Tensor) -> bool:
    """Whether a module is a frozen linear map and one plain adapter that acts on x as it is."""
    if not isinstance(module, LoraLayer) or module.disable_adapters or module.merged:
        return False
    names = module.active_adapters
    name = names[0] if len(names) == 1 else None
    if name not in module.lora_A or name in module.lora_variant:
        return False
    dropout = module.lora_dropout[name]
    if isinstance(dropout, nn.Dropout) and dropout.p > 0 and module.training:
        return False
    base = module.base_layer
    if base.bias is not None or module.lora_B[name].bias is not None or base.weight.requires_grad:
        return False
    if isinstance(base, bnb.nn.Linear4bit):
        state = base.weight.quant_state
        if state is None or getattr(state, "packing_format_for_cpu", False):
            return False
        if base.compute_dtype not in (None, _dtype(x)):
            return False
    elif type(base) is not nn.Linear:
        return False
    autocast = torch.is_autocast_enabled(x.device.type)
    return autocast or module.lora_A[name].weight.dtype == x.dtype
