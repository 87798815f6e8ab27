"""The loss of a Llava model over the trained tokens alone, without the logits of every token.

Stock `LlavaForConditionalGeneration.forward` computes logits for every token: 131,072 classes times
16,384 tokens are 8.6 GB in float32. Here the head sees only the positions whose next token is
trained, and on a GPU Liger's fused linear cross entropy computes loss and gradient in chunks, so
that the logits never exist as a whole.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers.models.llava.modeling_llava import (
    LlavaCausalLMOutputWithPast,
    LlavaForConditionalGeneration,
)

from training.attention import row_bounds
from training.memory import CHUNK
from training.render import IGNORE

stock_forward = LlavaForConditionalGeneration.forward
Output: Any = LlavaCausalLMOutputWithPast  # it declares FloatTensor, which no operation returns


def nll_sum(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed negative log-likelihood in nats. hidden (tokens, width), weight (classes, width),
    labels (tokens,) int64.
    """
    if not torch.is_grad_enabled():
        return nll(hidden, weight, labels).sum()
    if not hidden.is_cuda:
        return functional.cross_entropy(logits_of(hidden, weight), labels, reduction="sum")
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    # input, weight, target, bias, ce_weight, ignore_index, lse_square_scale, label_smoothing,
    # reduction
    result = LigerFusedLinearCrossEntropyFunction.apply(
        hidden.to(weight.dtype), weight, labels, None, None, IGNORE, 0.0, 0.0, "sum"
    )
    return result[0] if isinstance(result, tuple) else result


def logits_of(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The head's logits, (tokens, classes), in float32 or finer."""
    logits = functional.linear(hidden, weight)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class TokenNll(torch.autograd.Function):
    """Negative log-likelihood of each token, by chunks, under a head that is not trained.

    A token's hidden state matters to no other token's: its gradient is found on the way there and
    scaled on the way back, so that no logits are kept or computed twice.
    """

    @staticmethod
    def forward(ctx, hidden, weight, labels):
        parts = []
        gradients = []
        for states, targets in zip(hidden.split(CHUNK), labels.split(CHUNK), strict=True):
            logits = logits_of(states.to(weight.dtype), weight)
            logs = functional.log_softmax(logits, dim=-1)
            parts.append(-logs.gather(1, targets[:, None])[:, 0])
            if ctx.needs_input_grad[0]:
                shares = logs.exp_()
                shares[torch.arange(len(targets), device=targets.device), targets] -= 1
                gradients.append((shares.to(weight.dtype) @ weight).to(hidden.dtype))
        if gradients:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        (of_hidden,) = ctx.saved_tensors
        return of_hidden * gradient[:, None].to(of_hidden.dtype), None, None


def nll(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each label in nats, in float32 or finer, of shape (tokens,).
    Shapes as in `nll_sum`.
    """
    return TokenNll.apply(hidden, weight, labels)


def with_rows(arguments: dict) -> dict:
    """A forward pass's arguments, with the bounds of its rows where they are a bin: one sequence
    without mask or cache.
    """
    positions = arguments.get("position_ids")
    if positions is None or positions.shape[0] != 1:
        return arguments
    if arguments.get("attention_mask") is not None or arguments.get("past_key_values") is not None:
        return arguments
    return arguments | {"rows": row_bounds(positions)}


def forward(self, input_ids=None, labels=None, num_items_in_batch=None, token_nll=False, **kwargs):
    """`LlavaForConditionalGeneration.forward`; with labels, computes the loss without the full
    logits.

    The loss is the summed negative log-likelihood of the trained tokens over `num_items_in_batch`,
    or over their number where that is not given. With `token_nll`, the output's `logits` hold each
    trained token's own negative log-likelihood instead, shape (trained tokens,).
    """
    kwargs = with_rows(kwargs)
    if labels is None:
        return stock_forward(self, input_ids=input_ids, **kwargs)
    hidden = self.model(input_ids=input_ids, use_cache=False, **kwargs).last_hidden_state
    targets = functional.pad(labels, (0, 1), value=IGNORE)[..., 1:]  # position t predicts token t+1
    trained = targets != IGNORE
    hidden = hidden[trained]
    targets = targets[trained]
    weight = self.lm_head.weight
    if token_nll:
        return Output(logits=nll(hidden, weight, targets))
    if targets.numel() == 0:
        # The graph stays whole for ranks that must take part in the backward pass.
        return Output(loss=hidden.float().sum() * 0)
    count = targets.numel() if num_items_in_batch is None else num_items_in_batch
    return Output(loss=nll_sum(hidden, weight, targets) / count)
