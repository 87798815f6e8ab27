"""Proof that two GGUF files are a merged checkpoint: the text model, and the projector with the
eyes.

Every tensor stands once in one of them under its mapped name, its permutation undone, equal or
within its type's own step; nothing else is there. What the files say beside the tensors (shape,
tokenizer, chat template, image geometry) is the merged model's, key by key.
"""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from common.facts import SPECIAL_TOKENS
from common.files import json_if_there
from common.weights import Weights
from serving.carried import OPTIONAL, expected_eyes, expected_text
from serving.llama_cpp import SOURCE
from serving.proof import EYES_FILE, TEXT_FILE, ExportError, Proof

TEXT_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
EYES_NAMES = {
    "attention.q_proj": "attn_q",
    "attention.k_proj": "attn_k",
    "attention.v_proj": "attn_v",
    "attention.o_proj": "attn_out",
    "feed_forward.gate_proj": "ffn_gate",
    "feed_forward.up_proj": "ffn_up",
    "feed_forward.down_proj": "ffn_down",
    "attention_norm": "ln1",
    "ffn_norm": "ln2",
}
EMBEDDINGS = "language_model.model.embed_tokens.weight"
SINGLE = {
    EMBEDDINGS: (TEXT_FILE, "token_embd.weight"),
    "language_model.model.norm.weight": (TEXT_FILE, "output_norm.weight"),
    "language_model.lm_head.weight": (TEXT_FILE, "output.weight"),
    "vision_tower.patch_conv.weight": (EYES_FILE, "v.patch_embd.weight"),
    "vision_tower.ln_pre.weight": (EYES_FILE, "v.pre_ln.weight"),
}
IMAGE_BREAK = "v.token_embd.img_break"
EXACT = ("F32", "BF16")
BOUNDED = "Q8_0"
# Thresholds, no proofs: root mean square of the error over that of the tensor. Normal weights give
# 0.07 to Q4_K and half as much for each further bit; a wrong tensor gives more than 1.
THRESHOLDS = {"Q4_K": 0.11, "Q5_K": 0.06, "Q6_K": 0.03, "Q5_0": 0.07}
ALLOWED = {
    "gguf": EXACT,
    "gguf-q8_0": (*EXACT, BOUNDED),
    "gguf-q4_k_m": (*EXACT, BOUNDED, *THRESHOLDS),
}


def library() -> Any:
    """llama.cpp's own reader of its files, from the pinned source. Raises ExportError."""
    if not SOURCE.is_dir():
        raise ExportError(f"{SOURCE}: llama.cpp's source is not here; run make {SOURCE.parent}")
    path = str(SOURCE / "gguf-py")
    if path not in sys.path:
        sys.path.insert(0, path)
    import gguf

    return gguf


def place(key: str, config: dict) -> tuple[str, str, int]:
    """(file, tensor name, heads) of a checkpoint's tensor; heads where rows are permuted, else 0.

    Raises ExportError for a tensor that has no place.
    """
    text = config["text_config"]
    heads = {
        "self_attn.q_proj": text["num_attention_heads"],
        "self_attn.k_proj": text["num_key_value_heads"],
        "attention.q_proj": config["vision_config"]["num_attention_heads"],
        "attention.k_proj": config["vision_config"]["num_attention_heads"],
    }
    if key in SINGLE:
        return (*SINGLE[key], 0)
    found = re.fullmatch(r"language_model\.model\.layers\.(\d+)\.(.+)\.weight", key)
    if found and found[2] in TEXT_NAMES:
        name = f"blk.{found[1]}.{TEXT_NAMES[found[2]]}.weight"
        return TEXT_FILE, name, heads.get(found[2], 0)
    found = re.fullmatch(r"vision_tower\.transformer\.layers\.(\d+)\.(.+)\.weight", key)
    if found and found[2] in EYES_NAMES:
        name = f"v.blk.{found[1]}.{EYES_NAMES[found[2]]}.weight"
        return EYES_FILE, name, heads.get(found[2], 0)
    found = re.fullmatch(r"multi_modal_projector\.linear_([12])\.(weight|bias)", key)
    if found:
        return EYES_FILE, f"mm.{found[1]}.{found[2]}", 0
    raise ExportError(f"{key}: no place in llama.cpp's files is known for this tensor")


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """The rows of each head as llama.cpp's rotary embedding wants them: the two halves that
    transformers rotates against each other, interleaved.
    """
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def steps_off(stored: np.ndarray, wanted: np.ndarray) -> float:
    """The worst error of a Q8_0 tensor, in units of what its step allows.

    Blocks of 32 share a scale, the largest magnitude over 127: half of it, and what rounding the
    scale to float16 moves a value by.
    """
    blocks = wanted.reshape(-1, 32)
    step = np.abs(blocks).max(axis=1, keepdims=True) / 127
    subnormal = 127 * 2.0**-25
    allowed = step * 0.5001 + np.abs(blocks) * 2.0**-11 * 1.01 + subnormal
    return float((np.abs(stored.reshape(-1, 32) - blocks) / allowed).max())


