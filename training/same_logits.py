"""The proof that no key of a configuration can fool: base with adapter, run by PEFT, and merged
model give the same logits.

A handful of rows goes through both decoders side by side, layer by layer, so that memory holds one
layer's weights at a time, on a GPU where there is one. What rounding to the checkpoint's dtype may
do is not guessed: a third pass through the merged weights, each moved at random by up to half a
unit in its last place, shows it on the same rows. Images stand as the embedding of their
placeholders: the merge leaves the tower alone, which is proven bit by bit.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from transformers import AutoProcessor, LlavaConfig
from transformers.models.mistral.modeling_mistral import (
    MistralDecoderLayer,
    MistralRMSNorm,
    MistralRotaryEmbedding,
)

from common import rows
from training.adapter import MergeError
from training.renderers import renderer_for
from training.weights import Checkpoint

ROWS = 4
TOKENS = 128  # of each row that are read
ALLOWED = 4.0  # times what random rounding of the same weights does; a right merge stays near 1
LAYERS = "model.language_model.layers"


@dataclass(frozen=True)
class Agreement:
    """How far the logits of two models are apart, root mean squares over all of them."""

    rows: int
    tokens: int
    difference: float
    rounding: float  # what rounding the same weights at random does
    size: float  # of the logits

    @property
    def holds(self) -> bool:
        """Whether the difference is within what the dtype allows."""
        return self.difference <= ALLOWED * self.rounding

    def __str__(self) -> str:
        verdict = (
            "logits as base with adapter" if self.holds else "logits are NOT base with adapter"
        )
        return (
            f"{verdict}: apart by {self.difference:.2g} in {self.rows} rows, {self.tokens} tokens, "
            f"where rounding alone does {self.rounding:.2g}, size {self.size:.2g}"
        )


def rows_of(path: Path, model_folder: Path) -> list[torch.Tensor]:
    """The first TOKENS tokens of the first ROWS rows of a file as the model reads them, each of
    shape (1, tokens).
    """
    renderer = renderer_for(AutoProcessor.from_pretrained(model_folder))
    taken = itertools.islice(rows.read(path), ROWS)
    encoded = [renderer.encode(row, path.parent).input_ids[:TOKENS] for row in taken]
    return [torch.from_numpy(ids).long()[None] for ids in encoded]


class Decoder:
    """Builds a decoder's parts from a checkpoint, in one dtype on one device."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device):
        config: Any = LlavaConfig.from_pretrained(folder)
        self.config = config.text_config
        self.config._attn_implementation = "sdpa"
        self.device = device
        self.dtype = dtype
        self.rotary = MistralRotaryEmbedding(self.config).to(device)

    def layer(self, state: dict[str, torch.Tensor], number: int) -> tuple[nn.Module, nn.Module]:
        """(decoder layer with these weights, the module around it that gives its parts the names
        they have in the model).
        """
        with torch.device("meta"):
            layer = MistralDecoderLayer(self.config, number)
        layer.load_state_dict(state, assign=True)
        root = nn.Module()
        root.model = nn.Module()
        root.model.language_model = nn.Module()
        root.model.language_model.layers = nn.ModuleDict({str(number): layer})
        return layer, root

    def state(self, checkpoint: Checkpoint, number: int) -> dict[str, torch.Tensor]:
        """The weights of a layer by their names inside it."""
        prefix = f"{LAYERS}.{number}."
        names = [name for name in checkpoint.key_of if name.startswith(prefix)]
        return {
            name.removeprefix(prefix): checkpoint.named(name).to(self.device, self.dtype)
            for name in names
        }

    def run(self, layer: nn.Module, hidden: list[torch.Tensor]) -> list[torch.Tensor]:
        """One layer over rows of shape (1, tokens, width), each by itself, without dropout."""
        layer.eval()
        passed = []
        for states in hidden:
            positions = torch.arange(states.shape[1], device=states.device)[None]
            rotation = self.rotary(states, positions)
            arguments = {"position_ids": positions, "position_embeddings": rotation}
            passed.append(layer(states, attention_mask=None, **arguments))
        return passed

    def embed(self, checkpoint: Checkpoint, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Ids of shape (1, tokens) → (1, tokens, width)."""
        table = checkpoint.named("model.language_model.embed_tokens.weight")
        return [table[ids].to(self.device, self.dtype) for ids in inputs]

    def logits(self, checkpoint: Checkpoint, hidden: list[torch.Tensor]) -> torch.Tensor:
        """The last norm and the head, over all rows: (tokens, classes)."""
        norm = MistralRMSNorm(self.config.hidden_size, self.config.rms_norm_eps).to(
            self.device, self.dtype
        )
        norm.weight.copy_(checkpoint.named("model.language_model.norm.weight"))
        head = checkpoint.named("lm_head.weight").to(self.device, self.dtype)
        return norm(torch.cat([states[0] for states in hidden])) @ head.t()


@torch.no_grad()
def compare(
    base_folder: Path, adapter_folder: Path, merged_folder: Path, inputs: list[torch.Tensor]
) -> Agreement:
    """Run base with adapter and merged model side by side; `inputs` are ids of shape (1, tokens).

    Raises MergeError where PEFT cannot load the adapter.
    """
    base = Checkpoint(base_folder)
    merged = Checkpoint(merged_folder)
    kept_in = merged.named("lm_head.weight").dtype
    # Products in a finer type than the weights', so that the rounding of weights is all that
    # differs.
    dtype = torch.float64 if kept_in == torch.float32 else torch.float32
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    decoder = Decoder(base_folder, dtype, device)
    random = torch.Generator(device).manual_seed(0)
    with_adapter = decoder.embed(base, inputs)
    in_merged = decoder.embed(merged, inputs)
    in_rounded = list(in_merged)
    tensors = load_file(adapter_folder / "adapter_model.safetensors")
    for number in range(decoder.config.num_hidden_layers):
        plain = decoder.state(base, number)
        state = decoder.state(merged, number)
        rounded = {}
        for name, weight in state.items():
            noise = torch.rand_like(weight, generator=random) - 0.5
            changed = not torch.equal(weight, plain[name])
            rounded[name] = weight * (1 + noise * torch.finfo(kept_in).eps) if changed else weight
        in_merged = decoder.run(decoder.layer(state, number)[0], in_merged)
        in_rounded = decoder.run(decoder.layer(rounded, number)[0], in_rounded)
        layer, root = decoder.layer(plain, number)
        _adapt(root, adapter_folder, tensors, number)
        with_adapter = decoder.run(layer, with_adapter)
    logits = decoder.logits(merged, in_merged)
    return Agreement(
        rows=len(inputs),
        tokens=logits.shape[0],
        difference=_rms(logits - decoder.logits(base, with_adapter)),
        rounding=_rms(logits - decoder.logits(merged, in_rounded)),
        size=_rms(logits),
    )


def _adapt(root: nn.Module, folder: Path, tensors: dict[str, torch.Tensor], number: int) -> None:
    """Put an adapter on one layer as PEFT does when it loads one, whatever its configuration asks
    for.
    """
    config = LoraConfig.from_pretrained(str(folder))
    own = {}
    for key, tensor in tensors.items():
        name = key.removeprefix("base_model.model.")
        if name.startswith(f"{LAYERS}.{number}."):
            own[name] = tensor
    if not own:
        return
    dtype = next(root.parameters()).dtype
    root.float()  # in no finer type do some initialisations work
    try:
        inject_adapter_in_model(config, root)
        loaded: Any = set_peft_model_state_dict(root, own)
    except Exception as error:  # whatever an initialisation asks for that is not there
        raise MergeError(f"{folder}: PEFT cannot load this adapter: {error}") from error
    if loaded.unexpected_keys:
        raise MergeError(f"{folder}: PEFT has no place for {loaded.unexpected_keys[0]}")
    root.to(dtype)


def _rms(tensor: torch.Tensor) -> float:
    return float(tensor.double().square().mean().sqrt())
