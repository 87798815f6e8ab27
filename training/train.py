"""Train a recipe: python -m training.train RECIPE [--fresh] [--base DIR]

Builds what the recipe stands on when it is not there (its dataset, its base model), checks it, and hands it to Axolotl. Run again
after a kill, it continues from the last whole checkpoint; after a finished run it does nothing. The run is recorded in
outputs/<recipe>/v<N>/run.json, with the recipe beside it, and in W&B, offline where no key is set. MIRROR=<folder or URL> keeps its
checkpoints there too, and takes the run up from there on another machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

from common import hub
from training import checkpoints, failures, provenance
from training.recipe import ROOT, Recipe, RecipeError, find, problems


def quiet_environment() -> None:
    """Settings that must be in place before Axolotl is imported."""
    os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("AXOLOTL_LOG_LEVEL", "WARNING")
    if not (os.environ.get("WANDB_API_KEY") or Path("~/.netrc").expanduser().exists()):
        os.environ.setdefault("WANDB_MODE", "offline")


def base_of(recipe: Recipe, override: str | None) -> tuple[str, str | None]:
    """(base model for Axolotl, pinned hub revision or None for a local folder), built first where it is one of ours.

    Raises RecipeError for a hub model without a pin.
    """
    base = override or recipe.data["base_model"]
    if override or not hub.is_hub_id(base):
        if not whole(ROOT / base):
            build_base(base)
        return base, None
    revision = hub.revision_of(base)
    if revision is None:
        raise RecipeError(
            f"{base} has no pinned revision in {hub.LOCK.name}; run `make pin` once, or give BASE=<local folder>"
        )
    return base, revision


def whole(folder: Path) -> bool:
    """Whether a model is there and done. A run of ours says so itself: its config.json is there from the first step on."""
    run_record = provenance.read(folder)
    return run_record["status"] == "finished" if run_record else (folder / "config.json").exists()


def build_base(base: str) -> None:
    """Make a base under outputs/ that is not there: another recipe's model, or the tiny random one."""
    if base == "outputs/tiny_init":
        return run("training.tiny_base")
    owner = base.removeprefix("outputs/")
    if not base.startswith("outputs/") or not (ROOT / "recipes" / f"{owner}.yaml").exists():
        raise RecipeError(f"base model {base}: no such folder with a config.json")
    run("training.train", owner)


def run(module: str, *words: str) -> None:
    """Run one of our commands; a failure has said what is wrong, so only its exit code is passed on."""
    print(f"$ python -m {module} {' '.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", module, *words], cwd=ROOT).returncode
    if code:
        sys.exit(code)


def ensure_data(recipe: Recipe) -> Path:
    """The recipe's dataset folder, built first when it is not there."""
    folder = ROOT / recipe.data["rows"]["path"]
    if not (folder / "manifest.json").exists():
        if not (folder.parent / "mix.yaml").exists():
            raise RecipeError(
                f"{recipe.path}: rows.path: no built dataset in {folder}; run make data first"
            )
        run("preprocess", folder.parent.name)
    return folder


def prepare(folder: Path, wanted: dict, fresh: bool) -> dict | None:
    """The record to run with, or None when this very run is already finished. Raises RecipeError when another run lies there."""
    found = provenance.read(folder)
    if fresh and folder.exists():
        shutil.rmtree(folder)
        found = None
    if found is None:
        if folder.exists() and any(folder.iterdir()):
            raise RecipeError(
                f"{folder} holds files but no {provenance.FILE}; move them away, or FRESH=1 to delete them"
            )
        return wanted | {"wandb_id": uuid.uuid4().hex[:8]}
    differing = [
        key for key, value in wanted["identity"].items() if found["identity"].get(key) != value
    ]
    if differing and not any([*folder.glob("checkpoint-*"), *folder.glob("*.safetensors")]):
        return prepare(folder, wanted, fresh=True)  # it never came to a checkpoint: nothing to lose
    if differing:
        raise RecipeError(
            f"{folder} holds another run (other {', '.join(differing)}); move it away, or FRESH=1 to delete it"
        )
    if found["status"] == "finished":
        return None
    return (
        wanted
        | {key: found[key] for key in ("wandb_id", "started")}
        | {"resumed": found.get("resumed", 0) + 1}
    )


