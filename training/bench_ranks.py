"""Several GPUs, measured: what `make bench GPUS=n` adds to training.bench.

A recipe with an adapter trains on 1, 2, 4 … n ranks, each with its own bins. A recipe with shares
takes ten steps on n ranks, saves, and in new processes resumes and takes five more. Each part is
written to outputs/bench/ranks.json as it ends, so that a machine that is taken away leaves what
was measured.
"""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import Any

from common.files import load_json, shown, write_json
from common.markdown import table
from common.recipes import find
from training.bench_rows import OUT

STEPS = 10
MORE = 5
SIGNALLED = 128  # an exit code above tells the number of a signal
HELD_OUT = 2  # bins a rank
HEAD = ["part", "GPUs", "real tokens/s", "against one", "of the ceilings", "really done"]
HEAD += ["peak GiB a GPU", "loss, first to last", "held out", "save, s", "resume, s"]


def plan(recipes: list[str], gpus: int) -> list[tuple[str, str, int]]:
    """(recipe, part, ranks) of a call, in their order."""
    parts = []
    for recipe in recipes:
        if find(recipe).data.get("shards"):
            parts += [(recipe, "train", gpus), (recipe, "resume", gpus)]
        else:
            powers = [2**power for power in range(gpus.bit_length())]
            parts += [(recipe, "scale", number) for number in powers if number <= gpus]
    return parts


def measure(recipes: list[str], gpus: int, gpu: bool) -> bool:
    """Run every part, print a line of the table after each; whether all went well."""
    from training import ranks

    found: list[dict] = []
    rates: dict[str, float] = {}
    for recipe, part, number in plan(recipes, gpus):
        if part == "resume" and found[-1]["code"]:
            continue  # there is nothing to take up
        for path in OUT.glob("rank-*.json"):
            path.unlink()
        words = ["-m", "training.bench", "--side", part, "--recipe", recipe]
        started = time.monotonic()
        code = ranks.launch([*words, "--gpu"] if gpu else words, number, OUT)
        sides = [load_json(path) for path in sorted(OUT.glob("rank-*.json"))]
        about = {"recipe": recipe, "part": part, "gpus": number}
        figures: dict[str, Any] = about | {
            "wall_s": round(time.monotonic() - started),
            "code": code,
        }
        if code == 0:
            figures |= joined(sides)
            rate = figures["tokens_per_s"]
            figures["against_one"] = rate / rates.setdefault(recipe, rate)
        found.append(figures)
        write_json(OUT / "ranks.json", found)
        print(table(HEAD, [line_of(figures)]), f"({figures['wall_s']} s)", flush=True)
        if code > SIGNALLED:
            break
    print(f"\n{table(HEAD, [line_of(f) for f in found])}\n\nwritten to {shown(OUT)}/ranks.json")
    return all(figures["code"] == 0 for figures in found)


