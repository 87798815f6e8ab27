"""Everything that can be known about a recipe without training it: python -m training.check RECIPE [--json] [--base DIR]

Prints what is wrong, one line each, and exits 1; otherwise the data, one row of each category with its loss mask in colour, the
memory it will take on the recipe's GPU, and the comparison of the model's files with the facts this repository relies on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from common import facts, hub, rows
from common.facts import Shape
from training import memory
from training.recipe import ROOT, Recipe, RecipeError, find, problems
from training.render import IGNORE, Renderer, RenderError

SHOWN = 700  # characters of a row that are shown from its start, and as many from its end
GREEN, DIM, PLAIN = "\x1b[32m", "\x1b[2m", "\x1b[0m"


def model_files(recipe: Recipe, base: str | None) -> tuple[Path | None, str]:
    """(folder with the base model's configuration and tokenizer, or None; a sentence on where they come from)."""
    name = base or recipe.data["base_model"]
    if base or not hub.is_hub_id(name):
        folder = ROOT / name
        return (
            (folder, f"{name} (local)")
            if (folder / "config.json").exists()
            else (None, f"{name} is not built yet")
        )
    revision = hub.revision_of(name)
    if revision is None:
        return (
            None,
            f"{name} has no pinned revision in {hub.LOCK.name} (make pin): its files were not looked at",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        wanted = ["*.json", "*.jinja"]
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=wanted)
        ), f"{name}@{revision[:12]}"
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        return (
            None,
            f"{name}@{revision[:12]} cannot be reached ({type(error).__name__}): its files were not looked at",
        )


def renderer_of(folder: Path | None) -> Renderer:
    """The base model's renderer; Pixtral's own vocabulary under our copy of the template where its files are not at hand."""
    if folder is not None:
        from transformers import AutoProcessor

        from training.plugin import renderer_for

        return renderer_for(AutoProcessor.from_pretrained(folder))
    return Renderer(pixtral_tokenizer())


def pixtral_tokenizer():
    """Pixtral's vocabulary, carried by mistral-common, as a fast tokenizer with our copy of Apriel's chat template."""
    import mistral_common
    from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

    vocabulary = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    template = (ROOT / "common" / "chat_template.jinja").read_text(encoding="utf-8")
    return convert_tekken_tokenizer(str(vocabulary), chat_template=template)


def data_of(recipe: Recipe, renderer: Renderer) -> dict:
    """The recipe's rows, measured and hashed. Raises rows.RowError or RenderError for the first that cannot be trained on."""
    from training.index import data_sha256, index, select

    folder = ROOT / recipe.data["rows"]["path"]
    found = {"path": recipe.data["rows"]["path"], "data_sha256": data_sha256(folder)}
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, wanted in manifest.get("files", {}).items():
        path = folder / name
        if not path.exists():
            raise rows.RowError(f"{path}: in the manifest but not on disk; build the dataset again")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != wanted:
                raise rows.RowError(f"{path}: changed since the dataset was built; build it again")
    for split in ("train", "val"):
        measured = index(folder / f"{split}.jsonl", renderer)
        kept, dropped = select(
            measured, recipe.data["rows"].get("categories"), recipe.data["sequence_len"]
        )
        names, counts = np.unique(measured.categories[kept], return_counts=True)
        found[split] = {
            "rows": len(kept),
            "dropped": [
                f"{measured.ids[i]} ({measured.tokens[i]} tokens)" for i in dropped.tolist()
            ],
            "tokens": int(measured.tokens[kept].sum()),
            "trained_tokens": int(measured.trained[kept].sum()),
            "longest": int(measured.tokens[kept].max()),
            "images": int(measured.images[kept].sum()),
            "categories": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        }
        if split == "train":
            first = {
                str(n): int(kept[np.flatnonzero(measured.categories[kept] == n)[0]]) for n in names
            }
            found["offsets"] = {name: int(measured.offsets[i]) for name, i in first.items()}
    return found


def masks(
    recipe: Recipe, renderer: Renderer, offsets: dict[str, int]
) -> dict[str, list[tuple[str, bool]]]:
    """For one row of each category: its text as runs of (text, trained)."""
    folder = ROOT / recipe.data["rows"]["path"]
    shown = {}
    with (folder / "train.jsonl").open("rb") as file:
        for category, offset in offsets.items():
            file.seek(offset)
            encoded = renderer.encode(rows.parse(file.readline()), folder)
            trained = encoded.labels != IGNORE
            cuts = [0, *(np.flatnonzero(np.diff(trained)) + 1).tolist(), len(trained)]
            runs = [
                (encoded.input_ids[a:b], bool(trained[a]))
                for a, b in zip(cuts, cuts[1:], strict=False)
            ]
            shown[category] = [(_readable(renderer, ids), flag) for ids, flag in runs]
    return shown