def train(
    recipe: Recipe,
    base: str,
    revision: str | None,
    checkpoint: Path | None,
    stop: failures.StopRequest,
) -> None:
    """Hand the recipe to Axolotl, in this process. Exits when our plugin is not the one that loads rows and loss."""
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.cli.train import do_train
    from axolotl.integrations.base import PluginManager

    from training.plugin import NAME
    from training.trainer import AetherTrainer

    overrides = {
        "base_model": base,
        "revision_of_model": revision,
        "resume_from_checkpoint": checkpoint and str(checkpoint),
    }
    cfg = load_cfg(
        str(recipe.path), **{key: value for key, value in overrides.items() if value is not None}
    )
    if NAME not in PluginManager.get_instance().plugins:
        raise RecipeError(
            f"{NAME} is not active: the loss would be on every token. Nothing was trained."
        )
    AetherTrainer.stop = stop
    do_train(cfg, TrainerCliArgs())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__.splitlines()[0]
    )
    parser.add_argument("recipe", help="name, name/vN, or a path to a YAML file")
    parser.add_argument(
        "--fresh", action="store_true", help="delete what lies in the output folder and start over"
    )
    parser.add_argument("--base", help="a local folder in the place of the recipe's base model")
    options = parser.parse_args()
    os.chdir(ROOT)
    quiet_environment()
    return failures.supervise(lambda: attempt(options.recipe, options.fresh, options.base))


def attempt(name: str, fresh: bool, override: str | None) -> int:
    """Train until the end, a signal or a failure; the exit code."""
    stop = failures.StopRequest()
    folder = ROOT
    try:
        recipe = find(name)
        data = ensure_data(recipe)
        base, revision = base_of(recipe, override)
        if revision is None:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing to ask a hub for
        folder = ROOT / recipe.data["output_dir"]
        with provenance.only_writer(folder):
            manifest = json.loads((data / "manifest.json").read_text())
            checkpoints.forget(recipe.id) if fresh else checkpoints.fetch(folder, recipe.id)
            record = prepare(
                folder, provenance.record(recipe, base, revision, manifest["data_sha256"]), fresh
            )
            if record is None:
                print(f"{recipe.id} is finished: {folder.relative_to(ROOT)}. FRESH=1 starts over.")
                return 0
            if wrong := problems(recipe):
                raise RecipeError("\n".join(wrong))
            return recorded(recipe, data, base, revision, folder, record, stop)
    except (Exception, failures.Interrupted) as error:
        line = failures.explain(error, str(folder.relative_to(ROOT)))
        if line is None:
            raise
        print(f"\nerror: {line}", file=sys.stderr)  # below the progress bar
        return 128 + error.signal if isinstance(error, failures.Interrupted) else 1


def recorded(
    recipe: Recipe, data: Path, base: str, revision: str | None, folder: Path, record: dict, stop
) -> int:
    """Train, keeping run.json true to how it went."""
    from training import tracking  # needs torch

    checkpoint = checkpoints.newest(folder)
    if checkpoint:
        print(f"continuing from {checkpoint.relative_to(ROOT)}", flush=True)
    provenance.write(folder, record)
    shutil.copyfile(recipe.path, folder / "recipe.yaml")
    shutil.copyfile(data / "manifest.json", folder / "data.json")
    started = time.monotonic()
    try:
        tracked = tracking.start("train", folder)
        train(recipe, base, revision, checkpoint, stop)
        checkpoints.seal(folder, ("*model*.safetensors",))
    except BaseException as error:
        ended = "stopped" if isinstance(error, failures.Interrupted) else "failed"
        with contextlib.suppress(OSError):  # a full disk keeps the record it had
            said = failures.explain(error, recipe.data["output_dir"]) or repr(error)[:300]
            provenance.write(folder, record | {"status": ended, "ended_by": said})
        raise
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {"seconds": round(time.monotonic() - started, 1), "peak_host_gib": round(peak, 2)}
    provenance.write(folder, record | {"status": "finished"} | figures)
    tracked.summary.update(figures)
    checkpoints.push(folder, keep=0)
    print(
        f"{recipe.id}: finished in {figures['seconds']} s, {peak:.1f} GiB of host memory: {folder.relative_to(ROOT)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
