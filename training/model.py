"""What we change inside a Llava model while it trains: which of our functions takes the place of which stock one."""

from __future__ import annotations

import torch
from peft.tuners.lora.bnb import Linear4bit
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llava import modeling_llava
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral

from training import attention, lora, loss, vision


def install() -> None:
    """Put our functions in the place of the stock ones, for this process. Doing it twice changes nothing."""
    modeling_llava.LlavaForConditionalGeneration.forward = loss.forward
    modeling_llava.LlavaModel.get_image_features = vision.get_image_features
    modeling_pixtral.generate_block_attention_mask = attention.image_bounds
    Linear4bit.forward = lora.linear
    ALL_ATTENTION_FUNCTIONS.register("sdpa", attention.attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", attention.mask)


def mlp(self, x: torch.Tensor) -> torch.Tensor:
    """`MistralMLP.forward` with SiLU and product in one kernel, (..., hidden) → (..., hidden). Needs a GPU."""
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    return self.down_proj(LigerSiLUMulFunction.apply(self.gate_proj(x), self.up_proj(x)))


def install_fused_kernels() -> None:
    """Liger's RMSNorm, RoPE and SwiGLU; Axolotl's Liger plugin hands them to no Llava model. Needs a GPU."""
    from liger_kernel.transformers.rms_norm import LigerRMSNorm
    from liger_kernel.transformers.rope import liger_rotary_pos_emb

    modeling_mistral.MistralRMSNorm = LigerRMSNorm
    modeling_pixtral.PixtralRMSNorm = LigerRMSNorm
    modeling_mistral.apply_rotary_pos_emb = liger_rotary_pos_emb
    modeling_mistral.MistralMLP.forward = mlp
