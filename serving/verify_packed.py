"""Proof that a folder in compressed-tensors' formats is a merged checkpoint: FP8, W4, AWQ.

The decoder's linear maps are quantised and nothing else: tower, projector, head, embeddings and
norms are bit-identical. What a step allows is reckoned from the merged weights alone, never from
the scales that are stored. AWQ moves scales between norms and maps before it rounds: there the
error is taken after they are moved back, and held to a threshold.
"""

import re
from collections.abc import Callable
from pathlib import Path

import torch

from common.weights import Weights, same_bits
from serving.carried import judge_sidecars
from serving.proof import Proof

DECODER = re.compile(
    r"language_model\.model\.layers\.\d+\.(?:self_attn|mlp)\.(\w+)_proj\.weight",
)
MOVED = re.compile(r"language_model\.model\.layers\.\d+\.\w+_layernorm\.weight")
NORM_OF = {
    "q": "input_layernorm",
    "k": "input_layernorm",
    "v": "input_layernorm",
    "gate": "post_attention_layernorm",
    "up": "post_attention_layernorm",
}
AWQ_THRESHOLD = 0.15  # no proof: relative root mean square; 4 bits in groups of 32 give 0.1
GROUP = {"w4": 128, "awq": 32}  # weights that share a scale
PACKED = ("_packed", "_scale", "_shape")


def verify(merged: Path, exported: Path, form: str) -> Proof:
    """Read both and judge every tensor and every file. Raises WeightsError."""
    proof = Proof(form)
    source = Weights(merged)
    export = Weights(exported)
    parts = ("", "_scale") if form == "fp8" else PACKED
    left = set(export.file_of)
    for key in source.file_of:
        quantised = DECODER.fullmatch(key) is not None
        names = [key + part for part in parts] if quantised else [key]
        absent = [name for name in names if name not in left]
        left -= set(names)
        if absent:
            proof.wrong.append(f"{key}: not in the export, which has no {absent[0]}")
        elif quantised:
            _judge_quantised(proof, key, source, export)
        elif form != "awq" or not MOVED.fullmatch(key):
            proof.add_equal(key, same_bits(source[key], export[key]))
    proof.wrong += [f"{key}: in the export, not in the merged model" for key in sorted(left)]
    judge_sidecars(proof, merged, exported)
    return proof


def _judge_quantised(proof: Proof, key: str, source: Weights, export: Weights) -> None:
    weight = source[key].float()
    read: Callable = read_fp8 if proof.form == "fp8" else read_packed
    stored = read(key, export)
    kind = proof.form.upper()
    if stored is None or stored.shape != weight.shape:
        proof.wrong.append(f"{key}: not stored as {kind} of {tuple(weight.shape)}")
        return
    if proof.form == "awq":
        error = moved_back(key, weight, stored, source, export)
        proof.add_threshold(key, kind, error, AWQ_THRESHOLD)
        return
    allowed = fp8_step(weight) if proof.form == "fp8" else w4_step(weight)
    proof.add_step(key, kind, float(((stored - weight).abs() / allowed).max()))


def read_fp8(key: str, export: Weights) -> torch.Tensor | None:
    """The values of an FP8 tensor, (out, in); None where it is none."""
    stored = export[key]
    if stored.dtype != torch.float8_e4m3fn:
        return None
    return stored.float() * export[f"{key}_scale"].float()


def read_packed(key: str, export: Weights) -> torch.Tensor | None:
    """The values of a tensor of 4-bit integers, eight in a 32-bit word; None where it is none."""
    packed, scale, shape = (export[key + part] for part in PACKED)
    if packed.dtype != torch.int32:
        return None
    rows, columns = shape.tolist()
    nibbles = (packed.unsqueeze(-1) >> torch.arange(0, 32, 4)) & 15
    values = nibbles.reshape(packed.shape[0], -1)[:rows, :columns].float() - 8
    return values * scale.float().repeat_interleave(columns // scale.shape[1], dim=1)


def fp8_step(weight: torch.Tensor) -> torch.Tensor:
    """What e4m3 with a scale a row allows: half a unit of three bits of mantissa, half of the
    smallest number near zero, and what bfloat16 arithmetic moves a value by.
    """
    scale = weight.abs().amax(dim=1, keepdim=True) / 448
    return weight.abs() * (2.0**-4 + 2.0**-7) + scale * 2.0**-10 * 1.02 + 1e-30


def w4_step(weight: torch.Tensor) -> torch.Tensor:
    """What 4-bit integers allow: half a step of their group, whose 15 steps span twice its largest
    magnitude, and what a scale in bfloat16 moves a value by.
    """
    groups = weight.reshape(weight.shape[0], -1, GROUP["w4"])
    step = groups.abs().amax(dim=2, keepdim=True) / 7.5
    allowed = step * (0.5 + 8 * 2.0**-8) + 1e-30
    return allowed.expand_as(groups).reshape(weight.shape)


def moved_back(
    key: str, weight: torch.Tensor, stored: torch.Tensor, source: Weights, export: Weights
) -> float:
    """The relative error of a tensor once AWQ's scales are moved back: into the norm before it,
    else the best factor a row (v and up, whose scale the next map undoes) or a column (o and down).
    """
    found = DECODER.fullmatch(key)
    assert found is not None
    name = found[1]
    if name in NORM_OF:
        norm = re.sub(r"(?:self_attn|mlp)\.\w+\.weight$", f"{NORM_OF[name]}.weight", key)
        weight = weight * source[norm].float()
        stored = stored * export[norm].float()
    if name in ("v", "up", "o", "down"):
        axis = 1 if name in ("v", "up") else 0
        both = (weight * stored).sum(dim=axis, keepdim=True)
        stored = stored * both / stored.square().sum(dim=axis, keepdim=True)
    return float(((stored - weight).square().mean() / weight.square().mean()).sqrt())