def _readable(renderer: Renderer, ids: np.ndarray) -> str:
    """Decoded text with the runs of image placeholders as one word."""
    places = np.isin(ids, renderer.image_ids)
    text, start = "", 0
    for end in [*(np.flatnonzero(np.diff(places)) + 1).tolist(), len(ids)]:
        part = ids[start:end]
        text += (
            f"«image, {len(part)} tokens»"
            if len(part) and places[start]
            else renderer.tokenizer.decode(part)
        )
        start = end
    return text


def compare(folder: Path, renderer: Renderer) -> tuple[list[str], list[str]]:
    """(what agrees, what differs) between a model's files and common.facts."""
    same, other = [], []

    def say(what: str, found: object, wanted: object) -> None:
        (same if found == wanted else other).append(
            what if found == wanted else f"{what}: {found!r}, expected {wanted!r}"
        )

    config = json.loads((folder / "config.json").read_text())
    say("architecture", config.get("architectures"), ["LlavaForConditionalGeneration"])
    say("vision tower", config["vision_config"].get("model_type"), "pixtral")
    say("decoder", config["text_config"].get("model_type"), "mistral")
    say(
        "rope_theta",
        (config["text_config"].get("rope_parameters") or config["text_config"]).get("rope_theta"),
        1e9,
    )
    shape = Shape.from_config(config)
    if shape.vocab == facts.APRIEL_15B.vocab:
        say("sizes", shape, facts.APRIEL_15B)
        words, ids = facts.FINGERPRINT
        say(
            "fingerprint of the vocabulary",
            tuple(renderer.tokenizer(words, add_special_tokens=False)["input_ids"]),
            ids,
        )
    for token, id_ in facts.SPECIAL_TOKENS.items():
        say(f"id of {token}", renderer.tokenizer.convert_tokens_to_ids(token), id_)
    for marker in (
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|end|>",
        "[BEGIN FINAL RESPONSE]",
        "[END FINAL RESPONSE]",
    ):
        say(
            f"{marker} is plain text",
            len(renderer.tokenizer(marker, add_special_tokens=False)["input_ids"]) > 1,
            True,
        )
    say("longest edge", renderer.longest_edge, facts.LONGEST_EDGE)
    say("patch", renderer.patch, facts.PATCH)
    messages = [
        {"role": r, "content": [{"type": "text", "text": t}]}
        for r, t in (("system", "S"), ("user", "U"), ("assistant", "A"))
    ]
    wanted = (
        f"<s><|system|>\n{facts.DEFAULT_SYSTEM}S\n<|end|>\n<|user|>\nU\n<|end|>\n<|assistant|>\nA\n<|end|>\n</s>"
    )  # fmt: skip
    say("template", renderer.text(messages), wanted)
    prompt = renderer.tokenizer.apply_chat_template(
        messages[:2], tokenize=False, add_generation_prompt=True
    )
    say("generation prompt is the beginning of a trained text", wanted.startswith(prompt), True)
    return same, other


def validate(recipe: Recipe) -> None:
    """Axolotl's own validation, as on the recipe's GPU, without one. Raises RecipeError with Axolotl's words."""
    import yaml
    from axolotl.cli.config import prepare_plugins
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from pydantic import ValidationError

    on_gpu = bool(recipe.data.get("bf16"))
    capabilities = {
        "bf16": on_gpu,
        "fp8": on_gpu,
        "tf32": on_gpu,
        "n_gpu": 1,
        "compute_capability": "sm_89" if on_gpu else None,
    }
    cfg = DictDefault(yaml.safe_load(recipe.text))
    prepare_plugins(cfg)
    try:
        import torch

        validate_config(
            cfg,
            capabilities=capabilities,
            env_capabilities={"torch_version": torch.__version__.split("+")[0]},
        )
    except (ValidationError, ValueError) as error:
        details = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise RecipeError(f"{recipe.path}: Axolotl refuses it: {details}") from None


