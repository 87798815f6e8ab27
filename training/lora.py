"""Linear maps with LoRA as steps of autograd whose products are written out.

PEFT runs each map by itself: it copies W x, scales (tokens, out), adds, and keeps an input for each
of them. Here q, k and v, and gate and up, are one step: one product with all their A, the scale on
the narrow A x, every sum inside a product. Only x and A x are kept for the way back; of the MLP's
last map not even x, which follows from gate and up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import bitsandbytes as bnb
import torch
from peft.tuners.lora import Linear, LoraLayer
from peft.tuners.lora.bnb import Linear4bit
from torch import nn
from torch.nn import functional

from training.fp8 import Fp8Linear, rounded

stock_linear = Linear.forward
stock_linear_4bit = Linear4bit.forward
Tensors = Sequence[torch.Tensor]
LoraModule = Any  # a layer of PEFT's, whose attributes have no types


@dataclass(frozen=True)
class Maps:
    """Several maps of one input: y_i = W_i x + B_i (scale A_i x), W_i frozen.

    All products are done in `dtype`. A_i are (rank, in), B_i (out_i, rank).
    """

    layers: Sequence[Any]  # linear maps, which hold the W_i, all of one kind
    scale: float
    dtype: torch.dtype

    def forward(self, x: torch.Tensor, downs: Tensors, ups: Tensors) -> tuple[list, torch.Tensor]:
        """x (tokens, in) → (all y_i, (tokens, out_i) each; scale A x, (tokens, maps * rank))."""
        narrow = x @ self._joined(downs).t()
        narrow.mul_(self.scale)
        outputs = []
        parts = narrow.split(downs[0].shape[0], dim=1)
        read = rounded(x) if isinstance(self.layers[0], Fp8Linear) else x
        for layer, up, part in zip(self.layers, ups, parts, strict=True):
            wide = forth(layer, read, self.dtype)
            outputs.append(wide.addmm_(part, up.to(self.dtype).t()))
        return outputs, narrow

    def backward(
        self,
        gradients: Tensors,
        x: torch.Tensor,
        narrow: torch.Tensor,
        downs: Tensors,
        ups: Tensors,
        of_input: bool,
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """From the gradients of all y_i: that of x, where it is wanted, and those of all A, all B.

        dB = g^T (scale A x), dA = (scale g B)^T x, dx = sum of g W + (scale g B) A.
        """
        rank = downs[0].shape[0]
        narrow_gradient = torch.empty_like(narrow)
        input_gradient = None
        up_gradients = []
        for number, (layer, up) in enumerate(zip(self.layers, ups, strict=True)):
            part = slice(number * rank, (number + 1) * rank)
            gradient = gradients[number].reshape(-1, up.shape[0]).to(self.dtype)
            torch.mm(gradient, up.to(self.dtype), out=narrow_gradient[:, part])
            up_gradients.append((gradient.t() @ narrow[:, part]).to(up.dtype))
            if not of_input:
                continue
            input_gradient = back(layer, gradient, input_gradient)
        narrow_gradient.mul_(self.scale)
        down_gradient = (narrow_gradient.t() @ x).to(downs[0].dtype)
        if input_gradient is not None:
            input_gradient.addmm_(narrow_gradient, self._joined(downs))
        return input_gradient, [*down_gradient.split(rank), *up_gradients]

    def _joined(self, downs: Tensors) -> torch.Tensor:
        """All A under each other: (maps * rank, in)."""
        return torch.cat([down.to(self.dtype) for down in downs])


class LoraMaps(torch.autograd.Function):
    """`Maps` of x (..., in) → (..., out_i) each; `matrices` are all A, then all B."""

    @staticmethod
    def forward(ctx, maps: Maps, x, *matrices):
        count = len(maps.layers)
        with torch.autocast(x.device.type, enabled=False):
            tokens = x.reshape(-1, x.shape[-1]).to(maps.dtype)
            outputs, narrow = maps.forward(tokens, matrices[:count], matrices[count:])
        ctx.save_for_backward(tokens, narrow, *matrices)
        ctx.maps = maps
        ctx.input = (x.shape, x.dtype)
        return tuple(output.view(*x.shape[:-1], -1) for output in outputs)

    @staticmethod
    def backward(ctx, *gradients):
        tokens, narrow, *matrices = ctx.saved_tensors
        count = len(ctx.maps.layers)
        with torch.autocast(tokens.device.type, enabled=False):
            wide, of_matrices = ctx.maps.backward(
                gradients,
                tokens,
                narrow,
                matrices[:count],
                matrices[count:],
                ctx.needs_input_grad[1],
            )
        shape, dtype = ctx.input
        return None, None if wide is None else wide.view(shape).to(dtype), *of_matrices


@dataclass(frozen=True)
class Gate:
    """The product in an MLP's middle, silu(gate) * up, by kernels for a GPU or for a CPU."""

    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    # (gate, up, gradient of the product) → gradients of gate and up; may write over the first two
    backward: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Tensors]


