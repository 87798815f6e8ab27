"""What W&B is told of a run: python -m training.tracking DATASET   (make data: the dataset's
manifest, as a run of type `data`)

Offline without a key, online with one. A run's name is its recipe, its group the recipe and the
data's hash, so that training, merge and evaluation stand together; its config holds run.json, the
recipe and the data's counts; recipe and manifest are artifacts. The rows are not, unless
WANDB_LOG_ROWS=1.
"""

import os
import shutil
import sys
from pathlib import Path

from common import runs
from common.errors import AetherError, command
from common.files import ROOT, load_json, load_yaml, shown
from common.options import parser_of
from training.environment import quiet_environment
from training.failures import explain
from training.provenance import counts

ROWS = ("train.jsonl", "val.jsonl")


def start(job: str, folder: Path):
    """Begin the W&B run of a job (data, train, merge) on the run.json, recipe.yaml and data.json of
    a folder.

    A training that is continued goes on in its own run. Raises AetherError where W&B refuses.
    """
    import wandb

    record = runs.read(folder) or {}
    manifest = load_json(folder / "data.json")
    recipe: dict = {} if job == "data" else load_yaml(folder / "recipe.yaml")
    built = ROOT / "datasets" / folder.name / "build"
    if recipe:
        built = ROOT / recipe["rows"]["path"]
    dataset = built.parent.name
    name = recipe.get("wandb_name", folder.name)
    # Files of artifacts wait beside the offline run that names them.
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))
    own_tags = os.environ.get("WANDB_TAGS", "").split(",")
    tags = [tag for tag in (*own_tags, name.split("/")[0], dataset) if tag]
    group = os.environ.get("WANDB_RUN_GROUP", f"{name}-{manifest['data_sha256'][:8]}")
    trains = job == "train"
    try:
        run = wandb.init(
            project=recipe.get("wandb_project", "aether"),
            name=name if trains else f"{name} {job}",
            group=group,
            job_type=job,
            tags=tags,
            id=record["wandb_id"] if trains else None,
            resume="allow" if trains else None,
            dir=str(folder),
            config={"run": record, "recipe": recipe, "data": counts(manifest)},
        )
    except wandb.errors.Error as error:
        raise AetherError(explain(error, shown(folder))) from None
    files = [folder / "data.json"]
    if os.environ.get("WANDB_LOG_ROWS") == "1":
        files += [built / rows for rows in ROWS]
    _log(run, f"data-{dataset}", "data", files)
    if recipe:
        _log(run, f"recipe-{name}", "recipe", [folder / "recipe.yaml"])
    return run


def _log(run, name: str, kind: str, files: list[Path]) -> None:
    """Log files as one artifact."""
    import wandb

    artifact = wandb.Artifact(name.replace("/", "-"), kind)
    for path in files:
        artifact.add_file(str(path), name=path.name)
    run.log_artifact(artifact)


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("dataset", help="name of a folder under datasets/ that is built")
    dataset = parser.parse_args().dataset
    quiet_environment()
    manifest = ROOT / "datasets" / dataset / "build" / "manifest.json"
    if not manifest.is_file():
        raise AetherError(f"{shown(manifest)}: no such file; make data DATASET={dataset} first")
    folder = ROOT / "outputs" / "data" / dataset
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(manifest, folder / "data.json")
    start("data", folder).finish()
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
