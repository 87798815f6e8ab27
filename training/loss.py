"""The loss of a Llava model, on the trained tokens alone, averaged over the whole accumulated batch.

Stock `LlavaForConditionalGeneration.forward` computes logits for every token: 131,072 classes times 16,384 tokens are 8.6 GB in
float32. Here the head sees only the positions whose next token is trained, and on a GPU Liger's fused linear cross entropy computes
loss and gradient in chunks, so the logits never exist as a whole. A frozen vision tower runs without gradient, once: it is outside
every checkpointed block.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers.models.llava import modeling_llava
from transformers.models.llava.modeling_llava import LlavaCausalLMOutputWithPast, LlavaForConditionalGeneration, LlavaModel
from transformers.models.pixtral import modeling_pixtral

from training.render import IGNORE

PATCHES_A_CALL = 4096  # one image of 1024x1024 pixels: larger calls only grow the block mask between images
_CHUNK = 2048  # positions whose logits exist at once when no gradient is wanted

_stock_forward = LlavaForConditionalGeneration.forward
_stock_image_features = LlavaModel.get_image_features
_stock_block_mask = modeling_pixtral.generate_block_attention_mask


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
        return functional.cross_entropy(functional.linear(hidden, weight).float(), labels, reduction="sum")
    return nll(hidden, weight, labels).sum()


@torch.no_grad()
def nll(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each label in nats, float32 of shape (tokens,), without gradient."""
    parts = [
        functional.cross_entropy(functional.linear(h.to(weight.dtype), weight).float(), wanted, reduction="none")
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
    if targets.numel() == 0:  # keeps the graph whole for ranks that must take part in the backward pass
        return LlavaCausalLMOutputWithPast(loss=hidden.float().sum() * 0)
    total = nll_sum(hidden, self.lm_head.weight, targets)
    return LlavaCausalLMOutputWithPast(loss=total / (targets.numel() if num_items_in_batch is None else num_items_in_batch))


def get_image_features(self, pixel_values, vision_feature_layer=None, vision_feature_select_strategy=None, image_sizes=None, **kwargs):
    """`LlavaModel.get_image_features`, a few images at a time, and without gradient where nothing in the tower is trained.

    Stock code runs all images as one sequence under a dense mask of (patches x patches).
    """
    frozen = not any(p.requires_grad for part in (self.vision_tower, self.multi_modal_projector) for p in part.parameters())
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


def block_mask(patch_embeds_list, tensor):
    """One image attends to itself entirely: no mask, so that attention may take its fast path."""
    return None if len(patch_embeds_list) == 1 else _stock_block_mask(patch_embeds_list, tensor)


def install() -> None:
    """Put these in the place of the stock methods, for this process. Idempotent."""
    modeling_llava.LlavaForConditionalGeneration.forward = forward
    modeling_llava.LlavaModel.get_image_features = get_image_features
    modeling_pixtral.generate_block_attention_mask = block_mask
