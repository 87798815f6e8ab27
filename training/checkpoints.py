"""Checkpoints that can be trusted: sealed once whole, verified before use, copied to a mirror where one is asked for.

A folder counts when its `sealed.json`, written last, names every file in it with size and sha256, and the files are so. With MIRROR set
(a folder, or any fsspec URL: s3://bucket/runs) each sealed folder is copied to <MIRROR>/<recipe>/v<N> with run.json, and a machine
that does not have the run fetches the newest whole one. The mirror's keys stay in its own client's environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

from training import provenance
from training.recipe import RecipeError

SEAL = "sealed.json"
WANTED = (
    "trainer_state.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state*.pth",
    "*model*.safetensors",
)  # to resume exactly


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, wanted: tuple[str, ...] = WANTED, **facts: object) -> None:
    """Push the files of a folder to the disk and write its seal. Raises OSError when one of `wanted` is missing or cut short."""
    from safetensors import safe_open

    files = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        if (
            path.name not in (SEAL, provenance.FILE)
            and path.name[0] != "."
            and path.suffix != ".log"
        ):  # those change afterwards
            files[path.name] = [path.stat().st_size, _sha256(path)]
        if path.suffix == ".safetensors":
            safe_open(path, "numpy").keys()  # compares the header with the length of the file
    if missing := [name for name in wanted if not any(fnmatch(file, name) for file in files)]:
        raise OSError(f"{folder}: no {missing[0]} was written")
    provenance.replace(folder / SEAL, {"files": files, **facts})


def sealed(folder: Path) -> dict:
    """What a folder's seal says; empty where there is none."""
    try:
        return json.loads((folder / SEAL).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, or None when every file is as it was sealed."""
    for name, (size, digest) in sealed(folder).get("files", {"a seal": (0, "")}).items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{name} is missing or cut short"
        if _sha256(path) != digest:
            return f"{name} has changed"
    return None


def number(name: str) -> int:
    return int(name.rsplit("-", 1)[1])


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; those after it that are not whole are said and removed."""
    for path in sorted(folder.glob("checkpoint-[0-9]*"), key=lambda p: -number(p.name)):
        if (wrong := damage(path)) is None:
            return path
        print(f"{path.name} is not whole ({wrong}); passing it over")
        shutil.rmtree(path)
    return None


def _mirror(run_id: str):
    """(file system, folder of the run in the mirror, names of the checkpoints there, newest first)."""
    from fsspec.core import url_to_fs

    system, root = url_to_fs(os.environ["MIRROR"])
    root = f"{root.rstrip('/')}/{run_id}"
    system.makedirs(root, exist_ok=True)
    names = (path.rstrip("/").rsplit("/", 1)[-1] for path in system.ls(root, detail=False))
    return (
        system,
        root,
        sorted(
            (name for name in names if name.startswith("checkpoint-")), key=number, reverse=True
        ),
    )


def push(run: Path, name: str = "", keep: int = sys.maxsize) -> None:
    """Copy run/name, sealed, and run.json to the mirror, then remove all but `keep` checkpoints there. A failure is said; the run goes on."""
    if not os.environ.get("MIRROR") or (record := provenance.read(run)) is None:
        return
    try:
        system, root, before = _mirror(record["identity"]["recipe"])
        system.makedirs(f"{root}/{name}".rstrip("/"), exist_ok=True)
        system.put(
            [str(run / name / file) for file in (*sealed(run / name)["files"], SEAL)],
            f"{root}/{name}".rstrip("/") + "/",
        )
        system.put_file(
            str(run / provenance.FILE), f"{root}/.{provenance.FILE}"
        )  # aside: half a record would be no run
        system.mv(f"{root}/.{provenance.FILE}", f"{root}/{provenance.FILE}")
        for old in [n for n in before if n != name][max(keep - 1, 0) :]:
            system.rm(f"{root}/{old}", recursive=True)
    except (
        Exception
    ) as error:  # any of a dozen clients' own; a mirror that is down must not end the training
        print(
            f"warning: MIRROR: {name or 'the result'} was not copied: {type(error).__name__}: {error}",
            file=sys.stderr,
        )


def forget(run_id: str) -> None:
    """Remove a run from the mirror, as FRESH=1 does on this machine."""
    if os.environ.get("MIRROR"):
        system, root, _ = _mirror(run_id)
        system.rm(root, recursive=True)


def fetch(run: Path, run_id: str) -> None:
    """Bring a run that this machine does not have from the mirror, whole or not at all. Raises RecipeError when it cannot be read."""
    if not os.environ.get("MIRROR") or (run.exists() and any(run.iterdir())):
        return
    aside = run.with_name(f".{run.name}-fetching")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        system, root, names = _mirror(run_id)
        for name in names or (
            [""] if system.exists(f"{root}/{SEAL}") else []
        ):  # a finished run has no checkpoints there
            system.get(f"{root}/{name}".rstrip("/") + "/", f"{aside / name}/", recursive=True)
            if damage(aside / name) is None:
                system.get_file(f"{root}/{provenance.FILE}", str(aside / provenance.FILE))
                shutil.rmtree(run, ignore_errors=True)  # empty
                aside.rename(run)
                print(f"fetched {run_id}{name and '/'}{name} from MIRROR")
                return
            shutil.rmtree(aside / name)
    except Exception as error:
        raise RecipeError(
            f"MIRROR: {run_id} cannot be fetched: {type(error).__name__}: {error}; or unset MIRROR"
        ) from error
