"""Proof that a merged checkpoint is its base plus its adapter, and nothing else.

    python -m training.verify_merge --base DIR --adapter DIR --merged DIR [--data DIR]
                                      exit 0: proven; 1: not, with the tensors named

Tensor by tensor: for every LoRA target, merged = base + scale·B·A within the rounding of the
tensor's dtype; every other tensor is bit-identical; keys, shapes and dtypes are the base's. With
--data, a built dataset, also row by row: the logits of the merged model are those of the base with
the adapter as PEFT runs it (training.same_logits).
"""

import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from common.errors import command, say_wrong
from common.options import parser_of
from common.weights import same_bits, unlike
from training.adapter import LowRank, load_adapter
from training.weights import Checkpoint, places


@dataclass
class Proof:
    """What was found of a merge, tensor by tensor."""

    modules: int  # how many the adapter has
    proven: int = 0
    untouched: int = 0
    worst: float = 0.0  # of the rounding allowed
    read: int = 0  # bytes
    is_zero: bool = False
    wrong: list[str] = field(default_factory=list)  # one line each

    def __str__(self) -> str:
        text = (
            f"{self.proven} of {self.modules} modules are base + scale·B·A (worst {self.worst:.2f} "
            f"of the rounding allowed), {self.untouched} other tensors bit-identical, "
            f"{self.read / 1e9:.2f} GB read"
        )
        return f"{text}; nothing changed: the adapter is zero" if self.is_zero else text


def off(base: torch.Tensor, merged: torch.Tensor, low: LowRank) -> float:
    """How far `merged` is from base + delta, in units of what rounding allows; at most 1 is right.

    Allowed: half a unit in the last place of the result and of the delta, in the tensor's dtype,
    and float32's own error in the product.
    """
    delta = low.delta()
    wanted = base.float() + delta
    unit = torch.finfo(base.dtype).eps / 2
    product = torch.finfo(torch.float32).eps * math.sqrt(low.a.shape[0]) * delta.abs().max()
    rounding = unit * (wanted.abs() + delta.abs()) * 1.01
    allowed = rounding + 4 * product + torch.finfo(base.dtype).tiny
    distance = (merged.float() - wanted).abs() / allowed
    return math.inf if distance.isnan().any() else float(distance.max())


def verify(base_folder: Path, adapter_folder: Path, merged_folder: Path) -> Proof:
    """Read all three and judge every tensor. Raises MergeError for unreadable files and for what is
    not plain LoRA.
    """
    adapter = load_adapter(adapter_folder)
    base = Checkpoint(base_folder)
    merged = Checkpoint(merged_folder)
    name_of = places(base, adapter)
    proof = Proof(modules=len(adapter.targets), is_zero=adapter.is_zero)
    for key in sorted(set(base.file_of) - set(merged.file_of)):
        proof.wrong.append(f"{key}: in the base, not in the merged model")
    for key in sorted(set(merged.file_of) - set(base.file_of)):
        proof.wrong.append(f"{key}: in the merged model, not in the base")
    for key in base.file_of:
        if key in merged.file_of:
            low = adapter.targets[name_of[key]] if key in name_of else None
            _judge(proof, key, base[key], merged[key], low)
    return proof


def _judge(
    proof: Proof, key: str, base: torch.Tensor, merged: torch.Tensor, low: LowRank | None
) -> None:
    """Add to the proof what one tensor shows; `low` is what the adapter adds to it, if anything."""
    proof.read += base.nbytes + merged.nbytes
    if other := unlike(merged, base):
        proof.wrong.append(f"{key}: {other}")
        return
    same = same_bits(base, merged)
    if low is None:
        proof.untouched += same
        if not same:
            proof.wrong.append(f"{key}: changed, and no target of the adapter")
        return
    distance = off(base, merged, low)
    proof.worst = max(proof.worst, distance)
    proof.proven += distance <= 1
    if distance > 1:
        lost = " (it is the base's: the adapter is not in it)" if same else ""
        text = f"not base + scale·B·A, off by {distance:.3g} times the rounding allowed{lost}"
        proof.wrong.append(f"{key}: {text}")


def main() -> int:
    parser = parser_of(__doc__)
    for name in ("base", "adapter", "merged"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="a built dataset whose rows both models read")
    options = parser.parse_args()
    started = time.monotonic()
    proof = verify(options.base, options.adapter, options.merged)
    logits = "logits not compared (no --data)"
    if options.data and not proof.wrong:
        from training.same_logits import compare, rows_of  # imports transformers

        rows = rows_of(options.data / "val.jsonl", options.base)
        agreement = compare(options.base, options.adapter, options.merged, rows)
        logits = str(agreement)
        if not agreement.holds:
            proof.wrong.append(logits)
    say_wrong(proof.wrong)
    verdict = "NOT PROVEN" if proof.wrong else "proven"
    print(f"{verdict}: {proof}; {logits}, {time.monotonic() - started:.1f} s")
    return 1 if proof.wrong else 0


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(command(main))
