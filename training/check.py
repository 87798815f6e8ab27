"""Everything that can be known about a recipe without training it: python -m training.check RECIPE
[--json] [--base DIR]

Prints what is wrong, one line each, and exits 1; otherwise the data, one row of each category with
its loss mask in colour, the memory it will take on the recipe's GPU, and the comparison of the
model's files with the facts this repository relies on.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from common import facts
from common.bases import Base, BaseError, base_of, is_hub_id
from common.errors import AetherError, command
from common.facts import Shape
from common.files import ROOT, load_json, shown
from common.memory import served
from common.options import parser_of
from common.recipes import Recipe, RecipeError, find
from training import memory, mirror
from training.check_recipe import problems
from training.environment import quiet_environment
from training.prerequisites import data_of, makers_of, outdated, require_merge

SHOWN = 700  # characters of a row that are shown from its start, and as many from its end
GREEN, DIM, PLAIN = "\x1b[32m", "\x1b[2m", "\x1b[0m"


def check(
    recipe: Recipe,
    override: str | None = None,
    gpu_gib: float = memory.L40S_GIB,
    gpus: int | None = None,
) -> dict:
    """The whole check as one object; `errors` is empty when the recipe may run.

    `override` is BASE=, `gpus` how many train; the fewest that the recipe is made for when absent.
    """
    report: dict = {
        "recipe": recipe.id,
        "sha256": recipe.sha256,
        "errors": problems(recipe),
        "notes": [],
    }
    shards = recipe.data.get("shards") if not report["errors"] else None
    if shards and gpus and gpus < shards:
        report["errors"].append(f"{recipe.id}: shards: needs {shards} GPUs, and {gpus} are given")
    if report["errors"]:
        return report
    try:
        mirror.of(recipe.id)
        folder = _model_files(recipe, override, report)
        if report["errors"] and not is_hub_id(str(override or recipe.data["base_model"])):
            return report  # what follows takes minutes, and needs no model of the hub
        validate(recipe)
        share = _data(recipe, folder, report)
        _memory(recipe, folder, share, (gpu_gib, gpus or recipe.data.get("shards") or 1), report)
    except AetherError as error:
        report["errors"].append(str(error))
    return report


def validate(recipe: Recipe) -> None:
    """Axolotl's own validation, as on the recipe's GPU, without one.

    Raises RecipeError with Axolotl's words.
    """
    import torch
    import yaml
    from axolotl.cli.config import prepare_plugins
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from pydantic import ValidationError

    on_gpu = bool(recipe.data["bf16"])
    capabilities = {
        "bf16": on_gpu,
        "fp8": on_gpu,
        "tf32": on_gpu,
        "n_gpu": 1,
        "compute_capability": "sm_89" if on_gpu else None,
    }
    environment = {"torch_version": torch.__version__.split("+")[0]}
    cfg = DictDefault(yaml.safe_load(recipe.text))
    prepare_plugins(cfg)
    try:
        validate_config(cfg, capabilities=capabilities, env_capabilities=environment)
    except (ValidationError, ValueError) as error:
        details = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise RecipeError(f"{shown(recipe.path)}: Axolotl refuses it: {details}") from None


def _model_files(recipe: Recipe, override: str | None, report: dict) -> Path | None:
    """The folder with the base's configuration and tokenizer, or None with a note or an error on
    why there is none.
    """
    try:
        base = base_of(recipe, override)
    except BaseError as error:
        report["model"] = recipe.data["base_model"]
        report["errors"].append(str(error))
        return None
    report["model"] = str(base)
    if base.missing:
        _say_missing(base, report)
        return None
    require_merge(base)
    try:
        return base.local("*.json", "*.jinja")
    except BaseError as error:
        report["notes"].append(f"{error}; its files were not looked at")
        return None


def _say_missing(base: Base, report: dict) -> None:
    if makers := makers_of(base):
        steps = ", ".join(" ".join(words) for words in makers)
        report["notes"].append(f"{base.missing}; make train makes it first ({steps})")
    else:
        report["errors"].append(base.missing)


def _data(recipe: Recipe, folder: Path | None, report: dict) -> float:
    """Put the data, a mask of each category and the base's comparison into the report; the trained
    share of the tokens.
    """
    from training.check_base import compare
    from training.check_data import masks, measured
    from training.renderers import renderer_of

    renderer = renderer_of(folder)
    if folder is not None:
        points = compare(folder, renderer)
        report["same"] = points.same
        report["differs"] = points.differs
        report["notes"] += points.notes
        report["errors"] += [f"{report['model']}: {line}" for line in points.differs]
    data = data_of(recipe)
    if not (data / "manifest.json").exists():
        report["notes"].append(
            f"{recipe.data['rows']['path']} is not built yet (make data): rows were not looked at"
        )
        return 1.0
    report["notes"] += outdated(data)
    if folder is None:
        report["notes"].append(
            "lengths and masks use Pixtral's own vocabulary and this repository's copy of the "
            "template"
        )
    report["data"], train = measured(recipe, data, renderer)
    if recipe.data.get("adapter") and not report["data"]["replay"]:
        report["notes"].append(
            f"{recipe.data['rows']['path']} holds no replay: what the base can do beside is not "
            "protected; make replay collects it, if the dataset has a teacher/replay.yaml"
        )
    report["masks"] = masks(recipe, data, train, renderer)
    return report["data"]["train"]["trained_tokens"] / report["data"]["train"]["tokens"]


def _memory(
    recipe: Recipe,
    folder: Path | None,
    share: float,
    cards: tuple[float, int],
    report: dict,
) -> None:
    """Put what a card holds into the report. `cards`: GiB of each, and how many."""
    gpu_gib, count = cards
    if folder is not None:
        shape = Shape.from_config(load_json(folder / "config.json"))
    elif is_hub_id(recipe.data["base_model"]):
        shape = facts.APRIEL_15B
    else:
        return  # a base that is still to be made has no shape yet
    kept = memory.layers_kept(recipe.data, shape, share, gpu_gib)
    parts = memory.estimate(recipe.data, shape, share, kept, count)
    total = sum(parts.values())
    report["memory"] = {
        "parts_gib": parts,
        "total_gib": total,
        "gpu_gib": gpu_gib,
        "gpus": count,
        "layers_not_recomputed": kept,
    }
    if recipe.data["bf16"]:
        report["serving"] = served(shape, gpu_gib)
    if recipe.data["bf16"] and total > gpu_gib:
        report["errors"].append(
            f"{recipe.path.name}: about {total:.1f} GiB at the peak do not fit {gpu_gib:.1f} GiB; "
            "lower sequence_len or lora_r, or take more GPUs for a recipe with shards"
        )


def show(report: dict, colour: bool) -> None:
    """Print the report for a person."""
    print(f"{report['recipe']}  {report['sha256'][:12]}  {report.get('model', '')}")
    for category, runs in report.get("masks", {}).items():
        _show_mask(category, runs, colour)
    for split in ("train", "val"):
        if split in report.get("data", {}):
            _show_split(split, report["data"][split])
    if "memory" in report:
        _show_memory(report["memory"])
        _show_serving(report.get("serving", []))
    if "same" in report:
        agreeing = len(report["same"])
        print(f"\nthe model's files agree with what this repository relies on in {agreeing} points")
    for note in report["notes"]:
        print(f"note: {note}")
    for error in report["errors"]:
        print(f"error: {error}", file=sys.stderr)


def _show_mask(category: str, runs: list[tuple[str, bool]], colour: bool) -> None:
    green, dim, plain = (GREEN, DIM, PLAIN) if colour else ("»", "", "«")
    print(f"\n── {category}: trained text is {'green' if colour else 'between » and «'}")
    for text, trained in runs:
        if len(text) > 2 * SHOWN:
            left_out = f"\n   … {len(text) - 2 * SHOWN:,} characters …\n"
            text = f"{text[:SHOWN]}{left_out}{text[-SHOWN:]}"
        if trained:
            print(f"{green}{text}{plain}", end="")
        else:
            print(f"{dim}{text}{PLAIN if colour else ''}", end="")
    print()


def _show_split(split: str, data: dict) -> None:
    share = data["trained_tokens"] / data["tokens"]
    print(
        f"\n{split}: {data['rows']:,} rows, {data['tokens']:,} tokens, {data['trained_tokens']:,} "
        f"trained ({share:.0%}), "
        f"longest {data['longest']:,}, {data['images']:,} images, "
        f"{len(data['dropped'])} dropped: longer than sequence_len"
    )
    print("  " + ", ".join(f"{name} {count:,}" for name, count in data["categories"].items()))
    if data["dropped"]:
        more = " …" if len(data["dropped"]) > 10 else ""
        print(f"  dropped: {', '.join(data['dropped'][:10])}{more}")


def _show_memory(found: dict) -> None:
    parts = [f"{name} {size:.2f}" for name, size in found["parts_gib"].items() if size >= 0.005]
    print(f"\nmemory, GiB: {', '.join(parts)}")
    print(
        f"  about {found['total_gib']:.1f} at the peak of a GPU with {found['gpu_gib']:.1f}, one "
        f"of {found['gpus']}, with "
        f"{found['layers_not_recomputed']} decoder layers that are not recomputed"
    )


def _show_serving(found: list[dict]) -> None:
    if found:
        print("\nserved by vLLM on that GPU, weights in GiB and tokens that its cache holds:")
    for of in found:
        print(
            f"  {of['weights']} {of['gib']:.1f}, cache {of['cache']}: {of['tokens']:,} tokens, "
            f"{of['contexts']} conversations of the longest kind"
        )


def main() -> int:
    parser = parser_of(__doc__, "recipe", "--json", "--base", "--gpus")
    parser.add_argument(
        "--gpu-gib",
        type=float,
        default=memory.L40S_GIB,
        help="memory of the GPU in mind (default: an L40S)",
    )
    options = parser.parse_args()
    os.chdir(ROOT)
    quiet_environment()
    started = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):  # transformers says there how W&B runs
        report = check(find(options.recipe), options.base, options.gpu_gib, options.gpus)
    if options.json:
        print(json.dumps(report, default=str))
    else:
        show(report, sys.stdout.isatty())
        verdict = "may not run" if report["errors"] else "may run"
        print(f"{report['recipe']} {verdict}; checked in {time.monotonic() - started:.0f} s")
    return 1 if report["errors"] else 0


if __name__ == "__main__":
    sys.exit(command(main))
