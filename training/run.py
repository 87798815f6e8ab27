"""Train a recipe: python -m training.run RECIPE [--fresh] [--base DIR]

Makes what the recipe stands on where it is not there (its dataset, its base model), checks
everything, records the run in outputs/<recipe>/v<N>/run.json, and starts the training in a process
of its own (training.worker). Run again after a kill, it continues from the last whole checkpoint;
after a finished run it does nothing. MIRROR=<folder or URL> keeps its checkpoints there too, and
takes the run up from there on another machine.
"""

import os
import shutil
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

from common import runs
from common.bases import base_of
from common.errors import command
from common.files import ROOT, only_writer, shown
from common.options import parser_of
from common.recipes import Recipe, RecipeError, find
from common.runs import RunError
from training import checkpoints, mirror
from training.check_recipe import problems
from training.environment import quiet_environment
from training.prerequisites import ensure_base, ensure_data, require_maker
from training.signals import Interrupted, raise_when_told
from training.supervise import supervise


def main() -> int:
    parser = parser_of(__doc__, "recipe", "--base", "--gpus")
    parser.add_argument(
        "--fresh", action="store_true", help="delete what lies in the output folder and start over"
    )
    options = parser.parse_args()
    os.chdir(ROOT)
    quiet_environment()
    raise_when_told()
    try:
        return run(find(options.recipe), options.fresh, options.base, options.gpus)
    except Interrupted as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 128 + error.signal


def run(recipe: Recipe, fresh: bool, override: str | None, gpus: int | None = None) -> int:
    """Check the recipe whole, then train it; the exit code.

    Nothing is deleted before everything else was checked.
    """
    refuse(problems(recipe))
    mirror.require(recipe.id)
    base = base_of(recipe, override)
    require_maker(base)
    data = ensure_data(recipe)
    ensure_base(base)
    if base.folder is not None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing to ask a hub for
    from training import provenance, ranks  # heavy: torch
    from training.check import check

    count = ranks.count(recipe, gpus)
    report = check(recipe, override, provenance.gpu_gib(), count)
    refuse(report["errors"])
    folder = recipe.output
    with only_writer(folder, "being trained"):
        identity = runs.identity_of(recipe, data, base)
        if fresh:
            require_own(folder, recipe.id)
            mirror.forget(recipe.id)
            remove(folder, recipe.id)
        else:
            mirror.fetch(folder, recipe.id)
        resume = to_resume(folder, recipe.id, identity)
        if runs.is_finished(folder):
            print(f"{recipe.id} is finished: {shown(folder)}. FRESH=1 starts over.")
            return 0
        record = opened(folder, identity, provenance.surroundings(base), resume)
        if resume:
            require_ranks(record, count)
        record["ranks"] = count
        record["layers_not_recomputed"] = report["memory"]["layers_not_recomputed"]
        runs.write(folder, record)
        shutil.copyfile(recipe.path, folder / "recipe.yaml")
        shutil.copyfile(data / "manifest.json", folder / "data.json")
        if resume:
            print(f"continuing from {shown(resume)}", flush=True)
        if count > 1:
            return ranks.launch(worker(folder, resume)[1:], count, folder)
        return supervise(worker(folder, resume))


def refuse(errors: list[str]) -> None:
    """Raise RecipeError with one line an error."""
    if errors:
        raise RecipeError("\nerror: ".join(errors))


def require_ranks(record: dict, count: int) -> None:
    """Raise RunError where another number of ranks would go on: a step would have other rows."""
    before = record.get("ranks", 1)
    if before != count:
        raise RunError(
            f"{record['identity']['recipe']} began on {before} ranks, {count} would go on with "
            f"other rows a step; GPUS={before}, or FRESH=1 starts over"
        )


def to_resume(folder: Path, recipe_id: str, identity: dict) -> Path | None:
    """The checkpoint to continue from; None for a run that begins, and for one that is finished.

    A run of ours that never came to a checkpoint is removed where it was another one. Raises
    RunError where the folder holds something else.
    """
    found = runs.read(folder)
    if found is None:
        if folder.exists() and any(folder.iterdir()):
            raise RunError(f"{shown(folder)} holds files but no {runs.FILE}; move them away")
        return None
    owner = found["identity"].get("recipe")
    if owner != recipe_id:
        raise RunError(f"{shown(folder)} holds a run of {owner}; move it away")
    differing = runs.differences(found["identity"], identity)
    if not differing:
        return None if runs.is_finished(folder) else checkpoints.newest(folder)
    if any([*folder.glob("checkpoint-*"), *folder.glob("*.safetensors")]):
        raise RunError(
            f"{shown(folder)} holds another run (other {', '.join(differing)}); move it away, "
            "or FRESH=1 to delete it"
        )
    remove(folder, recipe_id)  # nothing to lose
    return None


def opened(folder: Path, identity: dict, now: dict, resume: Path | None) -> dict:
    """The record to run with: a new one, or the one that is there with what changed since."""
    found = runs.read(folder)
    if found is None:
        return {
            "identity": identity,
            **now,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "status": "running",
            "wandb_id": uuid.uuid4().hex[:8],
        }
    found.pop("ended_by", None)
    step = checkpoints.step_of(resume.name) if resume else 0
    again = {"status": "running", "resumed": found.get("resumed", 0) + 1}
    return runs.with_changes(found, now, step or 0) | again


def require_own(folder: Path, recipe_id: str) -> None:
    """Raise RunError unless the folder is empty, or its own run.json names this recipe."""
    if folder.exists() and any(folder.iterdir()) and not runs.is_of(folder, recipe_id):
        raise RunError(
            f"{shown(folder)} has no {runs.FILE} of {recipe_id}, so it is not deleted; move it away"
        )


def remove(folder: Path, recipe_id: str) -> None:
    """Empty a run's folder; run.json goes last: what a kill leaves is still known as its own.

    Raises RunError where the folder's own run.json does not name this recipe.
    """
    require_own(folder, recipe_id)
    if not folder.exists():
        return
    for path in sorted(folder.iterdir(), key=_is_record):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_record(path: Path) -> bool:
    return path.name == runs.FILE


def worker(folder: Path, resume: Path | None) -> list[str]:
    """The command of one rank."""
    words = [sys.executable, "-m", "training.worker", str(folder.relative_to(ROOT))]
    return [*words, "--resume", resume.name] if resume else words


if __name__ == "__main__":
    sys.exit(command(main))
