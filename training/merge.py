"""Merge a trained adapter into its base and prove it: python -m training.merge RECIPE [--base DIR]

Writes outputs/<recipe>/v<N>/merged: the base's own files with the adapter added to the weights,
shard by shard, each tensor added in float32 and rounded once. Nothing is left there unless the
proofs hold: training.verify_merge, tensor by tensor, and training.same_logits, row by row.
(`axolotl merge-lora`, whose default loses the adapter of a model with this key layout and exits 0,
is not used; tests compare with PEFT's merge.)
"""

import os
import sys

from common import runs
from common.bases import base_of
from common.errors import command
from common.files import ROOT, shown
from common.options import parser_of
from common.recipes import Recipe, RecipeError, find
from training.checkpoints import damage
from training.environment import quiet_environment


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
    import torch  # heavy, as what imports it is: a wrong recipe is told first

    torch.set_grad_enabled(False)
    if recipe.data.get("shards"):
        from training import verify_whole

        return verify_whole.record(model.local(), recipe.output)
    from training.merging import merge

    rows = ROOT / recipe.data["rows"]["path"] / "val.jsonl"
    return merge(model.local(), recipe.output, recipe.output / "merged", rows)


def main() -> int:
    options = parser_of(__doc__, "recipe", "--base").parse_args()
    os.chdir(ROOT)
    quiet_environment()
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
