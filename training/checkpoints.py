"""Checkpoints that can be trusted: sealed once whole, verified before use.

A folder counts when its `sealed.json`, written last, names every file in it with size and sha256,
and the files are so.
"""

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

from common.files import sha256_of, write_json
from common.runs import FILE as RUN
from common.runs import HISTORY

SEAL = "sealed.json"
# To resume exactly.
WANTED = (
    "trainer_state.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state*.pth",
    "*model*.safetensors",
)
CHANGES_AFTERWARDS = (SEAL, RUN, HISTORY, "*.log", ".*")


def seal(folder: Path, wanted: tuple[str, ...] = WANTED, **facts: object) -> None:
    """Push the files of a folder to the disk and write its seal, with `facts` in it.

    Raises OSError when one of `wanted` is missing or cut short.
    """
    from safetensors import safe_open

    paths = sorted(path for path in folder.iterdir() if path.is_file())
    kept = [p for p in paths if not any(fnmatch(p.name, name) for name in CHANGES_AFTERWARDS)]
    with ThreadPoolExecutor() as pool:  # the shares of a large model are many and large
        files = {path.name: entry for path, entry in zip(kept, pool.map(_entry, kept), strict=True)}
    for path in paths:
        if path.suffix == ".safetensors":
            safe_open(path, "numpy").keys()  # compares the header with the length of the file
    if missing := [name for name in wanted if not any(fnmatch(file, name) for file in files)]:
        raise OSError(f"{folder}: no {missing[0]} was written")
    write_json(folder / SEAL, {"files": files, **facts})


def _entry(path: Path) -> list:
    """[size, sha256] of a file that is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return [path.stat().st_size, sha256_of(path)]


def sealed(folder: Path) -> dict:
    """What a folder's seal says; empty where there is none, or half of one."""
    try:
        return json.loads((folder / SEAL).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, or None when every file is as it was sealed."""
    files = sealed(folder).get("files")
    if files is None:
        return "a seal is missing or cut short"
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{name} is missing or cut short"
        if sha256_of(path) != digest:
            return f"{name} has changed"
    return None


def step_of(name: str) -> int | None:
    """N of `checkpoint-N`; None for any other name, such as `checkpoint-122-backup`."""
    found = re.fullmatch(r"checkpoint-(\d+)", name)
    return int(found[1]) if found else None


def all_of(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first, whole or not.

    Folders of other names are none of ours.
    """
    steps = {}
    for path in folder.glob("checkpoint-*"):
        step = step_of(path.name)
        if step is not None and path.is_dir():
            steps[step] = path
    return [steps[step] for step in sorted(steps, reverse=True)]


def keep_newest(folder: Path, limit: int) -> None:
    """Remove all but `limit` checkpoints of a run; stock code would take a copied one for ours."""
    for path in all_of(folder)[limit:]:
        shutil.rmtree(path)


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; newer ones that are not whole are said and removed."""
    for path in all_of(folder):
        if (wrong := damage(path)) is None:
            return path
        print(f"{path.name} is not whole ({wrong}); passing it over")
        shutil.rmtree(path)
    return None
