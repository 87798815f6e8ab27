"""What we change inside a Llava model while it trains: the loss, the vision tower's calls, the attention of packed rows.

Stock `LlavaForConditionalGeneration.forward` computes logits for every token: 131,072 classes times 16,384 tokens are 8.6 GB in
float32. Here the head sees only the positions whose next token is trained, and on a GPU Liger's fused linear cross entropy computes
loss and gradient in chunks, so the logits never exist as a whole. A frozen vision tower runs without gradient, once: it is outside
every checkpointed block.

A LoRA matrix's scale goes on the narrow A x and its sum into the product with B: two passes over (tokens x out) fewer a linear map.

The rows of a bin are told apart by where position_ids restart. Stock sdpa turns that into a dense mask of (tokens x tokens) and then
computes what it masks, and so it does for the images of a call; here each attends to itself: by PyTorch's varlen kernel on a GPU, one
after the other on a CPU.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from peft.tuners.lora.bnb import Linear4bit
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llava import modeling_llava
from transformers.models.llava.modeling_llava import (
    LlavaCausalLMOutputWithPast,
    LlavaForConditionalGeneration,
    LlavaModel,
)
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral

from training.render import IGNORE

PATCHES_A_CALL = (
    4096  # one image of 1024x1024 pixels: Llava keeps every layer's hidden states of a call
)
_CHUNK = 2048  # positions whose logits exist at once when no gradient is wanted

_stock_forward = LlavaForConditionalGeneration.forward
_stock_image_features = LlavaModel.get_image_features
_stock_sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
_stock_sdpa_mask = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
_stock_lora = Linear4bit.forward


def nll_sum(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed negative log-likelihood in nats. hidden (tokens, width), weight (classes, width), labels (tokens,) int64."""
    if hidden.is_cuda and torch.is_grad_enabled():
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

        # input, weight, target, bias, ce_weight, ignore_index, lse_square_scale, label_smoothing, reduction
        result = LigerFusedLinearCrossEntropyFunction.apply(
            hidden.to(weight.dtype), weight, labels, None, None, IGNORE, 0.0, 0.0, "sum"
        )
        return result[0] if isinstance(result, tuple) else result
    if torch.is_grad_enabled():
        return functional.cross_entropy(
            functional.linear(hidden, weight).float(), labels, reduction="sum"
        )
    return nll(hidden, weight, labels).sum()