def check(recipe: Recipe, base: str | None = None, gpu_gib: float = memory.L40S_GIB) -> dict:
    """The whole check as one object; `errors` is empty when the recipe may run."""
    report: dict = {
        "recipe": recipe.id,
        "sha256": recipe.sha256,
        "errors": problems(recipe),
        "notes": [],
    }
    if report["errors"]:
        return report
    try:
        validate(recipe)
        folder, report["model"] = model_files(recipe, base)
        if folder is None:
            report["notes"].append(report["model"])
        if not (ROOT / recipe.data["rows"]["path"] / "manifest.json").exists():
            report["notes"].append(
                f"{recipe.data['rows']['path']} is not built yet (make data): rows were not looked at"
            )
            share = 1.0
        else:
            renderer = renderer_of(folder)
            if folder is None:
                report["notes"].append(
                    "lengths and masks use Pixtral's own vocabulary and this repository's copy of the template"
                )
            report["data"] = data_of(recipe, renderer)
            report["masks"] = masks(recipe, renderer, report["data"].pop("offsets"))
            share = report["data"]["train"]["trained_tokens"] / report["data"]["train"]["tokens"]
        if folder is not None:
            report["same"], report["differs"] = compare(folder, renderer_of(folder))
            report["errors"] += [f"{report['model']}: {line}" for line in report["differs"]]
    except (RecipeError, RenderError, rows.RowError) as error:
        report["errors"].append(str(error))
        return report
    shape = (
        Shape.from_config(json.loads((folder / "config.json").read_text()))
        if folder
        else facts.APRIEL_15B
    )
    parts = memory.estimate(recipe.data, shape, share)
    report["memory"] = {"parts_gib": parts, "total_gib": sum(parts.values()), "gpu_gib": gpu_gib}
    if recipe.data.get("bf16") and sum(parts.values()) > gpu_gib:
        report["errors"].append(
            f"{recipe.path.name}: about {sum(parts.values()):.1f} GiB at the peak do not fit {gpu_gib:.1f} GiB; lower sequence_len or lora_r"
        )
    return report


def show(report: dict, colour: bool) -> None:
    """Print the report for a person."""
    green, dim, plain = (GREEN, DIM, PLAIN) if colour else ("»", "", "«")
    print(f"{report['recipe']}  {report['sha256'][:12]}  {report.get('model', '')}")
    for category, runs in report.get("masks", {}).items():
        print(f"\n── {category}: trained text is {'green' if colour else 'between » and «'}")
        for text, trained in runs:
            if len(text) > 2 * SHOWN:
                text = (
                    f"{text[:SHOWN]}\n   … {len(text) - 2 * SHOWN:,} characters …\n{text[-SHOWN:]}"
                )
            print(
                f"{green}{text}{plain}" if trained else f"{dim}{text}{PLAIN if colour else ''}",
                end="",
            )
        print()
    for split in ("train", "val"):
        if data := report.get("data", {}).get(split):
            print(
                f"\n{split}: {data['rows']:,} rows, {data['tokens']:,} tokens, {data['trained_tokens']:,} trained "
                f"({data['trained_tokens'] / data['tokens']:.0%}), longest {data['longest']:,}, {data['images']:,} images, "
                f"{len(data['dropped'])} dropped: longer than sequence_len"
            )
            print(
                "  " + ", ".join(f"{name} {count:,}" for name, count in data["categories"].items())
            )
            if data["dropped"]:
                print(
                    "  dropped: "
                    + ", ".join(data["dropped"][:10])
                    + (" …" if len(data["dropped"]) > 10 else "")
                )
    if "memory" in report:
        parts = report["memory"]["parts_gib"]
        print(
            "\nmemory, GiB: "
            + ", ".join(f"{name} {size:.2f}" for name, size in parts.items() if size >= 0.005)
        )
        print(
            f"  about {report['memory']['total_gib']:.1f} at the peak; the GPU of reference (L40S) has {report['memory']['gpu_gib']:.1f}"
        )
    if "same" in report:
        print(
            f"\nthe model's files agree with what this repository relies on in {len(report['same'])} points"
        )
    for note in report["notes"]:
        print(f"note: {note}")
    for error in report["errors"]:
        print(f"error: {error}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.check", description=__doc__.splitlines()[0]
    )
    parser.add_argument("recipe")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--base", help="a local folder in the place of the recipe's base model")
    parser.add_argument(
        "--gpu-gib",
        type=float,
        default=memory.L40S_GIB,
        help="memory of the GPU in mind (default: an L40S)",
    )
    options = parser.parse_args()
    os.chdir(ROOT)
    from training.train import quiet_environment

    quiet_environment()
    started = time.monotonic()
    try:
        report = check(find(options.recipe), options.base, options.gpu_gib)
    except (RecipeError, hub.HubError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report, default=str))
    else:
        show(report, sys.stdout.isatty())
        verdict = "may not run" if report["errors"] else "may run"
        print(f"{report['recipe']} {verdict}; checked in {time.monotonic() - started:.0f} s")
    return 1 if report["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
