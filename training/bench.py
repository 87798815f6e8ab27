"""Speed and memory, measured: python -m training.bench [--gpu] [--against DIR]   (make bench)

All sides train the same rows through real Axolotl, each in a process of its own: recipes as
shipped, Axolotl's own Pixtral settings with the first recipe's adapter (its
examples/pixtral/lora-12b.yml: one row a micro-batch, stock loader, loss and kernels), with
--against the first recipe in another checkout of this repository, and with --unsloth Unsloth's own
trainer from the packages in that folder. Without a GPU the tiny model is
trained on the CPU; with --gpu the true Apriel-1.5 shape, random weights made on the device in NF4,
under the memory of a 48 GB card. With --pairs a preference recipe is measured on pairs of text,
against TRL's DPOTrainer at one and at four pairs a micro-batch. Real tokens are those of rows and
images; padding does not count.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import command
from common.files import ROOT, load_json, shown, write_json
from common.markdown import table
from common.options import parser_of
from common.recipes import RecipeError, find
from training import bench_ranks, bench_unsloth, memory
from training.bench_pairs import write_pairs
from training.bench_rows import OUT, SEQUENCE_LEN, model_folder, write_rows
from training.environment import quiet_environment

# "of the ceiling": 6·N operations a token, as if all layers were recomputed, so that sides compare;
# "really done" leaves out what was not.
HEAD = [
    "side",
    "real tokens/s",
    "pairs/s",
    "against stock",
    "padded",
    "peak GiB",
    "of the ceiling",
    "really done",
    "longest",
]


@dataclass(frozen=True)
class Side:
    """What is measured: a way to train, a recipe, and the checkout whose code does it."""

    variant: str  # ours, stock, unsloth; checkpoint writes what unsloth loads
    recipe: str
    root: Path = ROOT
    packages: Path | None = None  # a folder that comes before the environment's packages

    @property
    def name(self) -> str:
        """How the table calls it."""
        named = f"{self.variant} {self.recipe}"
        return named if self.root == ROOT else f"{named} of {self.root.name}"


# What surrounds the steps: from the start of the process to the end of the first micro-batch; the
# share of the counted time in which a step waited for its data.
PARTS_HEAD = ["side", "start, s", "waiting for data", "evaluation, tokens/s", "a checkpoint, s"]


def parts(sides: list[dict[str, Any]]) -> str:
    """What surrounds the steps of the sides that say so, as Markdown."""
    lines = [
        [
            figures["variant"],
            f"{figures['start_s']:.0f}",
            f"{figures['waiting_share']:.1%}",
            f"{figures['evaluation_tokens_per_s']:,.0f}",
            f"{figures['save_s']:.1f}",
        ]
        for figures in sides
        if "save_s" in figures
    ]
    return table(PARTS_HEAD, lines)


def run_side(side: Side, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a side in a process of its own, by the code of its checkout; a failure is a line of
    the table, not the end.
    """
    out = side.root / OUT.relative_to(ROOT)
    if side.root != ROOT:
        shutil.copytree(OUT / "rows", out / "rows", dirs_exist_ok=True)
    result = out / "side.json"
    result.unlink(missing_ok=True)
    words = ["-m", "training.bench", "--side", side.variant, "--recipe", side.recipe]
    words += ["--steps", str(options.steps), "--warm", str(options.warm)]
    if options.gpu:
        words.append("--gpu")
    if options.gpu and side.variant == "ours" and side.root == ROOT:
        words.append("--probe")
    environment = dict(os.environ)
    if side.packages:
        environment["PYTHONPATH"] = f"{side.packages}:{environment.get('PYTHONPATH', '')}"
    log = OUT / f"{side.name.replace(' ', '-').replace('/', '-')}.log"
    started = time.monotonic()
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, *words], cwd=side.root, stdout=file, stderr=file, env=environment
        )
    wall = round(time.monotonic() - started)
    if done.returncode == 0 and result.exists():
        return load_json(result) | {"variant": side.name, "wall_s": wall}
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    failed = last[0][:200] if last else f"exit {done.returncode}"
    return {"variant": side.name, "failed": failed, "wall_s": wall}


