"""Proof that a model whose weights were all trained is its base, trained, and nothing else."""

from pathlib import Path

import torch

from common import runs
from common.bases import model_hash
from common.files import sha256_of, write_json
from common.weights import same_bits, unlike
from training.adapter import MergeError
from training.sharding import is_frozen
from training.weights import Checkpoint, beside


def record(base_folder: Path, folder: Path) -> str:
    """Prove a model and write the proof beside it; what was proven. Raises MergeError."""
    proven = prove(base_folder, folder)
    about = {"proven": proven, "model": model_hash(folder)}
    write_json(folder / runs.MERGE_PROOF, about)
    return proven


def prove(base_folder: Path, folder: Path) -> str:
    """What was proven, in a sentence: keys, shapes and types are the base's; every trained tensor
    is finite and another than the base's, every frozen one bit-identical; what stands beside the
    weights is the base's. Raises MergeError with the first tensor or file that is not so.

    A vector in 16 bits may have moved by less than half a step of its type, and is counted apart:
    a norm's weights near one have steps of 0.008. What wrote the model saw it move
    (training.sharding.write_whole).
    """
    base = Checkpoint(base_folder)
    tuned = Checkpoint(folder)
    odd = sorted(set(base.file_of) ^ set(tuned.file_of))
    if odd:
        raise MergeError(f"not proven: {odd[0]} is in one model alone ({len(odd)} in all)")
    moved = 0
    frozen = 0
    rounded = 0
    for key in base.file_of:
        before = base[key]
        after = tuned[key]
        same = same_bits(before, after)
        wrong = _wrong(key, before, after, same)
        if wrong:
            raise MergeError(f"not proven: {key}: {wrong}")
        if is_frozen(key):
            frozen += 1
        elif same:
            rounded += 1
        else:
            moved += 1
    count = _beside(base_folder, folder)
    return (
        f"keys, shapes and types are the base's; {moved} trained tensors are finite and moved, "
        f"{f'{rounded} vectors moved by less than a step of their type, ' if rounded else ''}"
        f"{frozen} frozen ones bit-identical; {count} files beside the weights are the base's"
    )


def _wrong(key: str, before: torch.Tensor, after: torch.Tensor, same: bool) -> str | None:
    """What is wrong with a tensor, or None."""
    if other := unlike(after, before):
        return other
    if is_frozen(key):
        return None if same else "changed, and was not to be trained"
    if not after.isfinite().all():
        return "not finite"
    may_round = before.dim() == 1 and before.itemsize == 2
    return "the base's still: it was not trained" if same and not may_round else None


def _beside(base_folder: Path, folder: Path) -> int:
    """How many files beside the weights are the base's. Raises MergeError where one is not."""
    files = beside(base_folder)
    for path in files:
        other = folder / path.name
        if not other.is_file() or sha256_of(other) != sha256_of(path):
            raise MergeError(f"not proven: {path.name} is not the base's")
    return len(files)
