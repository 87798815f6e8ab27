"""Merge a trained adapter into its base and prove it: python -m training.merge RECIPE [--base DIR]

Writes outputs/<recipe>/v<N>/merged: the base's own files with the adapter added to the weights,
shard by shard, each tensor added in float32 and rounded once. Nothing is left there unless the
proofs hold: training.verify_merge, tensor by tensor, and training.same_logits, row by row.
(`axolotl merge-lora`, whose default loses the adapter of a model with this key layout and exits 0,
is not used; tests compare with PEFT's merge.)
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from common import runs
from common.bases import base_of, model_hash
from common.errors import command
from common.files import ROOT, only_writer, sha256_of, shown, write_json, written_aside
from common.options import parser_of
from common.recipes import Recipe, RecipeError, find
from training import verify_whole
from training.adapter import MergeError, load_adapter
from training.checkpoints import damage
from training.environment import quiet_environment
from training.same_logits import compare, rows_of
from training.verify_merge import verify
from training.weights import Checkpoint, copy_beside, places


def merge(base_folder: Path, adapter_folder: Path, out: Path, data: Path | None = None) -> str:
    """Merge into `out`, prove it, and say what was proven. `data` is a file of rows that both
    models read.

    Raises MergeError, and FileError while another merge writes there; then `out` stays as it was.
    """
    adapter = load_adapter(adapter_folder)
    base = Checkpoint(base_folder)
    name_of = places(base, adapter)
    with only_writer(out, "being merged"), written_aside(out) as aside:
        copy_beside(base_folder, aside)
        for file, keys in base.shards():
            tensors = {}
            for key in keys:
                tensor = base[key]
                if key in name_of:
                    delta = adapter.targets[name_of[key]].delta()
                    tensor = (tensor.float() + delta).to(tensor.dtype)
                tensors[key] = tensor.contiguous()
            save_file(tensors, aside / file, metadata=base.metadata(file))
            print(f"  {file}: {len(keys)} tensors", flush=True)
        proven = prove(base_folder, adapter_folder, aside, data)
        adapter_sha256 = sha256_of(adapter_folder / "adapter_model.safetensors")
        about = {"proven": proven, "adapter_sha256": adapter_sha256, "model": model_hash(aside)}
        write_json(aside / runs.MERGE_PROOF, about)
        return proven


def prove(base_folder: Path, adapter_folder: Path, merged: Path, data: Path | None) -> str:
    """Both proofs in a sentence. Raises MergeError when one does not hold."""
    proof = verify(base_folder, adapter_folder, merged)
    if proof.wrong:
        raise MergeError(f"the merge is not proven: {proof.wrong[0]} ({len(proof.wrong)} in all)")
    if data is None or not data.is_file():
        return f"{proof}; logits NOT compared: no rows of the recipe's data are here"
    agreement = compare(base_folder, adapter_folder, merged, rows_of(data, base_folder))
    if not agreement.holds:
        raise MergeError(f"the merge is not proven: {agreement}")
    return f"{proof}; {agreement}"


def merge_recipe(recipe: Recipe, base: str | None) -> str:
    """Merge what a recipe trained, for its own base, recipe and data alone; what was proven. Raises
    AetherError.

    A model that was trained whole is proven where it lies.
    """
    if not recipe.data.get("adapter") and not recipe.data.get("shards"):
        raise RecipeError(f"{recipe.id} trains the whole model: there is no adapter to merge")
    record = runs.finished(recipe)
    broken = damage(recipe.output)
    if broken:
        raise RecipeError(
            f"{shown(recipe.output)} is not as it was sealed ({broken}); train again: "
            f"make train RECIPE={recipe.id} FRESH=1"
        )
    model = base_of(recipe, base)
    runs.require_same(recipe, record, model)
    if recipe.data.get("shards"):
        return verify_whole.record(model.local(), recipe.output)
    rows = ROOT / recipe.data["rows"]["path"] / "val.jsonl"
    return merge(model.local(), recipe.output, recipe.output / "merged", rows)


def main() -> int:
    options = parser_of(__doc__, "recipe", "--base").parse_args()
    os.chdir(ROOT)
    quiet_environment()
    torch.set_grad_enabled(False)
    recipe = find(options.recipe)
    proven = merge_recipe(recipe, options.base)
    print(f"proven: {proven}")
    from training import tracking  # imports wandb, which takes a second

    with tracking.start("merge", recipe.output) as tracked:
        tracked.summary["proven"] = proven
    print(f"the model: {shown(recipe.output / ('merged' if recipe.data.get('adapter') else ''))}")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
