"""Public data sets: from the hub at the revision hub.lock pins, or from a local folder with `<name>/<split>.jsonl`."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from apriel import rows
from preprocess.mix import MixError

LOCK = Path(__file__).resolve().parents[2] / "hub.lock"
_MATH = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra", "precalculus")
SETS = {  # name: repository, its configurations, its licence; GSM-Hard's one split has another name there
    "gsm8k": ("openai/gsm8k", ("main",), "MIT"),
    "gsm_hard": ("reasoning-machines/gsm-hard", ("default",), "Apache-2.0"),
    "math": ("EleutherAI/hendrycks_math", _MATH, "MIT"),
}
BENCHMARKS = {"gsm8k": "question", "gsm_hard": "input", "math": "problem"}  # the key of the problem; their test splits


def revision(name: str) -> str:
    """The pinned revision of a data set. Raises MixError."""
    pins = json.loads(LOCK.read_text()) if LOCK.exists() else {}
    if pinned := pins.get("datasets", {}).get(SETS[name][0]):
        return pinned
    raise MixError(f"{LOCK.name}: pins no revision of {SETS[name][0]}; run make pin, or give HUB_DIR=, a folder with {name}/")


def read(name: str, split: str, folder: Path | None) -> Iterator[dict]:
    """The records of a split, one in memory at a time. Raises MixError."""
    if folder is not None:
        yield from _local(folder / name / f"{split}.jsonl")
        return
    repository, configurations, _ = SETS[name]
    pinned, split = revision(name), "train" if name == "gsm_hard" else split
    import datasets  # slow to import, and not needed with a local folder

    try:
        for configuration in configurations:
            yield from datasets.load_dataset(repository, configuration, split=split, revision=pinned)
    except (OSError, ValueError) as error:
        raise MixError(f"{repository}: {' '.join(str(error).split())[:200]}; without a hub give HUB_DIR=") from None


def _local(path: Path) -> Iterator[dict]:
    number = 1
    try:
        for _, _, line in rows.lines(path):
            yield {**json.loads(line)}
            number += 1
    except OSError as error:
        raise MixError(f"{path}: {error.strerror}; HUB_DIR is a folder with {path.parent.name}/{path.name}") from None
    except (ValueError, TypeError) as error:
        raise MixError(f"{path}:{number}: not a JSON object ({error})") from None


def provenance(name: str, folder: Path | None) -> dict:
    """Where a data set comes from, for the manifest: its pinned revision, or the hash of each local file. Raises MixError."""
    about = {"repository": SETS[name][0], "licence": SETS[name][2]}
    if folder is None:
        return about | {"revision": revision(name)}
    files = sorted((folder / name).glob("*.jsonl"))
    return about | {"sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}}
