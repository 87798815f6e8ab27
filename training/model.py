"""What we change inside a Llava model while it trains: which function takes the place of which."""

import functools
from collections.abc import Callable

import torch
from peft.tuners.lora import Linear
from peft.tuners.lora.bnb import Linear4bit
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llava import modeling_llava
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral

from training import attention, lora, loss, vision

stock_self_attention = modeling_mistral.MistralAttention.forward
stock_mlp = modeling_mistral.MistralMLP.forward


def self_attention(
    self, hidden_states, position_embeddings, attention_mask, past_key_values=None, **kwargs
):
    """`MistralAttention.forward` with q, k and v in one step: (1, tokens, hidden) → the same, and
    the attention weights where the implementation gives them.
    """
    shape = (*hidden_states.shape[:-1], -1, self.head_dim)
    projected = lora.lora_maps(hidden_states, [self.q_proj, self.k_proj, self.v_proj])
    query, key, value = [states.view(shape).transpose(1, 2) for states in projected]
    query, key = modeling_mistral.apply_rotary_pos_emb(query, key, *position_embeddings)
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, self.layer_idx)
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(
        self.config._attn_implementation, modeling_mistral.eager_attention_forward
    )
    attended, weights = attend(
        self,
        query,
        key,
        value,
        attention_mask,
        dropout=self.attention_dropout if self.training else 0.0,
        scaling=self.scaling,
        sliding_window=getattr(self.config, "sliding_window", None),
        **kwargs,
    )
    joined = attended.reshape(*hidden_states.shape[:-1], -1).contiguous()
    return self.o_proj(joined), weights


def mlp(self, x: torch.Tensor) -> torch.Tensor:
    """`MistralMLP.forward` with gate and up in one step, (..., hidden) → (..., hidden)."""
    gate, up = lora.lora_maps(x, [self.gate_proj, self.up_proj])
    if self.config.hidden_act != "silu":
        return self.down_proj(self.act_fn(gate) * up)
    return lora.gated_map(gate, up, self.down_proj, lora.SILU)


def fused_mlp(self, x: torch.Tensor) -> torch.Tensor:
    """As `mlp`, with SiLU and product in one kernel each way. Needs a GPU."""
    gate, up = lora.lora_maps(x, [self.gate_proj, self.up_proj])
    return lora.gated_map(gate, up, self.down_proj, LIGER_SILU)


def liger_product(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up by Liger's kernel; differentiable where a gradient is wanted."""
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    return LigerSiLUMulFunction.apply(gate, up)


def liger_product_backward(gate: torch.Tensor, up: torch.Tensor, gradient: torch.Tensor):
    """The gradients of gate and up; written over gate and up."""
    from liger_kernel.ops.swiglu import swiglu_backward

    width = gate.shape[-1]
    of_gate, of_up = swiglu_backward(gate.view(-1, width), up.view(-1, width), gradient)
    return of_gate.view_as(gate), of_up.view_as(up)


LIGER_SILU = lora.Gate(liger_product, liger_product_backward)


REPLACED = (
    (modeling_llava.LlavaForConditionalGeneration, "forward", loss.forward),
    (modeling_llava.LlavaModel, "get_image_features", vision.get_image_features),
    (modeling_pixtral, "generate_block_attention_mask", attention.image_bounds),
    (modeling_mistral.MistralAttention, "forward", self_attention),
    (modeling_mistral.MistralMLP, "forward", mlp),
    (Linear, "forward", lora.linear),
    (Linear4bit, "forward", lora.linear),
)


def install(varlen: Callable[..., torch.Tensor] = attention.torch_varlen) -> None:
    """Put our functions in the place of the stock ones, for this process. Twice is once.

    `varlen` is the kernel that attends to the rows of a bin on a GPU.
    """
    for owner, name, function in REPLACED:
        setattr(owner, name, function)
    attend = functools.partial(attention.attention, varlen=varlen)
    ALL_ATTENTION_FUNCTIONS.register("sdpa", attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", attention.mask)


def install_fused_kernels() -> None:
    """Liger's RMSNorm, RoPE and SwiGLU; Axolotl's Liger plugin hands them to no Llava model.

    After `install`. Needs a GPU.
    """
    from liger_kernel.transformers.rms_norm import LigerRMSNorm
    from liger_kernel.transformers.rope import liger_rotary_pos_emb

    for owner, name, replacement in (
        (modeling_mistral, "MistralRMSNorm", LigerRMSNorm),
        (modeling_pixtral, "PixtralRMSNorm", LigerRMSNorm),
        (modeling_mistral, "apply_rotary_pos_emb", liger_rotary_pos_emb),
        (modeling_mistral.MistralMLP, "forward", fused_mlp),
    ):
        setattr(owner, name, replacement)
