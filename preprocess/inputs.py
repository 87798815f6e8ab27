"""What a build depends on and what it consists of, as hashes."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from common.datasets import own_files
from common.files import ROOT, load_json, sha256_of
from common.processes import git_state
from preprocess import benchmarks, mix


def sha256(folder: Path, hub: Path | None) -> str:
    """A hash over everything a build depends on: code, pinned packages, the datasets' own files,
    the public sets."""
    digest = hashlib.sha256(f"{folder.name} {hub}".encode())
    for path in sorted(path for path in _read(folder, hub) if path.is_file()):
        if path.suffix != ".pyc":
            digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _read(folder: Path, hub: Path | None) -> Iterator[Path]:
    for pattern in ("preprocess/**/*.*", "common/**/*.*", "locks/light.lock", "hub.lock"):
        yield from ROOT.glob(pattern)
    gates = mix.read(folder).gates
    if gates:
        yield from benchmarks.question_files(gates, folder)
    # Mixes name files of other datasets too: all of them count.
    for dataset in {folder, *(path.parent for path in ROOT.glob("datasets/*/mix.yaml"))}:
        yield from own_files(dataset)
    if hub:
        yield from hub.glob("*/*.jsonl")


def hashes(built: Path) -> dict:
    """The hash of every file of a build, and `data_sha256` over those that are trained on: the
    identity of the data."""
    paths = sorted(path for path in built.rglob("*") if path.is_file())
    files = {str(path.relative_to(built)): sha256_of(path) for path in paths}
    trained = {
        name: digest
        for name, digest in files.items()
        if name.startswith(("train.jsonl", "val.jsonl", "images/"))
    }
    text = json.dumps(trained, sort_keys=True)
    return {"files": files, "data_sha256": hashlib.sha256(text.encode()).hexdigest()}


def intact_manifest(built: Path) -> dict:
    """The manifest of a whole build whose files are as it says; empty where there is none."""
    try:
        manifest = load_json(built / "manifest.json")
        files = manifest["files"].items()
        intact = all(sha256_of(built / name) == digest for name, digest in files)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return manifest if intact else {}


def commit() -> str | None:
    """The code's commit, with `-dirty` where the tree differs from it; None outside git and the
    image."""
    state = git_state()
    if state["commit"] is None:
        return None
    return f"{state['commit']}{'-dirty' if state['dirty'] else ''}"
