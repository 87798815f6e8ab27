"""Merge a trained adapter into its base and prove it: python -m training.merge RECIPE [--base DIR]

Writes outputs/<recipe>/v<N>/merged: the base's own files with the adapter added to the weights, shard by shard, each tensor added in
float32 and rounded once. Nothing is left there unless the proof holds. (`axolotl merge-lora`, whose default loses the adapter of a
model with this key layout and exits 0, is not used; tests compare with PEFT's merge.)
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from common.bases import base_of
from common.errors import AetherError
from common.files import ROOT
from common.recipes import RecipeError, find
from training import tracking
from training.checkpoints import damage
from training.environment import quiet_environment
from training.verify_merge import Checkpoint, MergeError, load_adapter, target_keys, verify


def merge(base_folder: Path, adapter_folder: Path, out: Path) -> str:
    """Merge into `out`, prove it, and say what was proven. Raises MergeError and leaves `out` as it was when it does not hold."""
    targets, saved = load_adapter(adapter_folder)
    base = Checkpoint(base_folder)
    name_of = {key: name for name, key in target_keys(base, targets, saved).items()}
    aside = out.with_name(f".{out.name}-aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for path in base_folder.iterdir():
            if (
                path.is_file()
                and path.suffix != ".safetensors"
                and path.suffix in (".json", ".jinja", ".model", ".txt")
            ):
                shutil.copyfile(path, aside / path.name)
        for number, (file, keys) in enumerate(base.shards(), 1):
            tensors = {}
            for key in keys:
                name = name_of.get(key)
                tensor = base[key]
                if name in targets:
                    tensor = (tensor.float() + targets[name].delta()).to(tensor.dtype)
                elif name in saved:
                    tensor = saved[name].to(tensor.dtype)
                tensors[key] = tensor.contiguous()
            save_file(tensors, aside / file, metadata=base.metadata(file))
            print(f"  {file} ({number} of {len(set(base.file_of.values()))})")
        wrong, said = verify(base_folder, adapter_folder, aside)
        if wrong:
            raise MergeError(f"the merge is not proven: {wrong[0]} ({len(wrong)} in all)")
        shutil.rmtree(out, ignore_errors=True)
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return said


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.merge", description=__doc__.splitlines()[0]
    )
    parser.add_argument("recipe")
    parser.add_argument("--base", help="a local folder in the place of the recipe's base model")
    options = parser.parse_args()
    os.chdir(ROOT)
    torch.set_grad_enabled(False)
    try:
        recipe = find(options.recipe)
        if not recipe.data.get("adapter"):
            raise RecipeError(f"{recipe.id} trains the whole model: there is no adapter to merge")
        trained = ROOT / recipe.data["output_dir"]
        if wrong := damage(trained):
            raise RecipeError(
                f"{recipe.id} is not trained to its end ({wrong}): make train RECIPE={recipe.id}"
            )
        proven = merge(base_of(recipe, options.base).local(), trained, trained / "merged")
        print(f"proven: {proven}")
        quiet_environment()
        with tracking.start("merge", trained) as run:
            run.summary["proven"] = proven
    except (AetherError, MergeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"merged: {(trained / 'merged').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
