"""run.json: how a run was made, written before it starts, and the same in W&B's config."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from common.bases import weights_hash
from common.processes import git_state
from training.recipe import ROOT, Recipe, RecipeError

PACKAGES = (
    "axolotl",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "trl",
    "accelerate",
    "datasets",
    "liger-kernel",
    "wandb",
)
FILE = "run.json"


def device() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"


def record(recipe: Recipe, base: str, revision: str | None, data_sha256: str) -> dict:
    """What a run record holds before the run starts. `identity` is what a resumed run must share."""
    local = Path(base) if revision is None else None
    identity = {
        "recipe": recipe.id,
        "recipe_sha256": recipe.sha256,
        "data_sha256": data_sha256,
        "base": base if local is None else str(recipe.data["base_model"]),
        "base_revision": revision,
        "base_sha256": weights_hash(local) if local else None,
        "seed": recipe.data.get("seed"),
    }
    return {
        "identity": identity,
        **git_state(),
        "lock_sha256": hashlib.sha256((ROOT / "locks" / "train.lock").read_bytes()).hexdigest(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "image_digest": os.environ.get("IMAGE_DIGEST") or None,
        "device": device(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "running",
    }


def read(folder: Path) -> dict | None:
    path = folder / FILE
    return json.loads(path.read_text()) if path.exists() else None


def counts(manifest: dict) -> dict:
    """The parts of a dataset's manifest that say what it holds, without the hash of every file and image."""
    return {
        key: value
        for key, value in manifest.items()
        if key not in ("files", "images") and len(json.dumps(value)) < 20_000
    }


def write(folder: Path, run: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / FILE, run)


def replace(path: Path, value: dict) -> None:
    """Write a JSON file so that it is there whole or as it was, also when the machine stops."""
    aside = path.with_name(f".{path.name}")
    with aside.open("w") as file:
        file.write(json.dumps(value, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


@contextlib.contextmanager
def only_writer(folder: Path):
    """Hold a run's folder for this process; the system lets go of it however the process ends. Raises RecipeError when another has it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RecipeError(
                f"{folder} is being trained by another process; wait for it, or stop it"
            ) from None
        yield