def measured_here(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of the side that this process is."""
    recipe = options.recipe[0]
    if options.side in ("scale", "train", "resume"):
        bench_ranks.side(options.side, recipe, options.gpu)
        return {}
    if options.side == "checkpoint":
        bench_unsloth.write_checkpoint(model_folder(options.gpu))
        return {}
    if options.side == "unsloth":
        counted = options.steps - options.warm
        return bench_unsloth.measure(find(recipe).data, memory.L40S_GIB, counted)
    from training.bench_side import side

    return side(options.side, recipe, options.gpu, options.steps, options.warm, options.probe)


def plan(options: argparse.Namespace) -> list[Side]:
    """The sides of a call, in their order."""
    first = options.recipe[0]
    others = ("trl-1", "trl-4") if options.pairs else ("stock",)
    sides = [] if options.no_stock else [Side(name, first) for name in others]
    if options.against:
        sides.append(Side("ours", first, options.against.resolve()))
    sides += [Side("ours", recipe) for recipe in options.recipe]
    if options.unsloth:
        sides.append(Side("checkpoint", first))
        sides.append(Side("unsloth", first, packages=options.unsloth.resolve()))
    return sides


def line_of(figures: dict[str, Any], stock_rate: float | None) -> list[str | None]:
    """A side's line under HEAD."""
    if "failed" in figures:
        return [figures["variant"], f"failed: {figures['failed']}", *[None] * (len(HEAD) - 2)]
    rate = figures["tokens_per_s"]
    share = figures.get("share_of_ceiling")
    done = figures.get("share_done")
    peak = figures.get("peak_gib")
    longest = figures.get("longest_sequence_len")
    return [
        figures["variant"],
        f"{rate:,.0f}",
        f"{figures['pairs_per_s']:.2f}" if "pairs_per_s" in figures else None,
        f"{rate / stock_rate:.2f}x" if stock_rate else None,
        f"{figures['padded_share']:.1%}",
        f"{peak:.1f}" if peak else None,
        f"{share:.0%}" if share else None,
        f"{done:.0%}" if done else None,
        f"{longest:,}" if longest else None,
    ]


def page(sides: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    rates = [
        s["tokens_per_s"] for s in sides if s["variant"].startswith("stock") and "failed" not in s
    ]
    stock_rate = rates[0] if rates else None
    return table(HEAD, [line_of(figures, stock_rate) for figures in sides])


def built_data(given: Path | None) -> Path:
    """The built dataset to draw rows from: aether's where it is built, else tiny's. Raises
    RecipeError when there is none.
    """
    candidates = [ROOT / "datasets" / name / "build" for name in ("aether", "tiny")]
    for folder in [given] if given else candidates:
        if (folder / "train.jsonl").is_file():
            return folder
    raise RecipeError("no built dataset; run make data DATASET=tiny")


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--gpu", action="store_true", help="the true shape on this machine's GPU")
    parser.add_argument(
        "--recipe",
        nargs="+",
        help="default: tiny, with --gpu qlora_r128; with --pairs tiny_dpo, dpo_r128",
    )
    parser.add_argument(
        "--data", type=Path, help="folder of a built dataset (default: aether, tiny)"
    )
    parser.add_argument(
        "--steps", type=int, help="optimizer steps a side (default: 20, on a GPU 8)"
    )
    parser.add_argument("--warm", type=int, default=2, help="optimizer steps that are not counted")
    parser.add_argument("--rows", type=int, help="default: 400, on several GPUs 1600")
    parser.add_argument("--pairs", action="store_true", help="a preference recipe, against TRL")
    parser.add_argument("--against", type=Path, help="another checkout, measured in the same call")
    parser.add_argument("--unsloth", type=Path, help="a folder with Unsloth's packages")
    parser.add_argument("--no-stock", action="store_true", help="leave Axolotl's own settings out")
    parser.add_argument("--gpus", type=int, help="several, each with its own bins or shares")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    defaults = ("tiny_dpo", "dpo_r128") if options.pairs else ("tiny", "qlora_r128")
    options.recipe = options.recipe or [defaults[options.gpu]]
    if options.unsloth and not options.gpu:
        parser.error("--unsloth needs --gpu: Unsloth has no way without one")
    options.steps = options.steps or (8 if options.gpu else 20)
    # Of few rows the last bins stay half empty, and one rank waits for the other.
    options.rows = options.rows or (1600 if options.gpus else 400)
    return options


def main() -> int:
    options = arguments()
    os.chdir(ROOT)
    quiet_environment()
    OUT.mkdir(parents=True, exist_ok=True)
    if options.side:
        write_json(OUT / "side.json", measured_here(options))
        return 0
    from training.renderers import renderer_of

    data = built_data(options.data)
    renderer = renderer_of(model_folder(options.gpu))
    drawn = write_rows(data, options.rows, renderer, SEQUENCE_LEN)
    print(f"{shown(data)}: {', '.join(f'{k} {v:,.0f}' for k, v in drawn.items())}", flush=True)
    if options.pairs:
        drawn = write_pairs(renderer)
        print(", ".join(f"{name} {value:,.0f}" for name, value in drawn.items()), flush=True)
    if options.gpus:
        return 0 if bench_ranks.measure(options.recipe, options.gpus, options.gpu) else 1
    sides: list[dict[str, Any]] = []
    for side in plan(options):
        found = run_side(side, options)
        if side.variant == "checkpoint" and "failed" not in found:
            continue
        sides.append(found)
        print(page([found]).splitlines()[-1], f"({found['wall_s']} s)", flush=True)
    write_json(OUT / "bench.json", {"rows": drawn, "recipe": options.recipe, "sides": sides})
    print(f"\n{page(sides)}\n\n{parts(sides)}\n\nwritten to {shown(OUT)}/bench.json")
    return 1 if any("failed" in figures for figures in sides) else 0


if __name__ == "__main__":
    sys.exit(command(main))
