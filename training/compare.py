"""What differs between 2 to 20 runs, and what came of it: python -m training.compare RUN RUN … [--json] [--out DIR]   (make compare)

A run is a recipe (its folder under outputs/), any folder with a run.json, or entity/project/run of W&B. Finished, stopped, failed and
killed ones compare alike. Writes compare.md, curves.png and compare.json, and prints the page (or, with --json, the object).
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
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import yaml

from training import failures, provenance
from training.checkpoints import number
from training.recipe import ROOT, RecipeError

CODE = ("commit", "dirty", "lock_sha256", "image_digest", "device")
SIDES = ("base", "tuned", "difference")
SERIES = {"training loss": "train/loss", "held-out loss": "eval/loss"}


@dataclass(frozen=True)
class Run:
    name: str
    status: str
    record: dict  # run.json
    recipe: dict
    data: dict  # the manifest's counts
    history: dict[int, dict[str, float]]  # by step, under W&B's names
    metrics: dict[str, dict] = field(default_factory=dict)  # {suite/prompt/name: {side: {value, interval, n}}}

    def series(self, key: str) -> list[tuple[int, float]]:
        return [(step, row[key]) for step, row in sorted(self.history.items()) if key in row]


def load(name: str) -> Run:
    """A run by what a person types. Raises RecipeError when there is none of that name."""
    places = [
        Path(name),
        ROOT / "outputs" / name,
        *sorted((ROOT / "outputs" / name).glob("v[0-9]*"), key=lambda p: -int(p.name[1:])),
    ]
    folder = next((place for place in places if (place / provenance.FILE).is_file()), None)
    if folder:
        return local(folder.resolve())
    if re.fullmatch(r"[\w.-]+/[\w.-]+/[\w-]+", name):
        return online(name)
    there = sorted(str(path.parent.relative_to(ROOT / "outputs")) for path in ROOT.glob(f"outputs/*/*/{provenance.FILE}"))
    raise RecipeError(
        f"no run {name!r}: no folder with a run.json, no entity/project/run of W&B; there are: {', '.join(there) or 'none'}"
    )


def local(folder: Path) -> Run:
    record = provenance.read(folder)
    status = record["status"]
    if status == "running":
        with contextlib.suppress(RecipeError), provenance.only_writer(folder):
            status = "killed"  # nobody holds its folder

    def read(name: str) -> dict:
        parse = json.loads if name.endswith(".json") else yaml.safe_load
        return parse((folder / name).read_text()) if (folder / name).exists() else {}

    suites = read("eval/result.json").get("suites", {})
    cells = {f"{suite}/{prompt}": cell for suite, about in suites.items() for prompt, cell in about["prompts"].items()}
    metrics = {f"{cell}/{name}": sides(about) for cell, found in cells.items() for name, about in found["measurements"].items()}
    name = str(folder.relative_to(ROOT / "outputs")) if folder.is_relative_to(ROOT / "outputs") else str(folder)
    history = local_history(folder, record.get("wandb_id") or "")
    return Run(name, status, record, read("recipe.yaml"), provenance.counts(read("data.json")), history, metrics)


def sides(about: dict) -> dict:
    """A measurement of result.json as {side: {value, interval, n}}."""
    both = {side: about[side] | {"n": about["n"]} for side in ("base", "tuned")}
    return both | {"difference": {"value": about["difference"], "interval": about["interval"], "n": about["n"]}}


def local_history(folder: Path, wandb_id: str) -> dict[int, dict[str, float]]:
    """What was logged, by step: from W&B's own files, which reach to the last moment, and from the newest checkpoint that can be read."""
    rows: dict[int, dict[str, float]] = defaultdict(dict)
    for file in sorted(folder.glob(f"wandb/*run-*/run-{wandb_id}.wandb")):
        words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        for line in subprocess.run(words, capture_output=True, text=True).stdout.splitlines():
            if '"type":"history"' in line:
                add(rows, json.loads(line)["history"]["item"])
    for path in sorted(folder.glob("checkpoint-*/trainer_state.json"), key=lambda p: -number(p.parent.name)):
        try:
            log = json.loads(path.read_text())["log_history"]
        except json.JSONDecodeError:
            continue  # half of one: the one before
        for entry in log:
            step = entry.pop("step")
            named = {f"eval/{k[5:]}" if k.startswith("eval_") else f"train/{k}": v for k, v in entry.items()}  # as W&B calls them
            add(rows, named | {"train/global_step": step})
        break
    return dict(rows)