def joined(sides: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a part from those of its ranks."""
    first = sides[0]
    seconds = max(side["seconds"] for side in sides)
    figures = {
        "ranks": sides,
        "tokens_per_s": sum(side["tokens"] for side in sides) / seconds,
        "losses": first["losses"],
        "held_out": first["held_out"],
        "save_s": first.get("save_s"),
        "seal_s": first.get("seal_s"),
        "load_s": max(side.get("load_s") or 0 for side in sides),
    }
    if "ceiling" in first:
        ceilings = sum(side["ceiling"] for side in sides)
        figures["share_of_ceilings"] = sum(s["flops"] for s in sides) / seconds / ceilings
        figures["share_done"] = sum(s["flops_done"] for s in sides) / seconds / ceilings
        figures["peaks_gib"] = [side["peak_gib"] for side in sides]
    return figures


def line_of(figures: dict[str, Any]) -> list[str | None]:
    """A part's line under HEAD."""
    named = f"{figures['recipe']} {figures['part']}"
    if figures["code"]:
        failed = f"failed with {figures['code']}"
        return [named, str(figures["gpus"]), failed, *[None] * (len(HEAD) - 3)]
    losses = figures["losses"]
    saved = figures["save_s"]
    share = figures.get("share_of_ceilings")
    done = figures.get("share_done")
    peaks = figures.get("peaks_gib")
    return [
        named,
        str(figures["gpus"]),
        f"{figures['tokens_per_s']:,.0f}",
        f"{figures['against_one']:.2f}x",
        f"{share:.0%}" if share else None,
        f"{done:.0%}" if done else None,
        f"{max(peaks):.1f}" if peaks else None,
        f"{losses[0]:.4f} → {losses[-1]:.4f}",
        f"{figures['held_out']:.6f}" if figures["held_out"] else None,
        f"{saved:.1f} + {figures['seal_s']:.1f} sealing" if saved else None,
        f"{figures['load_s']:.1f}" if figures["load_s"] else None,
    ]


def side(part: str, recipe: str, gpu: bool) -> None:
    """Be one rank of a part, and write its figures. An adapter takes as many steps as the bench's
    other sides, weights in shares STEPS and, resumed, MORE.
    """
    from training import bench_side, ranks
    from training.trainer import AetherTrainer

    ranks.end_with_launcher()
    ceiling = bench_side.as_a_card_of_48_gb() if gpu else None
    marks = bench_side.watch_steps()
    loading: dict[str, float] = {}
    stock_load = AetherTrainer._load_optimizer_and_scheduler
    stock_train = AetherTrainer.train

    def load(self, checkpoint):
        begin = time.perf_counter()
        stock_load(self, checkpoint)
        if checkpoint:
            loading["load_s"] = time.perf_counter() - begin
            loading["held_out"] = held_out(self)

    def train(self, *args, **kwargs):
        trained = stock_train(self, *args, **kwargs)
        figures = {"held_out": None, **of_steps(self, marks), **loading}
        if ceiling:
            figures |= {"ceiling": ceiling, **of_the_gpu(self, marks)}
        if part == "train":
            figures |= saved(self)
        write_json(OUT / f"rank-{self.args.process_index}.json", figures)
        return trained

    trainers: Any = AetherTrainer
    trainers._load_optimizer_and_scheduler = load
    trainers.train = train
    try:
        bench_side.by_axolotl(configuration(part, recipe, gpu))
    except Exception as error:
        traceback.print_exc()
        ranks.report(repr(error)[:300])
        ranks.leave(1)


def configuration(part: str, recipe: str, gpu: bool) -> dict[str, Any]:
    """What Axolotl is given: the bench's own, with the recipe's rate at once and no decay to zero,
    so that a few steps show whether it learns.
    """
    from training import bench_side

    steps = {"train": STEPS, "resume": STEPS + MORE}.get(part, 8)
    configured = bench_side.configuration("ours", recipe, gpu, steps)
    configured |= {"lr_scheduler": "constant", "warmup_steps": 0}
    configured.pop("warmup_ratio", None)
    configured.pop("cosine_min_lr_ratio", None)
    if part == "resume":
        checkpoint = Path(configured["output_dir"]) / f"checkpoint-{STEPS}"
        configured["resume_from_checkpoint"] = str(checkpoint)
    return configured


def of_steps(trainer, marks: list) -> dict[str, Any]:
    """A rank's tokens and seconds over the steps after the first two, and the losses of all."""
    skipped = 2 * trainer.args.gradient_accumulation_steps
    counted = marks[skipped:]
    losses = [logs["loss"] for logs in trainer.state.log_history if "loss" in logs]
    return {
        "tokens": sum(mark.real for mark in counted),
        "seconds": counted[-1].wall - marks[skipped - 1].wall,
        "losses": losses[-len(marks) // trainer.args.gradient_accumulation_steps :],
        "bins_without_pictures": sum(mark.pictures == 0 for mark in marks),
    }


def of_the_gpu(trainer, marks: list) -> dict[str, float]:
    """A rank's operations over the same steps, as if nothing were recomputed and as they were, and
    its peaks.
    """
    from common.facts import Shape
    from training import bench_side

    counted = marks[2 * trainer.args.gradient_accumulation_steps :]
    real = sum(mark.real for mark in counted)
    pairs = sum(mark.pairs for mark in counted)
    shape = Shape.from_config(trainer.model.config.to_dict())
    kept = bench_side.layers_kept_by(trainer)
    flops = shape.training_flops(real, pairs)
    again = shape.recomputation_flops(real, pairs, shape.layers)
    spared = shape.recomputation_flops(real, pairs, kept)
    return {
        "flops": flops,
        # An adapter's 6 N hold a second pass forward, those of every weight do not.
        "flops_done": (flops + again if trainer.has_shares else flops) - spared,
        **bench_side.peaks(),
    }


def saved(trainer) -> dict[str, float]:
    """The held-out loss of a rank's weights, and the seconds of saving and sealing them."""
    figures = {"held_out": held_out(trainer)}
    begin = time.perf_counter()
    trainer._save_checkpoint(trainer.model, None)
    figures["save_s"] = time.perf_counter() - begin
    trainer.finish_sealing()
    trainer.accelerator.wait_for_everyone()
    figures["seal_s"] = time.perf_counter() - begin - figures["save_s"]
    return figures


def held_out(trainer) -> float:
    """The loss of a few bins of the rows at hand, over all ranks; one rank has one bin less."""
    dataset = trainer.eval_dataset
    dataset.bins = dataset.bins[: HELD_OUT * trainer.args.world_size - 1]
    return trainer.held_out(dataset)["loss"]
