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
    repository, configurations, _ = SETS[name]
    where = folder / name / f"{split}.jsonl" if folder else repository
    try:
        if folder:
            for number, _, line in rows.lines(where):
                where = f"{folder / name / split}.jsonl:{number}: not a JSON object"
                yield {**json.loads(line)}
            return
        import datasets  # slow to import, and not needed with a local folder

        pinned, split = revision(name), "train" if name == "gsm_hard" else split
        for configuration in configurations:
            yield from datasets.load_dataset(repository, configuration, split=split, revision=pinned)
    except MixError:
        raise
    except (OSError, ValueError, TypeError) as error:
        advice = "HUB_DIR is a folder with <set>/<split>.jsonl" if folder else "without a hub give HUB_DIR="
        raise MixError(f"{where}: {' '.join(str(error).split())[:200]}; {advice}") from None


def provenance(name: str, folder: Path | None) -> dict:
    """Where a data set comes from, for the manifest: its pinned revision, or the hash of each local file. Raises MixError."""
    about = {"repository": SETS[name][0], "licence": SETS[name][2]}
    if folder is None:
        return about | {"revision": revision(name)}
    files = sorted((folder / name).glob("*.jsonl"))
    return about | {"sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}}
