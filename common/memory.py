"""Memory of a GPU by part, from shapes and dtypes: what training (training.memory) and serving use.

Sizes are bytes, sizes of a card GiB.
"""

from common import facts
from common.facts import Shape

GIB = 2**30
L40S_GIB = 44.4  # of the 48 GB on paper, what the driver reports (45,488 MiB) less the CUDA context
# Bytes of a weight of the decoder's linear maps; all other weights keep their 16 bits.
FORMATS = {"bf16": 2.0, "fp8": 1.0, "w4": 0.5 + 2 / 128}  # w4: and 16 bits of scale for each 128
CACHES = {"bf16": 2, "fp8": 1}  # bytes of a value in the cache of keys and values
# What every server of vLLM here is started with.
CONTEXT = 40_960  # tokens of a conversation: the longest reply that is asked for, and a prompt
SEQUENCES = 32  # conversations at once
PICTURES = 4  # of a conversation
BATCH = 8_192  # tokens of prompts that go through a layer at once, vLLM's own choice
USED = 0.92  # of a card's memory, vLLM's own choice


def layer_bytes(shape: Shape, tokens: int, half: int) -> int:
    """Values of one decoder layer for that many tokens, in bytes, of `half` bytes each."""
    attention = 2 * (shape.heads + shape.kv_heads) * shape.head_dim
    return tokens * half * (4 * shape.hidden + attention + 6 * shape.ffn)


def image_bytes(shape: Shape, half: int) -> int:
    """Bytes of the largest image in one layer of the tower."""
    edge = facts.LONGEST_EDGE
    channels = 4 * shape.vision_hidden + 3 * shape.vision_ffn
    return facts.image_tokens(edge, edge) * channels * half * 2


def served_weights(shape: Shape, form: str) -> float:
    """Bytes of a model's weights in one of FORMATS."""
    linear = shape.decoder_linear_parameters
    return linear * FORMATS[form] + (shape.parameters - linear) * FORMATS["bf16"]


def cache(shape: Shape, form: str) -> int:
    """Bytes of a token's keys and values in one of CACHES."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * CACHES[form]


def cached_tokens(shape: Shape, weights: str, form: str, gpu_gib: float = L40S_GIB) -> int:
    """How many tokens the cache of a server on that card holds; 0 where the weights leave none."""
    logits = SEQUENCES * shape.vocab * 4
    work = max(layer_bytes(shape, BATCH, 2), PICTURES * image_bytes(shape, 2)) + logits
    free = gpu_gib * USED * GIB - served_weights(shape, weights) - work
    return max(0, int(free / cache(shape, form)))


def served(shape: Shape, gpu_gib: float = L40S_GIB) -> list[dict]:
    """For every format and cache: GiB of weights, tokens in the cache, whole contexts in it."""
    found = []
    for weights in FORMATS:
        for form in CACHES:
            tokens = cached_tokens(shape, weights, form, gpu_gib)
            about = {"tokens": tokens, "contexts": round(tokens / CONTEXT, 1)}
            gib = round(served_weights(shape, weights) / GIB, 1)
            found.append({"weights": weights, "gib": gib, "cache": form, **about})
    return found
