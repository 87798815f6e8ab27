"""What W&B is told of a run: python -m training.tracking DATASET   (make data: the dataset's manifest, as a run of type `data`)

Offline without a key, online with one. A run's name is its recipe, its group the recipe and the data's hash, so that training, merge and
evaluation stand together; its config holds run.json, the recipe and the data's counts; recipe and manifest are artifacts. The rows are
not, unless WANDB_LOG_ROWS=1.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import yaml

from common import runs
from common.files import ROOT
from training import provenance
from training.environment import quiet_environment


def start(job: str, folder: Path):
    """Begin the W&B run of a job (data, train, merge) on the run.json, recipe.yaml and data.json of a folder; a training goes on in its own."""
    import wandb

    record, manifest = runs.read(folder) or {}, json.loads((folder / "data.json").read_text())
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) if job != "data" else {}
    rows = ROOT / recipe["rows"]["path"] if recipe else ROOT / "datasets" / folder.name / "build"
    name = recipe.get("wandb_name", folder.name)
    # Files of artifacts wait beside the offline run that names them.
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))
    run = wandb.init(
        project=recipe.get("wandb_project", "aether"),
        name=name if job == "train" else f"{name} {job}",
        group=os.environ.get("WANDB_RUN_GROUP", f"{name}-{manifest['data_sha256'][:8]}"),
        job_type=job,
        tags=[
            tag
            for tag in (
                *os.environ.get("WANDB_TAGS", "").split(","),
                name.split("/")[0],
                rows.parent.name,
            )
            if tag
        ],
        id=record["wandb_id"] if job == "train" else None,
        resume="allow" if job == "train" else None,
        dir=str(folder),
        config={"run": record, "recipe": recipe, "data": provenance.counts(manifest)},
    )
    asked = ("train.jsonl", "val.jsonl") if os.environ.get("WANDB_LOG_ROWS") == "1" else ()
    logged = {f"data-{rows.parent.name}": ["data.json", *asked]} | (
        {f"recipe-{name}": ["recipe.yaml"]} if recipe else {}
    )
    for title, files in logged.items():
        artifact = wandb.Artifact(title.replace("/", "-"), title.split("-")[0])
        for file in files:
            artifact.add_file(str((rows if file in asked else folder) / file), name=file)
        run.log_artifact(artifact)
    return run


def main() -> int:
    quiet_environment()
    folder = ROOT / "outputs" / "data" / sys.argv[1]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(
        ROOT / "datasets" / sys.argv[1] / "build" / "manifest.json", folder / "data.json"
    )
    start("data", folder).finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
