"""Checkpoints that can be trusted: sealed once whole, verified before use, copied to a mirror where one is asked for.

A folder counts when its `sealed.json`, written last, names every file in it with size and sha256, and the files are so. With MIRROR set
(a folder, or any fsspec URL: s3://bucket/runs) each sealed folder is copied to <MIRROR>/<recipe>/v<N>, its seal last again, and a machine
that does not have the run fetches the newest whole one. Keys for the mirror come from its own client's environment; none is written.
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
WANTED = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state*.pth", "*model*.safetensors")  # to resume exactly


def replace(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, also when the machine stops."""
    aside = path.with_name(f".{path.name}")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def seal(folder: Path, wanted: tuple[str, ...] = WANTED, **facts: object) -> None:
    """Hash the files of a folder, push them to the disk and write the seal. Raises OSError when one of `wanted` is missing or cut short."""
    from safetensors import safe_open

    files = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        if path.name in (SEAL, provenance.FILE) or path.name[0] == "." or path.suffix == ".log":
            continue  # what is written to afterwards
        with path.open("rb") as file:
            files[path.name] = [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]
            os.fsync(file.fileno())
        if path.suffix == ".safetensors":
            safe_open(path, "numpy").keys()  # compares the header with the length of the file
    if missing := [name for name in wanted if not any(fnmatch(file, name) for file in files)]:
        raise OSError(f"{folder}: no {missing[0]} was written")
    replace(folder / SEAL, json.dumps({"files": files, **facts}, indent=1) + "\n")


def sealed(folder: Path) -> dict:
    """What a folder's seal says; empty where there is none."""
    try:
        return json.loads((folder / SEAL).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, or None when every file is as it was sealed."""
    files = sealed(folder).get("files")
    if not files:
        return "it was being written when the run ended"
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{name} is missing or cut short"
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return f"{name} has changed"
    return None


def number(name: str) -> int:
    return int(name.rsplit("-", 1)[1])


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; those after it that are not whole are said and removed."""
    for path in sorted(folder.glob("checkpoint-[0-9]*"), key=lambda p: -number(p.name)):
        wrong = damage(path)
        if wrong is None:
            return path
        print(f"{path.name} is not whole ({wrong}); passing it over")
        shutil.rmtree(path)
    return None


def _mirror(run_id: str):
    """(file system, folder of the run in the mirror)."""
    from fsspec.core import url_to_fs

    system, root = url_to_fs(os.environ["MIRROR"])
    return system, f"{root.rstrip('/')}/{run_id}"


def push(run: Path, name: str = "", keep: int | None = None) -> None:
    """Copy run/name, sealed, and run.json to the mirror, then remove older checkpoints there. A failure is said; the run goes on."""
    record = provenance.read(run)
    if record is None or not os.environ.get("MIRROR"):
        return
    try:
        system, root = _mirror(record["identity"]["recipe"])
        target = f"{root}/{name}".rstrip("/")
        system.makedirs(target, exist_ok=True)
        for file in (*sealed(run / name)["files"], SEAL):
            system.put_file(str(run / name / file), f"{target}/{file}")
        system.put_file(str(run / provenance.FILE), f"{root}/{provenance.FILE}")
        for old in _checkpoints(system, root)[keep or sys.maxsize :]:
            system.rm(f"{root}/{old}", recursive=True)
    except Exception as error:  # any of a dozen clients' own; a mirror that is down must not end the training
        print(f"warning: MIRROR: {name or 'the result'} was not copied ({_short(error)})", file=sys.stderr)


def forget(run_id: str) -> None:
    """Remove a run from the mirror, as FRESH=1 does on this machine."""
    if os.environ.get("MIRROR"):
        system, root = _mirror(run_id)
        if system.exists(root):
            system.rm(root, recursive=True)


def fetch(run: Path, run_id: str) -> None:
    """Bring a run that this machine does not have from the mirror, whole or not at all. Raises RecipeError when it cannot be read."""
    if (run / provenance.FILE).exists() or not os.environ.get("MIRROR"):
        return
    try:
        system, root = _mirror(run_id)
        if not system.exists(f"{root}/{provenance.FILE}"):
            return
        record = system.cat_file(f"{root}/{provenance.FILE}").decode()
        aside = run.with_name(f".{run.name}-fetching")
        shutil.rmtree(aside, ignore_errors=True)
        finished = json.loads(record)["status"] == "finished"
        name = next((n for n in ([""] if finished else _checkpoints(system, root)) if _pull(system, root, n, aside)), None)
        if name is None:
            return
        replace(aside / provenance.FILE, record)
        if run.exists():
            run.rmdir()  # an empty folder; one that holds anything is not ours to replace
        aside.rename(run)
        print(f"fetched {run_id}{name and '/'}{name} from MIRROR")
    except Exception as error:
        raise RecipeError(
            f"MIRROR: {run_id} cannot be fetched ({_short(error)}); mend it, or unset MIRROR to start anew"
        ) from error


def _checkpoints(system, root: str) -> list[str]:
    """Names of a mirrored run's checkpoints, newest first."""
    names = (path.rstrip("/").rsplit("/", 1)[-1] for path in system.ls(root, detail=False))
    return sorted((name for name in names if name.startswith("checkpoint-")), key=number, reverse=True)


def _pull(system, root: str, name: str, aside: Path) -> bool:
    """Fetch one sealed folder; whether it is whole."""
    source, target = f"{root}/{name}".rstrip("/"), aside / name
    if not system.exists(f"{source}/{SEAL}"):
        return False
    target.mkdir(parents=True, exist_ok=True)
    system.get_file(f"{source}/{SEAL}", str(target / SEAL))
    for file in sealed(target).get("files", {}):
        if "/" not in file and system.exists(f"{source}/{file}"):
            system.get_file(f"{source}/{file}", str(target / file))
    return damage(target) is None


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
