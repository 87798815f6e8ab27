"""What a recipe's rows are: their files, their lengths, their loss masks, and the bins they would
be trained in.
"""

import math
from pathlib import Path

import numpy as np

from common import rows
from common.files import load_json, sha256_of, shown
from common.recipes import Recipe, RecipeError
from training.data import plan
from training.index import Index, index, select
from training.render import IGNORE, Renderer

Runs = list[tuple[str, bool]]  # pieces of a row's text, and whether each is trained


def measured(recipe: Recipe, folder: Path, renderer: Renderer) -> tuple[dict, Index]:
    """(the figures of both splits, the index of the training split).

    Raises RowError, RenderError, RecipeError for what cannot be trained on.
    """
    manifest = load_json(folder / "manifest.json")
    _unchanged(folder, manifest.get("files", {}))
    found: dict = {
        "path": recipe.data["rows"]["path"],
        "data_sha256": manifest["data_sha256"],
        "replay": manifest.get("origins", {}).get("replay", 0),  # rows
    }
    indexes = {
        split: index(folder / rows.file_of(split, recipe.pairs), renderer, recipe.pairs)
        for split in ("train", "val")
    }
    for split, of_split in indexes.items():
        kept, dropped = select(
            of_split, recipe.data["rows"].get("categories"), recipe.data["sequence_len"]
        )
        found[split] = _figures(of_split, kept, dropped)
        if split == "train":
            found["train"]["bins"] = _bins(recipe, of_split.tokens[kept])
    return found, indexes["train"]


def _unchanged(folder: Path, files: dict[str, str]) -> None:
    """Raise RowError unless every file of the manifest is there as it was built."""
    for name, wanted in files.items():
        path = folder / name
        if not path.exists():
            raise rows.RowError(
                f"{shown(path)}: in the manifest but not on disk; build the dataset again"
            )
        if sha256_of(path) != wanted:
            raise rows.RowError(
                f"{shown(path)}: changed since the dataset was built; build it again"
            )


def _figures(of_split: Index, kept: np.ndarray, dropped: np.ndarray) -> dict:
    names, counts = np.unique(of_split.categories[kept], return_counts=True)
    return {
        "rows": len(kept),
        "dropped": [f"{of_split.ids[i]} ({of_split.tokens[i]} tokens)" for i in dropped.tolist()],
        "tokens": int(of_split.tokens[kept].sum()),
        "trained_tokens": int(of_split.trained[kept].sum()),
        "longest": int(of_split.tokens[kept].max()),
        "images": int(of_split.images[kept].sum()),
        "categories": dict(zip(names.tolist(), counts.tolist(), strict=True)),
    }


def _bins(recipe: Recipe, lengths: np.ndarray) -> list[int]:
    """How many bins each epoch would have, planned as the training plans them.

    Raises RecipeError where the rows do not fill a micro-batch, and where max_steps goes beyond the
    epochs.
    """
    config = recipe.data
    at_once = config["micro_batch_size"]

    def planned(epoch: int, at_least: int = 0) -> int:
        bins = plan(
            lengths, config["sequence_len"], config["seed"], epoch, at_once, at_least=at_least
        )
        return len(bins)

    try:
        counts = [planned(epoch) for epoch in range(math.ceil(config["num_epochs"]))]
        bins_an_epoch = planned(0, max(counts))
    except ValueError as error:
        raise RecipeError(f"{shown(recipe.path)}: micro_batch_size: {error}") from None
    batches = bins_an_epoch // at_once
    steps_an_epoch = math.ceil(batches / config["gradient_accumulation_steps"])
    steps = math.ceil(steps_an_epoch * config["num_epochs"])
    if config.get("max_steps", 0) > steps:
        raise RecipeError(
            f"{shown(recipe.path)}: max_steps: {config['max_steps']} goes beyond num_epochs: "
            f"{config['num_epochs']}, which are {steps} steps; raise num_epochs"
        )
    return counts


def masks(recipe: Recipe, folder: Path, train: Index, renderer: Renderer) -> dict[str, Runs]:
    """For the first kept row of each category: its text as runs of (text, trained)."""
    kept, _ = select(train, recipe.data["rows"].get("categories"), recipe.data["sequence_len"])
    shown_runs = {}
    with train.path.open("rb") as file:
        for category in np.unique(train.categories[kept]):
            first = kept[np.flatnonzero(train.categories[kept] == category)[0]]
            file.seek(int(train.offsets[first]))
            sides = rows.sides(rows.parse(file.readline()))
            for name, side in zip((f"{category}", f"{category}, rejected"), sides, strict=False):
                encoded = renderer.encode(side, folder)
                trained = encoded.labels != IGNORE
                shown_runs[name] = [
                    (_readable(renderer, encoded.input_ids[start:end]), bool(trained[start]))
                    for start, end in _spans(trained)
                ]
    return shown_runs


def _spans(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each run of equal flags."""
    cuts = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), len(flags)]
    return list(zip(cuts, cuts[1:], strict=False))


def _readable(renderer: Renderer, ids: np.ndarray) -> str:
    """Decoded text with the runs of image placeholders as one word."""
    is_image = np.isin(ids, renderer.image_ids)
    text = ""
    for start, end in _spans(is_image):
        if is_image[start]:
            text += f"«image, {end - start} tokens»"
        else:
            text += renderer.tokenizer.decode(ids[start:end])
    return text
