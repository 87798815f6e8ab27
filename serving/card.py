"""Write the README.md that belongs beside published weights: python -m serving.card RECIPE

From the run's records alone: run.json, the evaluation's result.json, the dataset's manifest.json,
the merge's proof.json and each export's export.json. They must be of one run. What has no figure is
"not measured".
"""

import shlex
import sys
from pathlib import Path

from common import runs
from common.bases import Base, base_of, files_of
from common.errors import AetherError, command
from common.facts import HUB_ID, HUB_LICENCE
from common.files import ROOT, json_if_there, load_json, shown, write_text
from common.markdown import filled, table
from common.memory import CONTEXT
from common.options import parser_of
from common.recipes import Recipe, find
from common.results import measurements
from common.servers import whole_of
from serving.settings import SIZES, persona_of

TEMPLATE = Path(__file__).with_name("card.template.md")
NOT_MEASURED = "not measured"
HEADS = ("suite", "system prompt", "measurement", "n", "base", "tuned", "tuned - base")
FORM_HEADS = ("form", "GB", "tensors", "asked the same as the merged model")


class CardError(AetherError):
    """A record that is missing, or of another run."""


def main() -> int:
    """Write the card, and print what would publish the model."""
    recipe = find(parser_of(__doc__, "recipe").parse_args().recipe)
    card = recipe.output / "card" / "README.md"
    write_text(card, written(recipe))
    model = whole_of(recipe, recipe.output)
    print(f"wrote {shown(card)}. Nothing was published; these commands would, once you read it:")
    # A whole model lies among the records and the checkpoints of its run.
    wanted = [f"--include {path.name}" for path in files_of(model) if model == recipe.output]
    print(f"  hf upload <owner>/<name> {' '.join((shown(model), '.', *wanted))}")
    for path in _exports(recipe):
        print(f"  hf upload <owner>/<name> {shown(path.parent)} {path.parent.name}")
    print(f"  hf upload <owner>/<name> {shown(card)} README.md")
    return 0


def written(recipe: Recipe) -> str:
    """The card's text. Raises AetherError for a record that is missing or of another run."""
    run = runs.finished(recipe)
    result = _result(recipe, run)
    data = _manifest(recipe, run)
    slots = {
        **_about(recipe, run),
        **_data(data),
        **_measured(result),
        "forms": _forms(recipe),
        "persona": persona_of(recipe).strip() or "none",
        "limits": _limits(run, result),
    }
    return filled(TEMPLATE, slots)


def _result(recipe: Recipe, run: dict) -> dict:
    """The newest result of this very run. Raises CardError."""
    places = [path for path in (recipe.output / "eval" / "result.json", recipe.result)]
    path = next((path for path in places if path.exists()), None)
    if path is None:
        raise CardError(f"{shown(places[0])}: not evaluated; run make eval RECIPE={recipe.id}")
    result = load_json(path)
    identity = run["identity"]
    for key in ("recipe_sha256", "data_sha256"):
        if result[key] != identity[key]:
            raise CardError(
                f"{shown(path)}: {key} is that of another run; run make eval RECIPE={recipe.id}"
            )
    return result


def _manifest(recipe: Recipe, run: dict) -> dict:
    """The manifest of the data that was trained on. Raises CardError."""
    path = ROOT / recipe.data["rows"]["path"] / "manifest.json"
    if not path.exists():
        raise CardError(f"{shown(path)}: the data is not built here; run make data")
    manifest = load_json(path)
    if manifest["data_sha256"] != run["identity"]["data_sha256"]:
        raise CardError(
            f"{shown(path)}: not the data of this run; build that again, or train again"
        )
    return manifest


def _about(recipe: Recipe, run: dict) -> dict[str, str]:
    """What it is, from the recipe's header, and how it was made."""
    header = recipe.text.partition("\n#\n")[0]
    what = " ".join(line.removeprefix("#").strip() for line in header.splitlines())
    base = base_of(recipe)
    now = runs.current(run)
    revision = now["base_revision"]
    settings = recipe.data
    method = "training all weights"
    if settings.get("adapter"):
        method = f"{settings['adapter']} of rank {settings['lora_r']}"
    elif settings.get("shards"):
        method = "training all weights but those of the eyes"
    seconds = run.get("seconds")
    what = what.removeprefix(f"{recipe.id}: ")
    return {
        "recipe": recipe.id,
        "what": what[:1].upper() + what[1:],
        "base": base.name,
        "base_and_revision": f"{base.name} at {revision}" if revision else base.name,
        "base_licence": _licence(base),
        "method": method,
        "epochs": str(settings["num_epochs"]),
        "rate": str(settings["learning_rate"]),
        "device": str(now["device"]),
        "time": f"{seconds / 3600:.2f} h" if seconds else f"a time that was {NOT_MEASURED}",
        "recipe_sha": run["identity"]["recipe_sha256"][:12],
        "commit": f"{str(now['commit'])[:12]}{' with changes' if now['dirty'] else ''}",
        "packages": ", ".join(f"{name} {version}" for name, version in now["packages"].items()),
        "flags": shlex.join(("--max-model-len", str(CONTEXT), *SIZES)),
    }


