"""What differs between 2 to 20 runs, and what came of it: python -m training.compare RUN RUN …
[--json] [--out DIR]

A run is a recipe (its folder under outputs/), any folder with a run.json, or entity/project/run of
W&B. Finished, stopped, failed and killed ones compare alike. Writes compare.md and curves.png, and
prints the page or, with --json, one object. (make compare)
"""

import json
import re
import string
import sys
from pathlib import Path

from common import markdown
from common.errors import command
from common.files import ROOT, shown, write_text
from common.options import parser_of
from common.recipes import RecipeError
from common.tracking import quiet_environment
from training.compare_curves import draw
from training.compare_runs import SIDES, Run, load

MOST = 20
WIDEST = 80  # characters of a cell
NAMES_OF_ITSELF = ("output_dir", "wandb_name")  # keys of a recipe that differ in every two
CODE = ("commit", "dirty", "lock_sha256", "image_digest", "device")


def flat(value: dict, prefix: str = "") -> dict:
    """A nested mapping with dotted keys."""
    found: dict = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            found |= flat(inner, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = inner
    return found


def sections_of(run: Run) -> dict[str, dict]:
    """What may differ between runs, by the section of the page that tells of it."""
    identity = run.record.get("identity", {})
    base = {key: value for key, value in identity.items() if key.startswith("base")}
    return {
        "recipe": {k: v for k, v in run.recipe.items() if k not in NAMES_OF_ITSELF},
        "data": run.data,
        "base": base | {"seed": identity.get("seed")},
        "code and machine": {key: run.record.get(key) for key in CODE},
        "packages": run.record.get("packages") or {},
    }


def differences(runs: list[Run]) -> dict[str, dict[str, list]]:
    """{section: {key: the value in each run}} for keys that are not the same in all; None where a
    run lacks the key.
    """
    found: dict[str, dict[str, list]] = {}
    of_runs = [sections_of(run) for run in runs]
    for section in of_runs[0]:
        values = [flat(of_run[section]) for of_run in of_runs]
        keys = dict.fromkeys(key for value in values for key in value)
        columns = {key: [value.get(key) for value in values] for key in keys}
        found[section] = {
            key: column
            for key, column in columns.items()
            if any(other != column[0] for other in column)
        }
    return found


def cell(value: object) -> str:
    """A value as the page shows it: figures to four digits, hashes to twelve, long texts cut."""
    if value is None:
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    if re.fullmatch("[0-9a-f]{40,64}", text):
        return text[:12]
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def table(head: list[str], lines: list[list]) -> str:
    """A Markdown table of such cells."""
    return markdown.table(head, [[cell(value) for value in line] for line in lines])


OUTCOME = [
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


def outcome(letter: str, run: Run) -> list:
    """A run's line in the first table, under OUTCOME."""
    status = run.status
    ended_by = run.record.get("ended_by")
    if ended_by and status == "stopped":
        status = ended_by
    elif ended_by and status == "failed":
        status = f"failed: {ended_by}"
    train = run.series("train/loss")
    held = run.series("eval/loss")
    speed = run.series("train/speed/tokens_per_s")
    return [
        letter,
        run.name,
        status,
        max(run.history, default=0),
        run.record.get("seconds"),
        train.iloc[-1] if len(train) else None,
        f"{held.iloc[0]:.3f} → {held.iloc[-1]:.3f}" if len(held) else None,
        f"{held.min():.3f}" if len(held) else None,
        f"{speed.median():,.0f}" if len(speed) else None,
    ]


def measured(measurement: dict | None) -> str | None:
    """A metric as `0.71 [0.65, 0.77], n 200`."""
    if measurement is None:
        return None
    text = f"{measurement['value']:.3g}"
    if "interval" in measurement:
        low, high = measurement["interval"]
        text += f" [{low:.3g}, {high:.3g}]"
    return f"{text}, n {measurement['n']}" if "n" in measurement else text


def metric_lines(runs: list[Run]) -> list[list]:
    """The lines of the table of metrics: the name with its side, then the figure of each run."""
    lines = []
    for name in dict.fromkeys(name for run in runs for name in run.metrics):
        of_runs = [run.metrics.get(name, {}) for run in runs]
        for side in SIDES:
            if any(side in sides for sides in of_runs):
                figures = [measured(sides.get(side)) for sides in of_runs]
                lines.append([f"{name}, {side}", *figures])
    return lines


def page(runs: list[Run], letters: str) -> str:
    """The comparison as Markdown."""
    first = [outcome(letter, run) for letter, run in zip(letters, runs, strict=True)]
    parts = ["# Runs compared", table(OUTCOME, first)]
    parts += ["![training and held-out loss by step](curves.png)", "## What differs"]
    head = ["", *letters]
    found = differences(runs)
    for section, columns in found.items():
        if columns:
            lines = [[key, *values] for key, values in columns.items()]
            parts += [f"### {section}", table(head, lines)]
    same = [section for section, columns in found.items() if not columns]
    if same:
        parts.append(f"The same in all: {', '.join(same)}.")
    metrics = metric_lines(runs)
    if metrics:
        parts += ["## Metrics, with 95 % intervals", table(head, metrics)]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = parser_of(__doc__, "--json")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a recipe, a folder, a run of W&B")
    parser.add_argument("--out", type=Path, help="folder (default: outputs/compare/<runs>)")
    options = parser.parse_args()
    quiet_environment()
    if not 2 <= len(options.runs) <= MOST:
        raise RecipeError(
            f'{len(options.runs)} runs given; compare 2 to {MOST}: make compare RUNS="a b"'
        )
    runs = [load(name) for name in options.runs]
    letters = string.ascii_uppercase[: len(runs)]
    name = re.sub(r"[^\w.-]+", "_", "-".join(options.runs))[:80]
    out = options.out or ROOT / "outputs" / "compare" / name
    text = page(runs, letters)
    write_text(out / "compare.md", text)
    draw(runs, letters, out / "curves.png")
    if options.json:
        of_runs = {letter: vars(run) for letter, run in zip(letters, runs, strict=True)}
        print(json.dumps({"runs": of_runs, "differs": differences(runs)}))
    else:
        print(f"{text}\nwritten to {shown(out)}")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
