"""What a run is recorded with beside its identity: the code, the packages and the machine, which
may change between two starts.
"""

import importlib.metadata
import json
import os
import platform
import subprocess

from common.bases import Base
from common.files import ROOT, sha256_of
from common.processes import git_state
from training.memory import L40S_GIB

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
CUDA_CONTEXT_GIB = 0.5
LOCK = ROOT / "locks" / "train.lock"


def gpus() -> list[tuple[str, float]]:
    """(name, GiB of memory) of each GPU that this process may use.

    The driver is asked and not torch, which would take memory of the GPU for this process.
    """
    words = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        words += ["-i", visible]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        return []
    found = []
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        name, _, mebibytes = line.rpartition(",")
        found.append((name.strip(), float(mebibytes) / 1024))
    return found


def gpu() -> tuple[str, float] | None:
    """(name, GiB of memory) of the first of them, None where there is none."""
    return next(iter(gpus()), None)


def gpu_gib() -> float:
    """GiB that a training may use here: the GPU's less the CUDA context; the L40S's without one."""
    found = gpu()
    return found[1] - CUDA_CONTEXT_GIB if found else L40S_GIB


def device() -> str:
    """The GPU's name, or what the CPU is."""
    found = gpu()
    return found[0] if found else f"cpu ({platform.machine()}, {os.cpu_count()} cores)"


def surroundings(base: Base) -> dict:
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


def counts(manifest: dict) -> dict:
    """The parts of a dataset's manifest that say what it holds, without the hash of every file and
    image.
    """
    return {
        key: value
        for key, value in manifest.items()
        if key not in ("files", "images") and len(json.dumps(value)) < 20_000
    }
