"""Proof that a model whose weights were all trained is its base, trained, and nothing else."""

from pathlib import Path

import torch

from common.bases import files_of
from common.files import sha256_of
from common.weights import same_bits, unlike
from training.adapter import MergeError
from training.sharding import FROZEN
from training.weights import Checkpoint


def prove(base_folder: Path, folder: Path) -> str:
    """What was proven, in a sentence: keys, shapes and types are the base's; every trained tensor
    is finite and another than the base's, every frozen one bit-identical; what stands beside the
    weights is the base's. Raises MergeError with the first tensor or file that is not so.
    """
    base = Checkpoint(base_folder)
    tuned = Checkpoint(folder)
    odd = sorted(set(base.file_of) ^ set(tuned.file_of))
    if odd:
        raise MergeError(f"not proven: {odd[0]} is in one model alone ({len(odd)} in all)")
    moved = 0
    frozen = 0
    for key in base.file_of:
        before = base[key]
        after = tuned[key]
        wrong = _wrong(key, before, after)
        if wrong:
            raise MergeError(f"not proven: {key}: {wrong}")
        moved += not _is_frozen(key)
        frozen += _is_frozen(key)
    beside = _beside(base_folder, folder)
    return (
        f"keys, shapes and types are the base's; {moved} trained tensors are finite and moved, "
        f"{frozen} frozen ones bit-identical; {beside} files beside the weights are the base's"
    )


def _is_frozen(key: str) -> bool:
    return any(part in key for part in FROZEN)


def _wrong(key: str, before: torch.Tensor, after: torch.Tensor) -> str | None:
    """What is wrong with a tensor, or None."""
    if other := unlike(after, before):
        return other
    same = same_bits(before, after)
    if _is_frozen(key):
        return None if same else "changed, and was not to be trained"
    if not after.isfinite().all():
        return "not finite"
    return "the base's still: it was not trained" if same else None


def _beside(base_folder: Path, folder: Path) -> int:
    """How many files beside the weights are the base's. Raises MergeError where one is not."""
    beside = [path for path in files_of(base_folder) if path.suffix != ".safetensors"]
    for path in beside:
        other = folder / path.name
        if not other.is_file() or sha256_of(other) != sha256_of(path):
            raise MergeError(f"not proven: {path.name} is not the base's")
    return len(beside)
