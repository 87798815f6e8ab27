"""The stock model beside ours: what transformers and PEFT compute where nothing is patched."""

import contextlib

import torch
from peft.tuners.lora import Linear
from peft.tuners.lora.bnb import Linear4bit
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral

from training import attention, lora
from training import model as patches

TARGETS = r"model\.language_model\.layers\.\d+\.(mlp|self_attn)\.(up|down|gate|q|k|v|o)_proj"


def exact_norm(self, hidden):
    """RMSNorm without stock's detour through float32, which would hide what is compared."""
    scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * hidden * scale


def block_mask(patches, tensor):
    """Stock's mask of the images of a call, (1, 1, patches, patches): each sees itself alone."""
    image = torch.arange(len(patches)).repeat_interleave(torch.tensor(patches))
    apart = image[:, None] != image[None]
    return torch.zeros(apart.shape, dtype=tensor.dtype).masked_fill(apart, -torch.inf)[None, None]


@contextlib.contextmanager
def stock():
    """Inside, attention, its masks, and LoRA are the stock ones."""
    modeling_pixtral.generate_block_attention_mask = block_mask
    modeling_mistral.MistralAttention.forward = patches.stock_self_attention
    modeling_mistral.MistralMLP.forward = patches.stock_mlp
    Linear.forward = lora.stock_linear
    Linear4bit.forward = lora.stock_linear_4bit
    ALL_ATTENTION_FUNCTIONS.register("sdpa", attention.stock_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", attention.stock_mask)
    try:
        yield
    finally:
        patches.install()


def gradients(model, batches, count):
    """(summed loss, {name: gradient}) of batches whose trained tokens are `count` together."""
    model.zero_grad()
    total = 0.0
    for batch in batches:
        loss = model(**batch, num_items_in_batch=torch.tensor(count)).loss
        loss.backward()
        total += loss.item()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return total, found
