"""What a recipe will hold in GPU memory at its peak, by part, before any GPU is rented.

The parts follow from shapes and dtypes; the sizes of transient buffers inside a layer are counted
from the kernels' own code. The figure is compared with the measured peak of `make bench` in
recipes/qlora_r128/README.md.
"""

from __future__ import annotations

from common import facts
from common.facts import Shape

GIB = 2**30
L40S_GIB = 44.4  # of the 48 GB on paper, what the driver reports (45,488 MiB) less the CUDA context
BLOCK = 64  # weights that share one NF4 scale; scales are themselves 8-bit (double quantisation)
STATE_BYTES = {
    "paged_adamw_8bit": 2,
    "adamw_8bit": 2,
    "adamw_bnb_8bit": 2,
    "paged_adamw_32bit": 8,
    "adamw_torch": 8,
    "adamw_torch_fused": 8,
}


def estimate(recipe: dict, shape: Shape, trained_share: float = 1.0) -> dict[str, float]:
    """GiB by part for a recipe on one device.

    `trained_share`: largest share of a bin's tokens that carries loss.
    """
    half = 2 if recipe.get("bf16") else 4
    tokens = recipe["sequence_len"] * recipe["micro_batch_size"]
    linear, vision = shape.decoder_linear_parameters, shape.vision_parameters
    rest = shape.parameters - linear - vision
    parts = {}
    if recipe.get("load_in_4bit"):
        skipped = recipe.get("bnb_config_kwargs", {}).get("llm_int8_skip_modules", [])
        vision_bytes = half if "model.vision_tower" in skipped else 0.5 + 1 / BLOCK
        parts["weights"] = linear * (0.5 + 1 / BLOCK) + vision * vision_bytes + rest * half
        trained = shape.lora_parameters(recipe["lora_r"])
    else:
        parts["weights"] = shape.parameters * half
        trained = shape.parameters
    if recipe.get("adapter"):
        parts["adapter"] = trained * 4  # PEFT keeps the trained matrices in float32
    parts["gradients"] = trained * 4
    parts["optimizer"] = trained * STATE_BYTES.get(recipe["optimizer"], 8)
    boundary = tokens * shape.hidden * half
    inner = (
        tokens
        * half
        * (4 * shape.hidden + 2 * (shape.heads + shape.kv_heads) * shape.head_dim + 6 * shape.ffn)
    )
    if recipe.get("adapter"):
        inner += 7 * tokens * recipe["lora_r"] * 4 * 2
    if recipe.get("gradient_checkpointing"):
        offloaded = recipe.get("activation_offloading") == "hidden_states"
        parts["activations kept"] = boundary * (2 if offloaded else shape.layers)
        parts["activations of a layer"] = (
            inner * 2
        )  # values and their gradients, in the layer being recomputed
    else:
        parts["activations kept"] = inner * shape.layers
        parts["activations of a layer"] = inner
    parts["dequantised weights"] = (
        max(i * o for i, o in shape.linears.values()) * half if recipe.get("load_in_4bit") else 0
    )
    # Liger's fused loss keeps one chunk of logits and the gradient of the hidden states; its chunk
    # shrinks as classes grow.
    chunk = max(1, round(tokens * trained_share * shape.hidden / shape.vocab))
    parts["logits"] = (
        chunk * shape.vocab * (half + 4) + tokens * trained_share * shape.hidden * half * 2
    )
    parts["one image"] = (
        facts.image_tokens(1024, 1024) * (4 * shape.vision_hidden + 3 * shape.vision_ffn) * half * 2
    )
    return {name: size / GIB for name, size in parts.items()}