@torch.no_grad()
def nll(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each label in nats, float32 of shape (tokens,), without gradient."""
    parts = [
        functional.cross_entropy(
            functional.linear(h.to(weight.dtype), weight).float(), wanted, reduction="none"
        )
        for h, wanted in zip(hidden.split(_CHUNK), labels.split(_CHUNK), strict=True)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def forward(self, input_ids=None, labels=None, num_items_in_batch=None, token_nll=False, **kwargs):
    """`LlavaForConditionalGeneration.forward`; with labels, computes the loss without the full logits.

    The loss is the summed negative log-likelihood of the trained tokens over `num_items_in_batch`, or over their number where that
    is not given. With `token_nll`, the output's `logits` hold each trained token's own negative log-likelihood instead, shape (n,).
    """
    if labels is None:
        return _stock_forward(self, input_ids=input_ids, **kwargs)
    hidden = self.model(input_ids=input_ids, use_cache=False, **kwargs).last_hidden_state
    targets = functional.pad(labels, (0, 1), value=IGNORE)[..., 1:]  # position t predicts token t+1
    chosen = targets != IGNORE
    hidden, targets = hidden[chosen], targets[chosen]
    if token_nll:
        return LlavaCausalLMOutputWithPast(logits=nll(hidden, self.lm_head.weight, targets))
    if (
        targets.numel() == 0
    ):  # keeps the graph whole for ranks that must take part in the backward pass
        return LlavaCausalLMOutputWithPast(loss=hidden.float().sum() * 0)
    total = nll_sum(hidden, self.lm_head.weight, targets)
    return LlavaCausalLMOutputWithPast(
        loss=total / (targets.numel() if num_items_in_batch is None else num_items_in_batch)
    )


def get_image_features(
    self,
    pixel_values,
    vision_feature_layer=None,
    vision_feature_select_strategy=None,
    image_sizes=None,
    **kwargs,
):
    """`LlavaModel.get_image_features`, a few images at a time, and without gradient where nothing in the tower is trained."""
    frozen = not any(
        p.requires_grad
        for part in (self.vision_tower, self.multi_modal_projector)
        for p in part.parameters()
    )
    patch = self.vision_tower.patch_size
    patches = [(int(h) // patch) * (int(w) // patch) for h, w in image_sizes]
    groups, load = [[]], 0
    for number, count in enumerate(patches):
        if groups[-1] and load + count > PATCHES_A_CALL:
            groups.append([])
            load = 0
        groups[-1].append(number)
        load += count
    features: list[torch.Tensor] = []
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        for group in groups:
            sizes = image_sizes[group]
            height, width = sizes.max(dim=0).values.tolist()
            output = _stock_image_features(
                self,
                pixel_values=pixel_values[group][..., :height, :width],
                vision_feature_layer=vision_feature_layer,
                vision_feature_select_strategy=vision_feature_select_strategy,
                image_sizes=sizes,
                **kwargs,
            )
            features += output.pooler_output
    output.pooler_output = features
    return output


@dataclass(frozen=True)
class Bounds:
    """Where the sequences of a joined one begin and end."""

    edges: torch.Tensor  # int32 of shape (sequences + 1,), from 0 to all tokens
    longest: int  # tokens


def block_mask(patches: list[int], tensor: torch.Tensor) -> Bounds:
    """In the place of a dense mask of (patches x patches): how many patches each image of a call has."""
    edges = torch.tensor(
        [0, *itertools.accumulate(patches)], dtype=torch.int32, device=tensor.device
    )
    return Bounds(edges, max(patches))


_rows: tuple[torch.Tensor, Bounds] | None = None  # the position_ids seen last, and theirs


def row_bounds(position_ids: torch.Tensor) -> Bounds:
    """Those of the rows of a bin, position_ids of shape (1, tokens).

    Every layer asks with the same tensor: computed once, so that the GPU is waited for once and not in every layer.
    """
    global _rows
    if _rows is None or _rows[0] is not position_ids:
        starts = torch.nonzero(position_ids[0] == 0).flatten()
        edges = torch.cat([starts, starts.new_tensor([position_ids.shape[1]])]).to(torch.int32)
        _rows = (position_ids, Bounds(edges, int(edges.diff().max())))
    return _rows[1]


def attention(module, query, key, value, attention_mask, position_ids=None, **kwargs):
    """The "sdpa" attention function; a bin (batch of one, no mask, with position_ids) attends row by row, the tower image by image.

    query (1, heads, tokens, head_dim), key and value (1, kv_heads, tokens, head_dim) → (1, tokens, heads, head_dim), None.
    """
    bounds = attention_mask if isinstance(attention_mask, Bounds) else None
    if (
        attention_mask is None
        and position_ids is not None
        and position_ids.shape == (1, key.shape[2]) == query.shape[::2]
    ):
        bounds = row_bounds(position_ids)
    if bounds is None:
        return _stock_sdpa(module, query, key, value, attention_mask, **kwargs)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        if (groups := query.shape[1] // key.shape[1]) > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        window = (-1, 0) if module.is_causal else (-1, -1)
        ends, longest = (bounds.edges, bounds.edges), (bounds.longest, bounds.longest)
        return varlen_attn(q, k, v, *ends, *longest, window_size=window)[None], None
    cuts = bounds.edges.tolist()
    rows = [
        _stock_sdpa(module, query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], None, **kwargs)[0]
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    return torch.cat(rows, dim=1), None


def attention_mask(*args, attention_mask=None, **kwargs):
    """No mask for bins, whose rows `attention` keeps apart; padded batches and generation as ever."""
    return (
        None
        if attention_mask is None
        else _stock_sdpa_mask(*args, attention_mask=attention_mask, **kwargs)
    )


def lora_linear(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
    """`Linear4bit.forward` of PEFT: W x + B (scale A x), (..., in) → (..., out). Anything but one plain adapter goes the stock way.

    PEFT copies W x, scales (..., out), and adds: three passes over the widest tensors, which a product with a bias does in one.
    """
    name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
    if (
        args
        or kwargs
        or self.disable_adapters
        or self.merged
        or name not in self.lora_A
        or name in self.lora_variant
    ):
        return _stock_lora(self, x, *args, **kwargs)
    down, up, drop = self.lora_A[name], self.lora_B[name], self.lora_dropout[name]
    if up.bias is not None or not (
        torch.is_autocast_enabled(x.device.type) or x.dtype == down.weight.dtype
    ):
        return _stock_lora(self, x, *args, **kwargs)
    wide, narrow = self.base_layer(x), down(drop(x)) * self.scaling[name]
    return torch.addmm(wide.flatten(0, -2), narrow.flatten(0, -2), up.weight.t()).view_as(wide)


def mlp(self, x: torch.Tensor) -> torch.Tensor:
    """`MistralMLP.forward` with SiLU and product in one kernel, (..., hidden) → (..., hidden). Needs a GPU."""
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    return self.down_proj(LigerSiLUMulFunction.apply(self.gate_proj(x), self.up_proj(x)))


def install_fused_kernels() -> None:
    """Liger's RMSNorm, RoPE and SwiGLU; Axolotl's Liger plugin hands them to no Llava model. Needs a GPU."""
    from liger_kernel.transformers.rms_norm import LigerRMSNorm
    from liger_kernel.transformers.rope import liger_rotary_pos_emb

    modeling_mistral.MistralRMSNorm = modeling_pixtral.PixtralRMSNorm = LigerRMSNorm
    modeling_mistral.apply_rotary_pos_emb = liger_rotary_pos_emb
    modeling_mistral.MistralMLP.forward = mlp


def install() -> None:
    """Put these in the place of the stock methods, for this process. Idempotent."""
    modeling_llava.LlavaForConditionalGeneration.forward = forward
    modeling_llava.LlavaModel.get_image_features = get_image_features
    modeling_pixtral.generate_block_attention_mask = block_mask
    Linear4bit.forward = lora_linear
    ALL_ATTENTION_FUNCTIONS.register("sdpa", attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", attention_mask)
