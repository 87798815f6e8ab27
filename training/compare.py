"""What differs between 2 to 20 runs, and what came of it: python -m training.compare RUN RUN … [--json] [--out DIR]   (make compare)

A run is a recipe (its folder under outputs/), any folder with a run.json, or entity/project/run of W&B. Finished, stopped, failed and
killed ones compare alike. Writes compare.md and curves.png, and prints the page (or, with --json, one object).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import string
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas
import yaml
from tabulate import tabulate

from common import runs as run_records
from common.files import ROOT, FileError, only_writer
from common.recipes import RecipeError
from training import failures, provenance
from training.checkpoints import all_of

SIDES = ("base", "tuned", "difference")
SERIES = {"training loss": "train/loss", "held-out loss": "eval/loss"}
History = dict[int, dict[str, float]]  # by step, under W&B's names


@dataclass(frozen=True)
class Run:
    name: str
    status: str
    record: dict  # run.json
    recipe: dict
    data: dict  # the manifest's counts
    history: History
    metrics: dict[str, dict]  # {suite/prompt/name: {side: {value, interval, n}}}

    def series(self, key: str) -> pandas.Series:
        return pandas.Series(
            {step: row[key] for step, row in sorted(self.history.items()) if key in row},
            dtype=float,
        )


def load(name: str) -> Run:
    """A run by what a person types. Raises RecipeError when there is none of that name."""
    outputs = ROOT / "outputs"
    versions = sorted((outputs / name).glob("v[0-9]*"), key=lambda path: -int(path.name[1:]))
    for folder in (Path(name), outputs / name, *versions):
        if (folder / run_records.FILE).is_file():
            return local(folder.resolve())
    if re.fullmatch(r"[\w.-]+/[\w.-]+/[\w-]+", name):
        return online(name)
    there = sorted(
        str(path.parent.relative_to(outputs)) for path in outputs.glob(f"*/*/{run_records.FILE}")
    )
    said = f"no folder with a run.json, no entity/project/run of W&B; there are: {', '.join(there) or 'none'}"
    raise RecipeError(f"no run {name!r}: {said}")


def local(folder: Path) -> Run:
    def read(name: str) -> dict:
        parse = json.loads if name.endswith(".json") else yaml.safe_load
        return parse((folder / name).read_text()) if (folder / name).exists() else {}

    record = read(run_records.FILE)
    status = record["status"]
    if status == "running":
        with contextlib.suppress(FileError), only_writer(folder):
            status = "killed"  # nobody holds its folder
    metrics = {}
    for suite, prompts in read("eval/result.json").get("suites", {}).items():
        for prompt, cell in prompts["prompts"].items():
            for name, about in cell["measurements"].items():
                both = {side: about[side] | {"n": about["n"]} for side in ("base", "tuned")}
                metrics[f"{suite}/{prompt}/{name}"] = both | {
                    "difference": about | {"value": about["difference"]}
                }
    name = (
        str(folder.relative_to(ROOT / "outputs"))
        if folder.is_relative_to(ROOT / "outputs")
        else str(folder)
    )
    history = local_history(folder, record.get("wandb_id"))
    return Run(
        name,
        status,
        record,
        read("recipe.yaml"),
        provenance.counts(read("data.json")),
        history,
        metrics,
    )


def local_history(folder: Path, wandb_id: str | None) -> History:
    """What was logged: from W&B's own files, which reach to the last moment, and from the newest checkpoint that can be read."""
    items = []
    for file in sorted(folder.glob(f"wandb/*run-*/run-{wandb_id}.wandb")):
        words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        lines = subprocess.run(words, capture_output=True, text=True).stdout.splitlines()
        items += [
            json.loads(line)["history"]["item"] for line in lines if '"type":"history"' in line
        ]
    for checkpoint in all_of(folder):
        path = checkpoint / "trainer_state.json"
        with contextlib.suppress(
            FileNotFoundError, json.JSONDecodeError
        ):  # half of one: the one before
            for log in json.loads(path.read_text())["log_history"]:
                named = {
                    f"eval/{k[5:]}" if k.startswith("eval_") else f"train/{k}": v
                    for k, v in log.items()
                }
                items.append(named | {"train/global_step": log["step"]})
            break
    return by_step(items)


