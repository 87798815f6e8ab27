"""Public data sets of the hub, and none of them floats: hub.lock holds the revision of each.

A folder with `<set>/<split>.jsonl` (HUB_DIR=) takes the hub's place where there is none. Base
models are pinned by their recipes.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common import rows
from common.errors import AetherError, one_line
from common.files import ROOT, json_if_there, sha256_of

LOCK = ROOT / "hub.lock"


class HubError(AetherError):
    """A data set that is not there, not pinned or not readable; the text says which."""


@dataclass(frozen=True)
class PublicSet:
    repository: str
    licence: str
    configurations: tuple[str, ...] = ("default",)
    splits: dict[str, str] = field(default_factory=dict)  # our name: the hub's, where they differ


_MATH = """algebra counting_and_probability geometry intermediate_algebra number_theory prealgebra
precalculus"""
_MMMU = """Accounting Agriculture Architecture_and_Engineering Art Art_Theory Basic_Medical_Science
Biology Chemistry Clinical_Medicine Computer_Science Design Diagnostics_and_Laboratory_Medicine
Economics Electronics Energy_and_Power Finance Geography History Literature Manage Marketing
Materials Math Mechanical_Engineering Music Pharmacy Physics Psychology Public_Health Sociology"""
SETS = {
    "gsm8k": PublicSet("openai/gsm8k", "MIT", ("main",)),
    "gsm_hard": PublicSet("reasoning-machines/gsm-hard", "Apache-2.0", splits={"test": "train"}),
    "math": PublicSet("EleutherAI/hendrycks_math", "MIT", tuple(_MATH.split())),
    "mmmu": PublicSet(
        "MMMU/MMMU", "Apache-2.0", tuple(_MMMU.split()), {"test": "validation"}
    ),  # its test split has no answers
    "mathvista": PublicSet("AI4Math/MathVista", "CC-BY-SA-4.0", splits={"test": "testmini"}),
}


def revision_of(repository: str) -> str | None:
    """The pinned revision of a data set, or None. Raises HubError for one that is no revision."""
    pins = json_if_there(LOCK)
    revision = pins.get("datasets", {}).get(repository)
    if revision and not re.fullmatch("[0-9a-f]{40}", revision):
        raise HubError(
            f"{LOCK.name}: {repository}: {revision!r} is not a 40-hex revision; run make pin"
        )
    return revision


def pinned(name: str) -> str:
    """The pinned revision of a public set. Raises HubError."""
    if revision := revision_of(SETS[name].repository):
        return revision
    raise HubError(
        f"{LOCK.name} pins no revision of {SETS[name].repository}; run make pin, "
        f"or give HUB_DIR=, a folder with {name}/"
    )


def records(name: str, split: str, folder: Path | None) -> Iterator[dict]:
    """The records of a split, one in memory at a time, from `folder` or the hub. Raises
    HubError.
    """
    about = SETS[name]
    where = about.repository
    try:
        if folder:
            path = folder / name / f"{split}.jsonl"
            where = str(path)
            for number, _, line in rows.lines(path):
                where = f"{path}:{number}: not a JSON object"
                yield {**json.loads(line)}
            return
        revision = pinned(name)
        from datasets import load_dataset  # slow to import, and not needed with a local folder

        for configuration in about.configurations:
            yield from load_dataset(
                about.repository,
                configuration,
                split=about.splits.get(split, split),
                revision=revision,
            )
    except HubError:
        raise
    except (OSError, ValueError, TypeError) as error:
        advice = (
            "HUB_DIR is a folder with <set>/<split>.jsonl"
            if folder
            else "without a hub give HUB_DIR="
        )
        raise HubError(f"{where}: {one_line(error)}; {advice}") from None


def provenance(name: str, folder: Path | None) -> dict:
    """Where a public set comes from, for a manifest: its pinned revision, or the hash of each local
    file. Raises HubError.
    """
    about = {"repository": SETS[name].repository, "licence": SETS[name].licence}
    if folder is None:
        return about | {"revision": pinned(name)}
    files = sorted((folder / name).glob("*.jsonl"))
    return about | {"sha256": {path.name: sha256_of(path) for path in files}}