def _licence(base: Base) -> str:
    """The licence of what a model was first made of."""
    if base.maker:
        return _licence(base_of(base.maker))
    if base.name == HUB_ID:
        return HUB_LICENCE
    if base.name.startswith("outputs/"):
        return "that of its data, it was trained from nothing here"
    return "not on record; look before you publish"


def _data(data: dict) -> dict[str, str]:
    """Rows, categories, and where they come from with which licence."""
    rows = ", ".join(f"{count:,} {split}" for split, count in data["rows"].items())
    origins = ", ".join(f"{name} {count:,}" for name, count in data["origins"].items())
    public = [
        [name, about.get("licence"), about.get("revision")]
        for name, about in data["sources"].items()
    ]
    sources = table(("public set", "licence", "revision"), public) if public else ""
    return {
        "licence": data["licence"],
        "licence_id": data["licence"].lower(),
        "data": f"Dataset `{data['dataset']}`, {data['data_sha256'][:12]}: {rows} rows, "
        f"{data['tokens']:,} tokens, {data['images']:,} images. By origin: {origins}.",
        "categories": table(("category", "rows"), data["categories"].items()),
        "sources": sources or "No public set is in it.",
    }


def _measured(result: dict) -> dict[str, str]:
    """Every measurement with n and intervals, and the gates."""
    lines = [
        [suite, prompt, name.replace("_", " "), about["n"], *_values(about)]
        for suite, prompt, name, about in measurements(result)
    ]
    quick = ""
    if result["limit"] or not result["complete"]:
        quick = "**Not a whole evaluation.** "
    if result["small"]:
        quick += "A CPU served, which answers a sample with short replies. "
    gates = [[gate["name"], gate["verdict"], gate["said"]] for gate in result["gates"]]
    return {
        "quick": quick,
        "temperature": str(result["sampling"]["temperature"]),
        "measured": table(HEADS, lines) if lines else NOT_MEASURED.capitalize() + ".",
        "gates": table(("gate", "verdict", "what was found"), gates),
    }


def _values(about: dict) -> list[str]:
    """Base, tuned and their difference, each with its interval where it has one."""
    form = ".1%" if about["kind"] == "rate" else ".2f"

    def told(value: float, interval: list[float] | None, sign: str = "") -> str:
        if interval is None:
            return f"{value:{sign}{form}} (no interval: too few)"
        low, high = interval
        return f"{value:{sign}{form}} [{low:{sign}{form}}, {high:{sign}{form}}]"

    sides = [told(about[side]["value"], about[side]["interval"]) for side in ("base", "tuned")]
    return [*sides, told(about["difference"], about["interval"], "+")]


def _exports(recipe: Recipe) -> list[Path]:
    return sorted(recipe.output.glob("export/*/export.json"))


def _forms(recipe: Recipe) -> str:
    """The model and its exports: sizes, proofs, and how many answers were the same."""
    model = whole_of(recipe, recipe.output)
    merged = json_if_there(model / runs.MERGE_PROOF)
    form = "whole" if model == recipe.output else "merged"
    lines: list[list[object]] = [
        [form, NOT_MEASURED, merged.get("proven", "no proof on record"), ""]
    ]
    for path in _exports(recipe):
        export = load_json(path)
        if merged and export["model"] != merged["model"]:
            raise CardError(f"{shown(path)}: made from another model than is merged; export again")
        size = sum(file["bytes"] for file in export["files"].values()) / 1e9
        merged_size = sum(file["bytes"] for file in export["merged"].values()) / 1e9
        lines[0][1] = f"{merged_size:.3g}"
        lines.append(
            [export["format"], f"{size:.3g}", _proven(export["proof"]), _asked(export["asked"])]
        )
    return table(FORM_HEADS, lines)


def _proven(proof: dict) -> str:
    parts = [f"{proof['equal']} equal"]
    for kind, worst in proof["within"].items():
        parts.append(f"{proof['stored'][kind]} {kind} within their step (worst {worst:.3f} of it)")
    for kind, worst in proof["relative"].items():
        parts.append(f"{proof['stored'][kind]} {kind} under a threshold (worst error {worst:.4f})")
    return ", ".join(parts)


def _asked(asked: dict | str) -> str:
    if isinstance(asked, str):
        return f"{NOT_MEASURED}: {asked.removeprefix('not asked: ')}"
    equal = sum(asked["equal"].values())
    return (
        f"{equal} of {sum(asked['questions'].values())} greedy answers the same ({asked['server']})"
    )


def _limits(run: dict, result: dict) -> str:
    """What the records themselves hold against the model."""
    lines = [
        f"{gate['name']}: {gate['verdict']}, {gate['said']}"
        for gate in result["gates"]
        if gate["verdict"] != "PASS"
    ]
    lines += [
        f"{name}: {NOT_MEASURED}, {about['why']}" for name, about in result["skipped"].items()
    ]
    if runs.current(run)["dirty"]:
        lines.append("trained from a tree with changes that no commit holds")
    return "\n".join(f"- {line}." for line in lines) or "Every gate passes, nothing was left out."


if __name__ == "__main__":
    sys.exit(command(main))