def add(rows: dict[int, dict[str, float]], item: dict) -> None:
    if (step := item.get("train/global_step")) is not None:
        rows[int(step)] |= {k: v for k, v in item.items() if isinstance(v, int | float) and k.startswith(("train/", "eval/"))}


def online(path: str) -> Run:
    """A run of W&B, with the metrics of the evaluations in its group. Raises what wandb raises."""
    import wandb

    api = wandb.Api()
    run = api.run(path)
    rows: dict[int, dict[str, float]] = defaultdict(dict)
    for item in run.history(samples=10_000, pandas=False):
        add(rows, item)
    metrics: dict[str, dict] = {}
    if run.group:
        for other in api.runs("/".join(path.split("/")[:2]), filters={"group": run.group, "jobType": "eval"}, lazy=False):
            for key, value in other.summary_metrics.items():
                name, _, side = key.rpartition("/")
                if side in SIDES:
                    metrics.setdefault(name, {})[side] = {"value": value}
    config = run.config
    name = f"{run.name} ({run.id})"
    return Run(
        name, run.state, config.get("run") or {}, config.get("recipe") or {}, config.get("data") or {}, dict(rows), metrics
    )


def flat(value: dict, prefix: str = "") -> dict[str, object]:
    """A nested mapping with dotted keys."""
    found = {}
    for key, inner in value.items():
        found |= flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return found


def differences(runs: list[Run]) -> dict[str, dict[str, list]]:
    """{section: {key: the value in each run}} for keys that are not the same in all; None where a run does not have the key."""
    sections = {
        "recipe": [run.recipe for run in runs],
        "data": [run.data for run in runs],
        "base": [
            {k: v for k, v in run.record.get("identity", {}).items() if k.startswith("base") or k == "seed"} for run in runs
        ],
        "code and machine": [{key: run.record.get(key) for key in CODE} for run in runs],
        "packages": [run.record.get("packages") or {} for run in runs],
    }
    found = {}
    for name, values in sections.items():
        values = [flat(value) for value in values]
        keys = dict.fromkeys(key for value in values for key in value)
        columns = {key: [value.get(key) for value in values] for key in keys}
        found[name] = {key: column for key, column in columns.items() if any(other != column[0] for other in column)}
    return found


def cell(value: object) -> str:
    text = "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    text = text[:12] if re.fullmatch("[0-9a-f]{40,64}", text) else text
    return text.replace("|", "\\|").replace("\n", " ")[:60]


def table(head: list[str], rows: list[list]) -> list[str]:
    return [f"| {' | '.join(cell(value) for value in row)} |" for row in (head, ["---"] * len(head), *rows)]


def outcome(letter: str, run: Run) -> list:
    """A run's row in the first table."""
    train, held = run.series("train/loss"), run.series("eval/loss")
    speeds = [value for _, value in run.series("train/speed/tokens_per_s")]
    last = max(run.history, default=0)
    loss = f"{held[0][1]:.3f} → {held[-1][1]:.3f}" if held else None
    lowest = f"{min(v for _, v in held):.3f}" if held else None
    speed = f"{np.median(speeds):,.0f}" if speeds else None
    seconds, ended = run.record.get("seconds"), run.record.get("ended_by")
    status = f"{run.status}: {ended}" if ended and run.status in ("failed", "stopped") else run.status
    return [letter, run.name, status, last, seconds, train[-1][1] if train else None, loss, lowest, speed]