def relative_error(stored: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square of the error over that of what was wanted."""
    return float(np.sqrt(np.square(stored - wanted).mean() / np.square(wanted).mean()))


def judge(proof: Proof, name: str, tensor: Any, wanted: np.ndarray) -> None:
    """Add to the proof what one stored tensor shows; `wanted` in float32, as it should be."""
    from gguf.quants import dequantize

    kind = tensor.tensor_type.name
    exact_file = name.startswith(("v.", "mm.")) or wanted.ndim == 1
    if kind not in (EXACT if exact_file else ALLOWED[proof.form]):
        proof.wrong.append(f"{name}: stored as {kind}, which {proof.form} does not use for it")
        return
    shape = tuple(int(size) for size in reversed(tensor.shape))
    if shape != wanted.shape:
        proof.wrong.append(f"{name}: {shape}, the merged model has {wanted.shape}")
        return
    stored = dequantize(tensor.data, tensor.tensor_type).reshape(wanted.shape)
    if kind in EXACT:
        proof.add_equal(name, np.array_equal(stored, wanted))
    elif kind == BOUNDED:
        proof.add_step(name, kind, steps_off(stored, wanted))
    else:
        proof.add_threshold(name, kind, relative_error(stored, wanted), THRESHOLDS[kind])


def verify(merged: Path, exported: Path, form: str) -> Proof:
    """Read both and judge every tensor and every setting. Raises ExportError and WeightsError."""
    gguf = library()
    weights = Weights(merged)
    config = json_if_there(merged / "config.json")
    readers = {}
    for name in (TEXT_FILE, EYES_FILE):
        if not (exported / name).is_file():
            raise ExportError(f"{exported / name}: no such file; the export is not whole")
        readers[name] = gguf.GGUFReader(exported / name)
    left = {name: {tensor.name: tensor for tensor in readers[name].tensors} for name in readers}
    proof = Proof(form)
    for key in weights.file_of:
        file, name, heads = place(key, config)
        wanted = weights[key].float().numpy()
        found = left[file].pop(name, None)
        if found is None:
            proof.wrong.append(f"{key}: not in the export, which has no {name}")
        else:
            judge(proof, name, found, permuted(wanted, heads) if heads else wanted)
        if key == EMBEDDINGS:
            broken = left[EYES_FILE].pop(IMAGE_BREAK, None)
            row = wanted[SPECIAL_TOKENS["[IMG_BREAK]"]]
            if broken is None:
                proof.wrong.append(f"{IMAGE_BREAK}: missing, so no picture can be read")
            else:
                judge(proof, IMAGE_BREAK, broken, row)
    for file, tensors in left.items():
        proof.wrong += [f"{name}: in {file}, not in the merged model" for name in tensors]
    expected = {TEXT_FILE: expected_text(merged), EYES_FILE: expected_eyes(merged)}
    for file, wanted_keys in expected.items():
        _judge_settings(proof, file, readers[file], wanted_keys)
    return proof


def _judge_settings(proof: Proof, file: str, reader: Any, wanted: dict) -> None:
    """Compare a file's settings with those it should have: all of them, and no others."""
    found = {name: field.contents() for name, field in reader.fields.items()}
    for name, value in wanted.items():
        stored = found.pop(name, None)
        if _single(stored) != _single(value):
            proof.require(f"{file}: {name}", stored, value)
    for name, stored in found.items():
        described = name.startswith(("GGUF.", "general."))
        if not described and OPTIONAL.get(name) is not stored:
            proof.wrong.append(f"{file}: {name}: a setting that the merged model does not ask for")


def _single(value: Any) -> Any:
    """A value as a GGUF file keeps it: floats in single precision."""
    if isinstance(value, list):
        return [_single(item) for item in value]
    return float(np.float32(value)) if isinstance(value, float) else value