def by_step(items: list[dict]) -> History:
    rows: History = defaultdict(dict)
    for item in items:
        if (step := item.get("train/global_step")) is not None:
            rows[int(step)] |= {
                k: v
                for k, v in item.items()
                if k.startswith(("train/", "eval/")) and isinstance(v, int | float)
            }
    return dict(rows)


def online(path: str) -> Run:
    """A run of W&B, with the metrics of the evaluations in its group. Raises what wandb raises."""
    import wandb

    api = wandb.Api()
    run = api.run(path)
    metrics: dict[str, dict] = defaultdict(dict)
    filters = {"group": run.group, "jobType": "eval"}
    for other in (
        api.runs(path.rpartition("/")[0], filters=filters, lazy=False) if run.group else []
    ):
        for key, value in other.summary_metrics.items():
            name, _, side = key.rpartition("/")
            if side in SIDES:
                metrics[name][side] = {"value": value}
    record, recipe, data = (run.config.get(key) or {} for key in ("run", "recipe", "data"))
    history = by_step(run.history(samples=10_000, pandas=False))
    return Run(f"{run.name} ({run.id})", run.state, record, recipe, data, history, dict(metrics))


def flat(value: dict, prefix: str = "") -> dict[str, object]:
    """A nested mapping with dotted keys."""
    found = {}
    for key, inner in value.items():
        found |= (
            flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
        )
    return found


def differences(runs: list[Run]) -> dict[str, dict[str, list]]:
    """{section: {key: the value in each run}} for keys that are not the same in all; None where a run does not have the key."""
    code = ("commit", "dirty", "lock_sha256", "image_digest", "device")
    base = ("base", "base_revision", "base_sha256", "seed")
    sections = {
        "recipe": [
            {k: v for k, v in run.recipe.items() if k not in ("output_dir", "wandb_name")}
            for run in runs
        ],  # its name
        "data": [run.data for run in runs],
        "base": [{key: run.record.get("identity", {}).get(key) for key in base} for run in runs],
        "code and machine": [{key: run.record.get(key) for key in code} for run in runs],
        "packages": [run.record.get("packages") or {} for run in runs],
    }
    found = {}
    for name, values in sections.items():
        values = [flat(value) for value in values]
        columns = {key: [value.get(key) for value in values] for value in values for key in value}
        found[name] = {
            key: column
            for key, column in columns.items()
            if any(other != column[0] for other in column)
        }
    return found


def cell(value: object) -> str:
    text = "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    text = text[:12] if re.fullmatch("[0-9a-f]{40,64}", text) else text
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) < 80 else f"{text[:78]}…"


def table(head: list[str], rows: list[list]) -> str:
    return tabulate(
        [[cell(value) for value in row] for row in rows], head, "pipe", disable_numparse=True
    )


def outcome(letter: str, run: Run) -> list:
    """A run's row in the first table."""
    train, held, speed = (
        run.series(key) for key in ("train/loss", "eval/loss", "train/speed/tokens_per_s")
    )
    said = run.record.get("ended_by") if run.status in ("failed", "stopped") else None
    status = (
        said
        if said and run.status == "stopped"
        else f"{run.status}: {said}"
        if said
        else run.status
    )
    loss = (
        [f"{held.iloc[0]:.3f} → {held.iloc[-1]:.3f}", f"{held.min():.3f}"]
        if len(held)
        else [None, None]
    )
    last = train.iloc[-1] if len(train) else None
    rate = f"{speed.median():,.0f}" if len(speed) else None
    return [
        letter,
        run.name,
        status,
        max(run.history, default=0),
        run.record.get("seconds"),
        last,
        *loss,
        rate,
    ]