def measured(value: dict | None) -> str | None:
    """`0.71 [0.65, 0.77], n 200`."""
    if value is None:
        return None
    interval = f" [{', '.join(cell(float(bound)) for bound in value['interval'])}]" if "interval" in value else ""
    return cell(float(value["value"])) + interval + (f", n {value['n']}" if "n" in value else "")


def page(runs: list[Run], letters: str) -> str:
    """The comparison as Markdown."""
    head = ["", "run", "status", "step", "seconds", "train loss", "held-out loss", "lowest", "tokens/s"]
    lines = ["# Runs compared", "", *table(head, [outcome(*pair) for pair in zip(letters, runs, strict=True)])]
    lines += ["", "![training and held-out loss by step](curves.png)", "", "## What differs"]
    found = differences(runs)
    for section, keys in found.items():
        if keys:
            lines += ["", f"### {section}", "", *table(["", *letters], [[key, *values] for key, values in keys.items()])]
    if same := [section for section, keys in found.items() if not keys]:
        lines += ["", f"The same in all: {', '.join(same)}."]
    names = dict.fromkeys((name, side) for run in runs for name, found in run.metrics.items() for side in SIDES if side in found)
    if names:
        rows = [[f"{n}, {side}", *(measured(run.metrics.get(n, {}).get(side)) for run in runs)] for n, side in names]
        lines += ["", "## Metrics, with 95 % intervals", "", *table(["", *letters], rows)]
    return "\n".join(lines) + "\n"


def draw(runs: list[Run], letters: str, path: Path) -> None:
    """Both losses by step on one picture; a cross ends the curve of a run that did not finish."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 4.5 + 0.11 * len(runs)), layout="constrained")
    for axis, (title, key) in zip(axes, SERIES.items(), strict=True):
        for position, (letter, run) in enumerate(zip(letters, runs, strict=True)):
            if not (points := run.series(key)):
                continue
            steps, values = np.array(points, dtype=float).T
            width = max(1, len(values) // 50)  # a long run's noise would hide the others
            smooth = np.convolve(np.pad(values, (width - 1, 0), "edge"), np.ones(width) / width, "valid")
            style = {"color": f"C{position % 10}", "linestyle": ("-", "--")[position // 10]}
            mark = {"marker": "." if len(values) < 40 else None, "alpha": 0.85}
            axis.plot(steps, smooth, label=f"{letter}  {run.name}, {run.status}", **style, **mark)
            if run.status not in ("finished", "running"):
                axis.plot(steps[-1], smooth[-1], marker="X", markersize=10, color=style["color"])
        axis.set(title=title, xlabel="step", ylabel="nats a trained token")
        axis.grid(alpha=0.3)
    handles, labels = max((axis.get_legend_handles_labels() for axis in axes), key=lambda pair: len(pair[0]))
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.compare", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a recipe, a folder with a run.json, or entity/project/run of W&B")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the page")
    parser.add_argument("--out", type=Path, help="folder to write to (default: outputs/compare/<runs>)")
    options = parser.parse_args()
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        if not 2 <= len(options.runs) <= 20:
            raise RecipeError(f'{len(options.runs)} runs given; compare 2 to 20: make compare RUNS="a b"')
        runs = [load(name) for name in options.runs]
    except Exception as error:
        if (line := failures.explain(error, ".")) is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1
    letters = string.ascii_uppercase[: len(runs)]
    out = options.out or ROOT / "outputs" / "compare" / re.sub(r"[^\w.-]+", "_", "-".join(options.runs))[:80]
    out.mkdir(parents=True, exist_ok=True)
    text = page(runs, letters)
    found = {"runs": {letter: asdict(run) for letter, run in zip(letters, runs, strict=True)}, "differs": differences(runs)}
    (out / "compare.md").write_text(text)
    (out / "compare.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(runs, letters, out / "curves.png")
    print(json.dumps(found) if options.json else f"{text}\nwritten to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
