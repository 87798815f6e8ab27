"""What a run is recorded with beside its identity: the code, the packages and the machine, which
may change between two starts.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from typing import Any

from common.bases import Base
from common.files import ROOT, sha256_of
from common.processes import git_state

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
LOCK = ROOT / "locks" / "train.lock"


def device() -> str:
    """The GPU's name, or what the CPU is."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"


def surroundings(base: Base) -> dict[str, Any]:
    """What may change between two starts of a run (common.runs.MAY_CHANGE), as it is now."""
    return {
        "base": base.name,
        "base_revision": base.revision,
        **git_state(),
        "lock_sha256": sha256_of(LOCK),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "image_digest": os.environ.get("IMAGE_DIGEST") or None,
        "device": device(),
    }


def counts(manifest: dict[str, Any]) -> dict[str, Any]:
    """The parts of a dataset's manifest that say what it holds, without the hash of every file and
    image.
    """
    return {
        key: value
        for key, value in manifest.items()
        if key not in ("files", "images") and len(json.dumps(value)) < 20_000
    }
