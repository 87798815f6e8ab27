"""An exported model beside base and merged one: three columns, and gates against the merged one."""

import hashlib
import json

from common.files import load_json, shown
from common.markdown import table
from common.recipes import Recipe
from common.results import measurements
from common.servers import Served, ServeError
from evaluation import gates, results
from evaluation.ask import Cell, Measured

ALLOWED = ("not_worse_by", "ratio_at_least")  # how a gate says what may be lost
NOT_WORSE_BY = 0.10  # where a gate asks the tuned model for more than the base
HEADS = ("suite", "measurement", "prompt", "n", "base", "merged", "exported", "exported - merged")


def served(recipe: Recipe, form: str) -> tuple[Served, str]:
    """(an export, what identifies it). Raises ServeError where it is not there."""
    folder = recipe.output / "export" / form
    if not (folder / "export.json").is_file():
        raise ServeError(
            f"{shown(folder)}: no such export; run make export RECIPE={recipe.id} FORMAT="
        )
    files = json.dumps(load_json(folder / "export.json")["files"], sort_keys=True)
    return Served(str(folder)), hashlib.sha256(files.encode()).hexdigest()


def compare(
    cells: list[Cell], merged: dict, exported: dict, settings: dict, wanted: list[dict]
) -> dict:
    """{suites, gates}: exported against merged, as `results.assemble` has tuned against base.

    Each gate's measurement must not be worse by what the gate allows; `merged` and `exported` are
    what was measured, by (suite, prompt).
    """
    sides: dict[str, dict[tuple[str, str], Measured]] = {"base": merged, "tuned": exported}
    found = {"suites": results.assemble(cells, sides, settings), "skipped": {}}
    held = [
        {
            "name": f"{gate['name']}, exported",
            "of": gate["of"],
            "least": gate["least"],
            **({k: gate[k] for k in ALLOWED if k in gate} or {ALLOWED[0]: NOT_WORSE_BY}),
        }
        for gate in wanted
        if gate["of"].split("/")[0] in found["suites"]
    ]
    return {"suites": found["suites"], "gates": gates.judge(held, found)}


def columns(result: dict) -> str:
    """The three columns, in Markdown; empty where no export was asked."""
    if "exported" not in result:
        return ""
    lines = []
    for suite, prompt, name, found in measurements(result["exported"]):
        before = result["suites"][suite]["prompts"][prompt]["measurements"][name]
        values = (before["base"], found["base"], found["tuned"])
        shown_values = [_value(found["kind"], value["value"]) for value in values]
        change = _value(found["kind"], found["difference"], "+")
        if found["interval"]:
            low, high = (_value(found["kind"], end, "+") for end in found["interval"])
            change += f" [{low}, {high}]"
        where = [suite, name.replace("_", " "), prompt, found["n"]]
        lines.append([*where, *shown_values, change])
    name = result["models"]["exported"]["name"]
    return f"\n## The exported model\n\n{name}, on the same questions.\n\n{table(HEADS, lines)}\n"


def _value(kind: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.1%}" if kind == "rate" else f"{value:{sign}.2f}"