def _silu_product(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return functional.silu(gate) * up


def _silu_product_backward(gate: torch.Tensor, up: torch.Tensor, gradient: torch.Tensor) -> Tensors:
    of_gate = torch.ops.aten.silu_backward(gradient * up, gate)
    return of_gate, gradient * functional.silu(gate)


SILU = Gate(_silu_product, _silu_product_backward)


class GatedLoraMap(torch.autograd.Function):
    """One map of silu(gate) * up, which is computed again on the way back instead of kept."""

    @staticmethod
    def forward(ctx, maps: Maps, product: Gate, gate, up, *matrices):
        with torch.autocast(gate.device.type, enabled=False):
            tokens = product.forward(gate, up).reshape(-1, gate.shape[-1])
            (output,), narrow = maps.forward(tokens, matrices[:1], matrices[1:])
        ctx.save_for_backward(gate, up, narrow, *matrices)
        ctx.maps = maps
        ctx.product = product
        return output.view(*gate.shape[:-1], -1)

    @staticmethod
    def backward(ctx, gradient):
        gate, up, narrow, *matrices = ctx.saved_tensors
        with torch.autocast(gate.device.type, enabled=False):
            tokens = ctx.product.forward(gate, up).reshape(-1, gate.shape[-1])
            wide, of_matrices = ctx.maps.backward(
                [gradient], tokens, narrow, matrices[:1], matrices[1:], of_input=True
            )
            of_gate, of_up = ctx.product.backward(gate, up, wide.view_as(gate))
        return None, None, of_gate, of_up, *of_matrices


def weight_of(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    """A frozen map's weight, (out, in), dequantised where it is in 4 bits."""
    if isinstance(layer, bnb.nn.Linear4bit):
        weight: Any = layer.weight
        return bnb.functional.dequantize_4bit(weight.data, weight.quant_state).to(dtype)
    return layer.weight.to(dtype)


def forth(layer: Any, x: Any, dtype: torch.dtype) -> torch.Tensor:
    """W x of a frozen map, (tokens, in) → (tokens, out); x rounded where W is in FP8."""
    if isinstance(layer, Fp8Linear):
        return layer.forth(x, dtype)
    return x @ weight_of(layer, dtype).t()


def back(layer: Any, gradient: torch.Tensor, total: torch.Tensor | None) -> torch.Tensor:
    """What a frozen map adds to the gradient of its input: (tokens, out) → (tokens, in), summed
    onto `total` where there is one.
    """
    if isinstance(layer, Fp8Linear):
        added = layer.back(rounded(gradient), gradient.dtype)
        return added if total is None else total.add_(added)
    weight = weight_of(layer, gradient.dtype)
    return gradient @ weight if total is None else total.addmm_(gradient, weight)


def lora_maps(x: torch.Tensor, modules: Sequence[LoraModule]) -> Sequence[torch.Tensor]:
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


def gated_map(
    gate: torch.Tensor, up: torch.Tensor, module: LoraModule, product: Gate
) -> torch.Tensor:
    """What `module` makes of silu(gate) * up, (..., in) each → (..., out)."""
    if not is_plain(module, gate) or gate.dtype != _dtype(gate):
        return module(product.forward(gate, up))
    maps, matrices = _maps_of(gate, [module])
    return GatedLoraMap.apply(maps, product, gate, up, *matrices)


def _one_step(x: torch.Tensor, modules: Sequence[LoraModule]) -> Tensors:
    maps, matrices = _maps_of(x, modules)
    return LoraMaps.apply(maps, x, *matrices)


def _maps_of(x: torch.Tensor, modules: Sequence[LoraModule]) -> tuple[Maps, list[torch.Tensor]]:
    """(the maps, all their A, then all their B)."""
    names = [module.active_adapters[0] for module in modules]
    downs = [module.lora_A[name].weight for module, name in zip(modules, names, strict=True)]
    ups = [module.lora_B[name].weight for module, name in zip(modules, names, strict=True)]
    layers = [module.base_layer for module in modules]
    return Maps(layers, modules[0].scaling[names[0]], _dtype(x)), [*downs, *ups]


def _dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype of the products: autocast's where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _alike(modules: Sequence[LoraModule], x: torch.Tensor) -> bool:
    """Whether all of `modules` are plain, of one rank, one scale and one kind of base."""
    if not all(is_plain(module, x) for module in modules):
        return False
    kinds = set()
    for module in modules:
        name = module.active_adapters[0]
        kinds.add((module.r[name], module.scaling[name], type(module.base_layer)))
    return len(kinds) == 1


def is_plain(module: LoraModule, x: torch.Tensor) -> bool:
    """Whether a module is a frozen linear map and one plain adapter that acts on x as it is."""
    if LoraLayer not in type(module).__mro__ or module.disable_adapters or module.merged:
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
        state = getattr(base.weight, "quant_state", None)
        if state is None or getattr(state, "packing_format_for_cpu", False):
            return False
        if base.compute_dtype not in (None, _dtype(x)):
            return False
    elif type(base) not in (nn.Linear, Fp8Linear):
        return False
    autocast = torch.is_autocast_enabled(x.device.type)
    return autocast or module.lora_A[name].weight.dtype == x.dtype
