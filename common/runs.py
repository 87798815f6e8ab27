"""run.json: how a run was made. `identity` is what must be the same for whatever builds on it
(docs/runs.md).

A run lives in outputs/<recipe>/v<N>/. Its run.json is written before the training starts; resuming,
merging and evaluating ask it again, by content and not by name. What may change between
two starts (packages, commit, machine, the name of the base) is kept under `changes`, with the step
at which it changed.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from common import rows
from common.bases import Base, model_hash, part_hashes
from common.errors import AetherError
from common.files import ROOT, load_json, sha256_of, shown, write_json
from common.recipes import Recipe

FILE = "run.json"
HISTORY = "history.jsonl"  # what it logged, one JSON object a line, as it went
MERGE_PROOF = "proof.json"  # in a merged folder: what was proven, of which adapter and weights
# What may differ between two starts of one run.
MAY_CHANGE = (
    "base",
    "base_revision",
    "commit",
    "dirty",
    "lock_sha256",
    "packages",
    "image_digest",
    "device",
)


class RunError(AetherError):
    """A run that is not there, not finished, or not the one that is asked for."""


def read(folder: Path) -> dict | None:
    """The run.json of a folder, None where there is none.

    Raises RunError for one that is cut short or no record.
    """
    path = folder / FILE
    if not path.exists():
        return None
    record = load_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("identity"), dict):
        raise RunError(f"{shown(path)}: no record of a run (it has no identity); move it away")
    return record


def write(folder: Path, record: dict) -> None:
    """Write run.json so that it is there whole or as it was."""
    write_json(folder / FILE, record)


def is_of(folder: Path, recipe_id: str) -> bool:
    """Whether a folder's own run.json says that it belongs to this recipe. Raises as `read`."""
    record = read(folder)
    return record is not None and record["identity"].get("recipe") == recipe_id


def identity_of_data(recipe: Recipe, folder: Path) -> dict[str, str | None]:
    """Hashes of the files that are trained on, read from the files themselves: train, val, every
    image.
    """
    digest = hashlib.sha256()
    images = sorted((folder / "images").glob("*"))
    for path in images:
        digest.update(path.name.encode() + bytes.fromhex(sha256_of(path)))
    hashes = {}
    for split in ("train", "val"):
        path = folder / rows.file_of(split, recipe.pairs)
        hashes[f"data_{split}"] = sha256_of(path) if path.is_file() else None
    return hashes | {"data_images": digest.hexdigest() if images else None}


def identity_of_base(base: Base) -> dict[str, str | None]:
    """Hashes of the parts of a base model: weights, config, tokenizer, processor, template.

    Raises BaseError.
    """
    return {f"base_{part}": value for part, value in part_hashes(base.local()).items()}


def identity_of(recipe: Recipe, data: Path, base: Base) -> dict:
    """Everything that makes a run this run and no other; docs/runs.md lists it.

    Raises BaseError and FileError.
    """
    return {
        "recipe": recipe.id,
        "recipe_sha256": recipe.sha256,
        "data_sha256": load_json(data / "manifest.json").get("data_sha256"),
        **identity_of_data(recipe, data),
        **identity_of_base(base),
        "seed": recipe.data.get("seed"),
    }


def differences(recorded: dict, now: dict) -> list[str]:
    """The keys of `now` that `recorded` does not have with the same value."""
    return [key for key, value in now.items() if recorded.get(key, ...) != value]


def current(record: dict) -> dict:
    """The MAY_CHANGE part of a record as it was at the last start: the first values with every
    change applied.
    """
    values = {key: record.get(key) for key in MAY_CHANGE}
    for change in record.get("changes", []):
        values |= {key: pair[1] for key, pair in change.items() if key in MAY_CHANGE}
    return values


def with_changes(record: dict, now: dict, step: int) -> dict:
    """`record` with what differs in `now` appended to its changes: {"at_step", key: [before,
    after]}. Nothing is overwritten.
    """
    before = current(record)
    changed = {
        key: [before[key], now.get(key)] for key in MAY_CHANGE if before[key] != now.get(key)
    }
    if not changed:
        return record
    return record | {"changes": [*record.get("changes", []), {"at_step": step, **changed}]}


def is_finished(folder: Path) -> bool:
    """Whether the folder's run came to its end. Raises as `read`."""
    record = read(folder)
    return record is not None and record.get("status") == "finished"


def wrong_merge(run: Path) -> str | None:
    """Why a run's merged folder is not shown to be the merge of its adapter, or None."""
    merged = run / "merged"
    adapter = run / "adapter_model.safetensors"
    if not adapter.is_file():
        return f"{shown(adapter)} is not there to compare with"
    if not (merged / MERGE_PROOF).is_file():
        return "merged without a proof on record"
    proof = load_json(merged / MERGE_PROOF)
    if proof["adapter_sha256"] != sha256_of(adapter):
        return "merged from another adapter than is here"
    if proof["model"] != model_hash(merged):
        return "changed since its merge was proven"
    return None


def finished(recipe: Recipe, folder: Path | None = None) -> dict:
    """The record of a recipe's finished training, in its own output folder unless another is given.
    Raises RunError.
    """
    where = folder or recipe.output
    record = read(where)
    if record is None:
        raise RunError(f"{shown(where)}: {recipe.id} is not trained here; {_train(recipe)}")
    if record.get("status") != "finished":
        raise RunError(
            f"{shown(where)}: {recipe.id} is not trained to its end (it is "
            f"{record.get('status')}); {_train(recipe)}"
        )
    return record


def require_same(recipe: Recipe, record: dict, base: Base | None = None) -> None:
    """Refuse to build on a run that was trained from another recipe, other data or another base.

    The base is asked for where one is given (what only reads the tuned model needs none); the data
    where it is there: a run may be merged on a machine that never had it. Raises RunError and
    BaseError.
    """
    identity = record["identity"]
    now: dict = {"recipe": recipe.id, "recipe_sha256": recipe.sha256}
    data = ROOT / recipe.data["rows"]["path"]
    if (data / rows.file_of("train", recipe.pairs)).is_file():
        now |= identity_of_data(recipe, data)
    if base is not None:
        now |= identity_of_base(base)
    differing = differences(identity, now)
    if differing:
        about = f" of {base}" if base and any(k.startswith("base_") for k in differing) else ""
        raise RunError(
            f"{recipe.id}: trained with another {named(differing)}{about}; bring back what it was "
            "trained with, or train again: "
            f"make train RECIPE={recipe.id} FRESH=1"
        )


def named(keys: Iterable[str]) -> str:
    """Keys of an identity as a person reads them: `base_config` as `base config`."""
    return ", ".join(key.replace("_", " ") for key in keys)


def _train(recipe: Recipe) -> str:
    return f"run make train RECIPE={recipe.id}"
