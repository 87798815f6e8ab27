"""What a recipe will hold in GPU memory at its peak, by part, before any GPU is rented.

The parts follow from shapes and dtypes; the sizes of transient buffers inside a layer are counted
from the kernels' own code. The figure is compared with the measured peak of `make bench` in
recipes/qlora_r128/README.md.
"""

from common.facts import Shape
from common.memory import GIB, image_bytes, layer_bytes
from common.memory import L40S_GIB as L40S_GIB

CHUNK = 1024  # tokens whose logits the loss on pairs holds at once (training.loss, which is heavy)
# Half a byte, and a scale of 8 bits (double quantisation) for each 64 weights.
NF4_BYTES = 0.5 + 1 / 64
STATE_BYTES = {
    "paged_adamw_8bit": 2,
    "adamw_8bit": 2,
    "adamw_bnb_8bit": 2,
    "paged_adamw_32bit": 8,
    "adamw_torch": 8,
    "adamw_torch_fused": 8,
    "adamw_torch_8bit": 2 + 2 * 4 / 256,  # and a scale for each block of both
}


MARGIN = 0.1  # of a card's memory that activations which need not be kept leave free


def layers_kept(recipe: dict, shape: Shape, trained_share: float, gpu_gib: float) -> int:
    """How many decoder layers need not be recomputed on a card of that memory."""
    if not recipe.get("gradient_checkpointing") or not recipe.get("bf16"):
        return 0  # a CPU trains what is small
    if recipe.get("shards"):
        return 0  # what is free is left to what is gathered
    kept = 0
    while kept < shape.layers:
        peak = sum(estimate(recipe, shape, trained_share, kept + 1).values())
        if peak > gpu_gib * (1 - MARGIN):
            break
        kept += 1
    return kept


def estimate(
    recipe: dict,
    shape: Shape,
    trained_share: float = 1.0,
    kept: int = 0,
    cards: int = 1,
) -> dict[str, float]:
    """GiB by part for a recipe on one device of `cards`.

    `trained_share`: largest share of a bin's tokens that carries loss. `kept`: how many of the last
    decoder layers are not recomputed.
    """
    half = 2 if recipe.get("bf16") else 4  # bytes of a value in the forward pass
    tokens = recipe["sequence_len"] * recipe["micro_batch_size"]
    shared = recipe.get("shards")
    parts = {
        **(_shares(recipe, shape, half, cards) if shared else _weights(recipe, shape, half)),
        **_activations(recipe, shape, tokens, half, kept),
        "logits": _logits(shape, tokens * trained_share, half, bool(recipe.get("preference"))),
        "one image": image_bytes(shape, half),
    }
    return {name: size / GIB for name, size in parts.items()}


def _weights(recipe: dict, shape: Shape, half: int) -> dict[str, float]:
    """Bytes of the base, of what is trained, of its gradients and the optimizer's state."""
    linear = shape.decoder_linear_parameters
    rest = shape.parameters - linear - shape.vision_parameters
    if recipe.get("load_in_4bit"):
        skipped = recipe.get("bnb_config_kwargs", {}).get("llm_int8_skip_modules", [])
        vision_bytes = half if "model.vision_tower" in skipped else NF4_BYTES
        base = linear * NF4_BYTES + shape.vision_parameters * vision_bytes + rest * half
    elif recipe.get("fp8_base"):
        base = linear + (shape.vision_parameters + rest) * half
    else:
        base = shape.parameters * half
    adapter = shape.lora_parameters(recipe["lora_r"]) if recipe.get("adapter") else 0
    trained = adapter or shape.parameters
    parts = {"weights": base}
    if adapter:
        parts["adapter"] = adapter * 4  # PEFT keeps the trained matrices in float32
    parts["gradients"] = trained * 4
    parts["optimizer"] = trained * STATE_BYTES[recipe["optimizer"]]
    return parts


def _shares(recipe: dict, shape: Shape, half: int, cards: int) -> dict[str, float]:
    """Bytes of a card's share of a model whose tower is frozen, and of what it gathers.

    A layer is computed while the next is gathered, and its gradients are summed in float32 while
    the next one's are made. The root unit is gathered from the first layer to the last.
    """
    trained = shape.parameters - shape.vision_parameters
    layer = shape.decoder_linear_parameters / shape.layers
    embeddings = 2 * shape.vocab * shape.hidden
    value = half if recipe.get("optim_args") else 4
    return {
        "weights": (trained * value + shape.vision_parameters * half) / cards,
        "gradients": trained * value / cards,
        "optimizer": trained * STATE_BYTES[recipe["optimizer"]] / cards,
        "gathered weights": (2 * layer + embeddings + shape.vision_parameters) * half,
        "gathered gradients": 2 * layer * (half + 4) + embeddings / 2 * half,
    }


def _activations(recipe: dict, shape: Shape, tokens: int, half: int, kept: int) -> dict[str, float]:
    """Bytes of what a layer keeps for the backward pass, and of what all layers keep."""
    attention = 2 * (shape.heads + shape.kv_heads) * shape.head_dim
    layer = layer_bytes(shape, tokens, half)
    if recipe.get("adapter"):
        layer += 7 * tokens * recipe["lora_r"] * 4 * 2
    largest_map = max(inputs * outputs for inputs, outputs in shape.linears.values())
    dequantised = largest_map * half if recipe.get("load_in_4bit") else 0
    if recipe.get("fp8_base"):
        # One map turned round, and the largest operand of a product in FP8.
        dequantised = largest_map + tokens * shape.ffn
    if not recipe.get("gradient_checkpointing"):
        return {
            "activations kept": layer * shape.layers,
            "activations of a layer": layer,
            "dequantised weights": dequantised,
        }
    boundary = tokens * shape.hidden * half
    # Beside its input a layer keeps two norms' outputs, the sum between its halves, attention's
    # four, gate and up, and each map's A x (training.lora).
    width = 3 * shape.hidden + attention + 2 * shape.ffn
    width += len(shape.linears) * recipe["lora_r"] if recipe.get("adapter") else 0
    last_layers = kept * tokens * half * width
    at_the_end = shape.vocab * shape.hidden * (8 + half) if recipe.get("shards") else 0
    return {
        "activations kept": boundary * shape.layers + last_layers,
        # Values and gradients of the layer being recomputed. By then what the last layers keep is
        # free again; before that a layer has only its gradients beside it.
        # Or, when all are done, the gradients of embeddings and head before they are summed.
        "activations of a layer": max(layer * 2 - last_layers, layer, at_the_end),
        "dequantised weights": dequantised,
    }


def _logits(shape: Shape, trained: float, half: int, pairs: bool) -> float:
    """Bytes of Liger's fused loss: one chunk of logits, and the gradient of the hidden states.

    Its chunk shrinks as the classes grow. The loss on pairs (training.loss.TokenNll) has chunks of
    one size and holds the logarithms of the shares beside the logits. The pass of its reference
    comes first and keeps nothing: no part of the peak.
    """
    states = trained * shape.hidden * half * 2
    if pairs:
        return min(trained, CHUNK) * shape.vocab * (half + 4 + 4) + states
    chunk = max(1, round(trained * shape.hidden / shape.vocab))
    return chunk * shape.vocab * (half + 4) + states
