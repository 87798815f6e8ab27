"""Facts of the base models: special tokens, geometry, sizes, memory. What `make check` compares
with the files at hand.

Sources: the model's config.json and tokenizer as published by ServiceNow-AI (MIT), the paper arXiv
2510.01141 (Pixtral-12B deepened from 40 to 48 layers), and transformers' Pixtral image processor
for the image geometry.
"""

from dataclasses import dataclass, replace
from math import floor
from typing import Self

HUB_ID = "ServiceNow-AI/Apriel-1.5-15b-Thinker"
HUB_LICENCE = "MIT"
PATCH = 16  # pixels a side
LONGEST_EDGE = 1024  # pixels; a larger image is scaled down to it
# A row's image may not hold more: it would be decoded in full before it is scaled down.
MAX_PIXELS = 50_000_000

SPECIAL_TOKENS = {
    "<unk>": 0,
    "<s>": 1,
    "</s>": 2,
    "[IMG]": 10,
    "<pad>": 11,
    "[IMG_BREAK]": 12,
    "[IMG_END]": 13,
}
RESERVED_IDS = 1000  # Pixtral's tokenizer keeps ids 0-999 for special tokens
# "Here are my reasoning steps:" in Pixtral's vocabulary: a fingerprint of the tokenizer.
FINGERPRINT = ("Here are my reasoning steps:", (11745, 1584, 2036, 38528, 9578, 1058))

DEFAULT_SYSTEM = (
    "You are a thoughtful and systematic AI assistant built by ServiceNow Language Models (SLAM) "
    "lab. Before providing an answer, analyze the problem carefully and present your reasoning "
    "step by step. After explaining your thought process, provide the final solution in the "
    "following format: [BEGIN FINAL RESPONSE] ... [END FINAL RESPONSE]."
)


def resized(
    width: int, height: int, longest_edge: int = LONGEST_EDGE, patch: int = PATCH
) -> tuple[int, int]:
    """(width, height) in pixels after the processor: longest edge at most `longest_edge`, both
    multiples of `patch`.
    """
    ratio = max(height / longest_edge, width / longest_edge)
    if ratio > 1:
        width, height = floor(width / ratio), floor(height / ratio)
    return (-(-max(width, 1) // patch)) * patch, (-(-max(height, 1) // patch)) * patch


def image_tokens(width: int, height: int) -> int:
    """Tokens an image of that many pixels costs: a row of [IMG] and one [IMG_BREAK] per patch row,
    the last an [IMG_END].
    """
    width, height = resized(width, height)
    return (height // PATCH) * (width // PATCH + 1)


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llava model with a Pixtral tower and a Mistral decoder."""

    hidden: int = 5120
    layers: int = 48
    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    ffn: int = 14336
    vocab: int = 131072
    vision_hidden: int = 1024
    vision_layers: int = 24
    vision_ffn: int = 4096

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(in, out) features of the seven linear maps of one decoder layer."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, q),
            "k_proj": (self.hidden, kv),
            "v_proj": (self.hidden, kv),
            "o_proj": (q, self.hidden),
            "gate_proj": (self.hidden, self.ffn),
            "up_proj": (self.hidden, self.ffn),
            "down_proj": (self.ffn, self.hidden),
        }

    @property
    def decoder_linear_parameters(self) -> int:
        return self.layers * sum(i * o for i, o in self.linears.values())

    @property
    def vision_parameters(self) -> int:
        """Tower and projector: norms included, biases of the projector included."""
        layer = (
            4 * self.vision_hidden**2
            + 3 * self.vision_hidden * self.vision_ffn
            + 2 * self.vision_hidden
        )
        tower = self.vision_layers * layer + 3 * PATCH**2 * self.vision_hidden + self.vision_hidden
        return tower + self.hidden * (self.vision_hidden + 1) + self.hidden * (self.hidden + 1)

    @property
    def parameters(self) -> int:
        norms = (2 * self.layers + 1) * self.hidden
        return (
            self.decoder_linear_parameters
            + norms
            + 2 * self.vocab * self.hidden
            + self.vision_parameters
        )

    def training_flops(self, tokens: float, pairs: float) -> float:
        """Floating-point operations of training on `tokens`, of which `pairs` attend to each other.

        A token costs 6 N (QLoRA with recomputation: twice 2 forward, 2 backward through frozen
        weights; training every weight without it: 2 forward, 4 backward), a pair 16 a layer, head
        and channel (4 in each pass forward, 8 backward).
        """
        return 6 * self.parameters * tokens + 16 * self.layers * self.heads * self.head_dim * pairs

    def forward_flops(self, tokens: float, pairs: float) -> float:
        """Operations of one pass forward through the whole model, as `training_flops` counts."""
        return 2 * self.parameters * tokens + 4 * self.layers * self.heads * self.head_dim * pairs

    def recomputation_flops(self, tokens: float, pairs: float, layers: int) -> float:
        """Operations of a second forward pass through that many decoder layers."""
        maps = 2 * self.decoder_linear_parameters / self.layers * tokens
        attention = 4 * self.heads * self.head_dim * pairs
        return layers * (maps + attention)

    def lora_parameters(self, rank: int) -> int:
        return self.layers * sum(rank * (i + o) for i, o in self.linears.values())

    @classmethod
    def from_config(cls, config: dict) -> Self:
        """The shape of a config.json of the same architecture.

        Raises KeyError when a size is missing.
        """
        text, vision = config["text_config"], config["vision_config"]
        return cls(
            hidden=text["hidden_size"],
            layers=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            kv_heads=text["num_key_value_heads"],
            head_dim=text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"],
            ffn=text["intermediate_size"],
            vocab=text["vocab_size"],
            vision_hidden=vision.get("hidden_size", 1024),
            vision_layers=vision.get("num_hidden_layers", 24),
            vision_ffn=vision.get("intermediate_size", 4096),
        )


APRIEL_15B = Shape()
TINY = replace(
    APRIEL_15B,
    hidden=192,
    layers=4,
    heads=4,
    kv_heads=2,
    head_dim=48,
    ffn=512,
    vocab=2048,
    vision_hidden=96,
    vision_layers=2,
    vision_ffn=256,
)
# Wide enough for the blocks of 256 and 128 weights that K-quants and W4A16 cut rows into, and of as
# many vision layers as llama.cpp's converter needs.
TINY_V2 = replace(TINY, hidden=256, head_dim=64, vision_layers=3)
# The tiny models with random weights, by the folder under outputs/ that training.tiny_base writes.
RANDOM_BASES = {"tiny_init": TINY, "tiny_init_v2": TINY_V2}
