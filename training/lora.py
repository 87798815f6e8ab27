"""A LoRA map with its scale on the narrow A x and its sum inside the product with B.

PEFT copies W x, scales (tokens, out) and adds: three passes over the widest tensors, which a product with a bias
does in one.
"""

from __future__ import annotations

import torch
from peft.tuners.lora.bnb import Linear4bit

stock_linear = Linear4bit.forward


def linear(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
    """`Linear4bit.forward` of PEFT: W x + B (scale A x), (..., in) → (..., out). Anything but one plain adapter goes the stock way."""
    adapters = self.active_adapters
    name = adapters[0] if len(adapters) == 1 else None
    plain = name in self.lora_A and name not in self.lora_variant
    if args or kwargs or self.disable_adapters or self.merged or not plain:
        return stock_linear(self, x, *args, **kwargs)
    down = self.lora_A[name]
    up = self.lora_B[name]
    same_dtype = torch.is_autocast_enabled(x.device.type) or x.dtype == down.weight.dtype
    if up.bias is not None or not same_dtype:
        return stock_linear(self, x, *args, **kwargs)
    wide = self.base_layer(x)
    narrow = down(self.lora_dropout[name](x)) * self.scaling[name]
    product = torch.addmm(wide.flatten(0, -2), narrow.flatten(0, -2), up.weight.t())
    return product.view_as(wide)
