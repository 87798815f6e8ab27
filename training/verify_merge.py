"""Proof that a merged checkpoint is its base plus its adapter, and nothing else.

    python -m training.verify_merge --base DIR --adapter DIR --merged DIR        exit 0: proven; 1: not, with the tensors named

For every LoRA target, merged = base + scale·B·A within the rounding of the tensor's dtype; every other tensor is bit-identical; keys,
shapes and dtypes are the base's; the number of merged modules is the adapter's. Tensors are read one at a time.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open


class MergeError(ValueError):
    """Files that cannot be merged, or whose merge cannot be judged."""


def canonical(key: str) -> str:
    """A tensor's name in memory (transformers 5), from either checkpoint layout of LLaVA or from an adapter."""
    key = key.removeprefix("base_model.model.")
    if key.startswith("language_model.lm_head."):
        return key.removeprefix("language_model.")
    key = re.sub(r"^language_model\.model\.", "model.language_model.", key)
    return re.sub(r"^(vision_tower|multi_modal_projector)\.", r"model.\1.", key)


@dataclass(frozen=True)
class Low:
    """One LoRA target: delta = scale · B · A. a: (rank, in), b: (out, rank)."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float

    def delta(self) -> torch.Tensor:
        """float32, shape (out, in)."""
        return (self.b.float() @ self.a.float()) * self.scale


def load_adapter(folder: Path) -> tuple[dict[str, Low], dict[str, torch.Tensor]]:
    """(LoRA targets by canonical weight name, tensors saved whole by canonical name). Raises MergeError for other kinds."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
        file = safe_open(folder / "adapter_model.safetensors", "pt")
    except (FileNotFoundError, json.JSONDecodeError, SafetensorError) as error:
        raise MergeError(f"{folder}: no readable adapter ({error})") from None
    for key in ("use_dora", "rank_pattern", "alpha_pattern", "lora_bias"):
        if config.get(key):
            raise MergeError(f"{folder}: {key} is set; only plain LoRA can be merged with proof")
    if config.get("bias", "none") != "none" or config.get("fan_in_fan_out"):
        raise MergeError(
            f"{folder}: bias or fan_in_fan_out is set; only plain LoRA can be merged with proof"
        )
    scale = config["lora_alpha"] / (
        math.sqrt(config["r"]) if config.get("use_rslora") else config["r"]
    )
    halves: dict[str, dict[str, torch.Tensor]] = {}
    saved = {}
    names = file.keys()  # a safetensors file is not iterable itself
    for key in names:
        if match := re.fullmatch(r"(.+)\.lora_([AB])\.weight", key):
            halves.setdefault(canonical(f"{match[1]}.weight"), {})[match[2]] = file.get_tensor(key)
        else:
            saved[canonical(key)] = file.get_tensor(key)
    if odd := sorted(name for name, pair in halves.items() if set(pair) != {"A", "B"}):
        raise MergeError(f"{folder}: {odd[0]} has only one of its two matrices")
    return {name: Low(pair["A"], pair["B"], scale) for name, pair in halves.items()}, saved


class Checkpoint:
    """The tensors of a checkpoint folder, one file or sharded, read one at a time."""

    def __init__(self, folder: Path):
        index = folder / "model.safetensors.index.json"
        try:
            if index.exists():
                self.file_of = json.loads(index.read_text())["weight_map"]
            else:
                with safe_open(folder / "model.safetensors", "pt") as file:
                    self.file_of = dict.fromkeys(file.keys(), "model.safetensors")
            self._open = {
                name: safe_open(folder / name, "pt") for name in sorted(set(self.file_of.values()))
            }
        except (FileNotFoundError, json.JSONDecodeError, SafetensorError) as error:
            raise MergeError(f"{folder}: no readable checkpoint ({error})") from None

    def __getitem__(self, key: str) -> torch.Tensor:
        return self._open[self.file_of[key]].get_tensor(key)

    def shards(self) -> Iterator[tuple[str, list[str]]]:
        """(file name, its keys)."""
        for name in self._open:
            yield name, [key for key, file in self.file_of.items() if file == name]

    def metadata(self, name: str) -> dict:
        return self._open[name].metadata() or {}


