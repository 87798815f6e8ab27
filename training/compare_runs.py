"""Runs as `make compare` reads them: a folder under outputs/, any folder with a run.json, or a run
of W&B.
"""

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas

from common import runs
from common.errors import one_line
from common.files import ROOT, FileError, json_if_there, load_yaml, only_writer
from common.recipes import RecipeError, version_of
from common.results import measurements
from common.runs import HISTORY
from training.provenance import counts

SIDES = ("base", "tuned", "difference")
History = dict[int, dict[str, float]]  # by step, under W&B's names: train/loss, eval/loss
Metrics = dict[str, dict[str, dict]]  # {suite/prompt/name: {side: {value, interval, n}}}


@dataclass(frozen=True)
class Run:
    """What is known of a run, wherever it was read."""

    name: str
    status: str
    record: dict  # run.json
    recipe: dict
    data: dict  # the manifest's counts
    history: History
    metrics: Metrics

    def series(self, key: str) -> pandas.Series:
        """A logged figure by step; empty where it was never logged."""
        steps = sorted(step for step, values in self.history.items() if key in values)
        return pandas.Series({step: self.history[step][key] for step in steps}, dtype=float)


def load(name: str) -> Run:
    """A run by what a person types. Raises RecipeError when there is none of that name, and what
    `local` and `online` raise.
    """
    outputs = ROOT / "outputs"
    versions = [path for path in (outputs / name).glob("v*") if version_of(path.name)]
    versions.sort(key=lambda path: version_of(path.name) or 0, reverse=True)
    for folder in (Path(name), outputs / name, *versions):
        if (folder / runs.FILE).is_file():
            return local(folder.resolve())
    if re.fullmatch(r"[\w.-]+/[\w.-]+/[\w-]+", name):
        return online(name)
    recorded = outputs.glob(f"*/*/{runs.FILE}")
    there = ", ".join(sorted(str(path.parent.relative_to(outputs)) for path in recorded))
    raise RecipeError(
        f"no run {name!r}: no folder with a run.json, no entity/project/run of W&B; "
        f"there are: {there or 'none'}"
    )


def local(folder: Path) -> Run:
    """A run by its folder. Raises RunError and FileError for files that cannot be read."""
    record = runs.read(folder) or {}
    status = record.get("status", "unknown")
    if status == "running":
        with contextlib.suppress(FileError), only_writer(folder):
            status = "killed"  # nobody holds its folder
    outputs = ROOT / "outputs"
    name = folder.relative_to(outputs) if folder.is_relative_to(outputs) else folder
    recipe = folder / "recipe.yaml"
    return Run(
        name=str(name),
        status=status,
        record=record,
        recipe=load_yaml(recipe) if recipe.exists() else {},
        data=counts(json_if_there(folder / "data.json")),
        history=history_of(folder / HISTORY),
        metrics=metrics_of(json_if_there(folder / "eval" / "result.json")),
    )


def metrics_of(result: dict) -> Metrics:
    """The measurements of an evaluation's result.json, each with its base, its tuned model and the
    difference.
    """
    metrics: Metrics = {}
    for suite, prompt, name, measured in measurements(result):
        sides = {side: measured[side] | {"n": measured["n"]} for side in ("base", "tuned")}
        sides["difference"] = measured | {"value": measured["difference"]}
        metrics[f"{suite}/{prompt}/{name}"] = sides
    return metrics


def history_of(path: Path) -> History:
    """What a run logged, from its own history.jsonl; a line that a kill cut short is left out."""
    logged = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            values = json.loads(line)
            named = {_name(key): value for key, value in values.items()}
            logged.append((values["step"], named))
    return by_step(logged)


def _name(key: str) -> str:
    """The Trainer's name of a figure as W&B shows it."""
    return f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}"


def by_step(logged: Iterable[tuple[int | None, dict]]) -> History:
    """Figures of several logs of one step side by side; of a figure logged twice the later one."""
    history: History = defaultdict(dict)
    for step, values in logged:
        if step is None:
            continue
        for key, value in values.items():
            if key.startswith(("train/", "eval/")) and isinstance(value, int | float):
                history[int(step)][key] = value
    return dict(history)


def online(path: str) -> Run:
    """A run of W&B, with the metrics of the evaluations in its group. Raises RecipeError when W&B
    does not give it.
    """
    import wandb

    try:
        api = wandb.Api()
        run = api.run(path)
        evaluations = []
        if run.group:
            filters = {"group": run.group, "jobType": "eval"}
            evaluations = list(api.runs(path.rpartition("/")[0], filters=filters, lazy=False))
        logged = run.history(samples=10_000, pandas=False)
    except (wandb.errors.Error, OSError, ValueError) as error:
        text = one_line(error)
        raise RecipeError(
            f"W&B: {path}: {type(error).__name__}: {text}; mend WANDB_API_KEY or the network"
        ) from None
    metrics: Metrics = defaultdict(dict)
    for evaluation in evaluations:
        for key, value in evaluation.summary_metrics.items():
            name, _, side = key.rpartition("/")
            if side in SIDES:
                metrics[name][side] = {"value": value}
    return Run(
        name=f"{run.name} ({run.id})",
        status=run.state,
        record=run.config.get("run") or {},
        recipe=run.config.get("recipe") or {},
        data=run.config.get("data") or {},
        history=by_step((values.get("train/global_step"), values) for values in logged),
        metrics=dict(metrics),
    )