def measured(about: dict | None) -> str | None:
    """`0.71 [0.65, 0.77], n 200`."""
    if about is None:
        return None
    interval = " [{:.3g}, {:.3g}]".format(*about["interval"]) if "interval" in about else ""
    return f"{about['value']:.3g}{interval}" + (f", n {about['n']}" if "n" in about else "")


def page(runs: list[Run], letters: str) -> str:
    """The comparison as Markdown."""
    head = [
        "",
        "run",
        "status",
        "step",
        "seconds",
        "train loss",
        "held-out loss",
        "lowest",
        "tokens/s",
    ]
    parts = [
        "# Runs compared",
        table(head, [outcome(*pair) for pair in zip(letters, runs, strict=True)]),
    ]
    parts += ["![training and held-out loss by step](curves.png)", "## What differs"]
    found = differences(runs)
    for section, columns in found.items():
        if columns:
            parts += [
                f"### {section}",
                table(["", *letters], [[key, *values] for key, values in columns.items()]),
            ]
    if same := [section for section, columns in found.items() if not columns]:
        parts.append(f"The same in all: {', '.join(same)}.")
    names = dict.fromkeys(
        (name, side)
        for run in runs
        for name, about in run.metrics.items()
        for side in SIDES
        if side in about
    )
    rows = [
        [f"{n}, {side}", *(measured(run.metrics.get(n, {}).get(side)) for run in runs)]
        for n, side in names
    ]
    if rows:
        parts += ["## Metrics, with 95 % intervals", table(["", *letters], rows)]
    return "\n\n".join(parts) + "\n"


def draw(runs: list[Run], letters: str, path: Path) -> None:
    """Both losses by step on one picture; a cross ends the curve of a run that did not finish."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 4.5 + 0.11 * len(runs)), layout="constrained")
    for axis, (title, key) in zip(axes, SERIES.items(), strict=True):
        for place, (letter, run) in enumerate(zip(letters, runs, strict=True)):
            curve = run.series(key)
            curve = curve.rolling(
                max(1, len(curve) // 50), min_periods=1
            ).mean()  # a long run's noise would hide the others
            unfinished = len(curve) and run.status not in ("finished", "running")
            mark = (
                {"marker": "X", "markersize": 9, "markevery": [-1]}
                if unfinished
                else {"marker": "."}
                if len(curve) < 50
                else {}
            )
            style = {
                "color": f"C{place % 10}",
                "linestyle": "--" if place >= 10 else "-",
                "alpha": 0.85,
            }
            axis.plot(
                curve.index, curve, label=f"{letter}  {run.name}, {run.status}", **style, **mark
            )
        axis.set(title=title, xlabel="step", ylabel="nats a trained token")
        axis.grid(alpha=0.3)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.compare", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="a recipe, a folder with a run.json, or entity/project/run of W&B",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of the page"
    )
    parser.add_argument(
        "--out", type=Path, help="folder to write to (default: outputs/compare/<runs>)"
    )
    options = parser.parse_args()
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        if not 2 <= len(options.runs) <= 20:
            raise RecipeError(
                f'{len(options.runs)} runs given; compare 2 to 20: make compare RUNS="a b"'
            )
        runs = [load(name) for name in options.runs]
    except Exception as error:
        if (line := failures.explain(error, ".")) is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1
    letters = string.ascii_uppercase[: len(runs)]
    out = (
        options.out
        or ROOT / "outputs" / "compare" / re.sub(r"[^\w.-]+", "_", "-".join(options.runs))[:80]
    )
    out.mkdir(parents=True, exist_ok=True)
    text = page(runs, letters)
    (out / "compare.md").write_text(text)
    draw(runs, letters, out / "curves.png")
    found = {"runs": dict(zip(letters, map(vars, runs), strict=True)), "differs": differences(runs)}
    print(json.dumps(found) if options.json else f"{text}\nwritten to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