def target_keys(
    base: Checkpoint, targets: dict[str, Low], saved: dict[str, torch.Tensor]
) -> dict[str, str]:
    """Checkpoint key of each adapter tensor's canonical name. Raises MergeError when the base has no such tensor."""
    known = {canonical(key): key for key in base.file_of}
    if missing := sorted((set(targets) | set(saved)) - set(known)):
        raise MergeError(
            f"the base has no tensor {missing[0]} ({len(missing)} of the adapter's have no place)"
        )
    return {name: known[name] for name in (*targets, *saved)}


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


def _off(base: torch.Tensor, merged: torch.Tensor, low: Low) -> float:
    """How far `merged` is from base + delta, in units of what rounding allows; at most 1 is right.

    Allowed: half a unit in the last place of the result and of the delta, in the tensor's dtype, and float32's own error in the product.
    """
    delta = low.delta()
    if delta.shape != base.shape:
        return math.inf
    wanted = base.float() + delta
    unit = torch.finfo(base.dtype).eps / 2
    product = torch.finfo(torch.float32).eps * math.sqrt(low.a.shape[0]) * delta.abs().max()
    allowed = (
        unit * (wanted.abs() + delta.abs()) * 1.01 + 4 * product + torch.finfo(base.dtype).tiny
    )
    off = (merged.float() - wanted).abs() / allowed
    return float(off.max()) if not off.isnan().any() else math.inf


def verify(base_folder: Path, adapter_folder: Path, merged_folder: Path) -> tuple[list[str], str]:
    """(what is wrong, one line each; a sentence on what was proven). Raises MergeError for unreadable files."""
    targets, saved = load_adapter(adapter_folder)
    base, merged = Checkpoint(base_folder), Checkpoint(merged_folder)
    keys = target_keys(base, targets, saved)
    name_of = {key: name for name, key in keys.items()}
    wrong = [
        f"{key}: in the base, not in the merged model"
        for key in sorted(set(base.file_of) - set(merged.file_of))
    ]
    wrong += [
        f"{key}: in the merged model, not in the base"
        for key in sorted(set(merged.file_of) - set(base.file_of))
    ]
    worst, proven, untouched, read = 0.0, 0, 0, 0
    for _, shard in base.shards():
        for key in shard:
            if key not in merged.file_of:
                continue
            one, other = base[key], merged[key]
            read += one.nbytes + other.nbytes
            if one.shape != other.shape or one.dtype != other.dtype:
                wrong.append(
                    f"{key}: {tuple(other.shape)} {other.dtype}, the base has {tuple(one.shape)} {one.dtype}"
                )
            elif (name := name_of.get(key)) in targets:
                off = _off(one, other, targets[name])
                worst, proven = max(worst, off), proven + (off <= 1)
                if off > 1:
                    without = (
                        " (it is the base's: the adapter is not in it)"
                        if _same_bits(one, other)
                        else ""
                    )
                    wrong.append(
                        f"{key}: not base + scale·B·A, off by {off:.3g} times the rounding allowed{without}"
                    )
            elif name in saved:
                if not _same_bits(saved[name].to(one.dtype), other):
                    wrong.append(f"{key}: not the tensor that the adapter saved whole")
            elif _same_bits(one, other):
                untouched += 1
            else:
                wrong.append(f"{key}: changed, and no target of the adapter")
    if proven + sum("not base + scale" in line for line in wrong) < len(targets) and not wrong:
        wrong.append(f"only {proven} of the adapter's {len(targets)} modules were found")
    said = (
        f"{proven} of {len(targets)} modules are base + scale·B·A (worst {worst:.2f} of the rounding allowed), "
        f"{untouched} other tensors bit-identical, {read / 1e9:.2f} GB read"
    )
    return wrong, said


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.verify_merge", description=__doc__.splitlines()[0]
    )
    for name in ("base", "adapter", "merged"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    started = time.monotonic()
    try:
        wrong, said = verify(options.base, options.adapter, options.merged)
    except MergeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in wrong[:20]:
        print(f"error: {line}", file=sys.stderr)
    if len(wrong) > 20:
        print(f"error: … and {len(wrong) - 20} more", file=sys.stderr)
    print(f"{'NOT PROVEN' if wrong else 'proven'}: {said}, {time.monotonic() - started:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
