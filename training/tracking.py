"""What W&B is told of a run: python -m training.tracking DATASET   (make data: the dataset's manifest, as a run of type `data`)

Offline without a key, online with one. A run's name is its recipe, its group the recipe and the data's hash, so that training, merge and
evaluation stand together; its config holds run.json, the recipe and the data's counts; recipe and manifest are artifacts. The rows are
not, unless WANDB_LOG_ROWS=1. `Meter` measures the figures of a training step that Axolotl does not.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path

import torch
import yaml

from common.facts import Shape
from training import provenance
from training.recipe import ROOT


def start(job: str, folder: Path):
    """Begin the W&B run of a job (data, train, merge) on the run.json, recipe.yaml and data.json of a folder; a training goes on in its own."""
    import wandb

    record, manifest = provenance.read(folder) or {}, json.loads((folder / "data.json").read_text())
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


class Meter:
    """Speed and memory of training between two logs; evaluations and checkpoints are outside its time.

    `Shape.training_flops` are compared with the matrix products this GPU does on random bf16 data at the start of the run.
    """

    def __init__(self, config: dict):
        self.shape, self.ceiling = Shape.from_config(config), None
        self.reset()

    def begin(self) -> None:
        if torch.cuda.is_available():
            from training.bench import ceiling

            self.ceiling = ceiling()
        self.reset()

    def reset(self) -> None:
        self.since, self.tokens, self.slots, self.pairs = time.perf_counter(), 0, 0, 0

    def add(self, batch: dict) -> None:
        """Count a micro-batch: input_ids (1, tokens), position_ids (1, tokens), and an attention_mask where anything is padding."""
        mask = batch.get("attention_mask")
        self.slots += batch["input_ids"].numel()
        self.tokens += batch["input_ids"].numel() if mask is None else int(mask.sum())
        self.pairs = (
            self.pairs + (batch["position_ids"] + 1).sum()
        )  # stays where it is: reading it would wait for the GPU

    def read(self) -> dict[str, float]:
        """The figures of this process since the last reading."""
        if not self.tokens:
            return {}
        found = {
            "speed/tokens_per_s": self.tokens / (time.perf_counter() - self.since),
            "speed/padding": 1 - self.tokens / self.slots,
            "memory/host_peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
        if self.ceiling:
            flops = self.shape.training_flops(self.tokens, float(self.pairs))
            found |= {
                "speed/share_of_ceiling": flops
                * found["speed/tokens_per_s"]
                / self.tokens
                / self.ceiling,
                "memory/gpu_peak_gib": torch.cuda.max_memory_reserved() / 2**30,
            }
        self.reset()
        return found


def main() -> int:
    from training.train import quiet_environment

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
