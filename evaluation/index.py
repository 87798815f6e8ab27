"""The table in recipes/README.md, rendered from the recipes' headers and result files: python -m evaluation.index

Needs the standard library alone. A test compares what is rendered with what stands there.
"""

from __future__ import annotations

import json
import re

from common.files import ROOT
from common.recipes import Recipe, all_recipes

PAGE = ROOT / "recipes" / "README.md"
BEGIN, END = "<!-- rendered by python -m evaluation.index -->", "<!-- end of what is rendered -->"
SHOWN = {  # what of a result stands in the table
    "signature phrase": "voice/persona/signature_phrase",
    "gsm_hard": "gsm_hard/persona/correct",
    "math": "math/persona/correct",
    "diagrams": "diagrams/persona/correct",
}


def rendered(recipes: list[Recipe]) -> str:
    heads = ["recipe", "what it is", "needs", "base → tuned, 95 % interval of the difference"]
    lines = [heads, ["---"] * len(heads)] + [_line(recipe) for recipe in recipes]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(recipe: Recipe) -> list[str]:
    header = [
        line.removeprefix("#").strip()
        for line in re.match(r"(?:#.*\n)+", recipe.text)[0].splitlines()
    ]
    what = " ".join(header[: header.index("")]).removeprefix(f"{recipe.id}: ")
    needs = re.search(r"Needs: (.*?)(?:[;.]|$)", " ".join(header))
    path = recipe.path.with_suffix(".result.json")
    measured = _measured(json.loads(path.read_text())) if path.exists() else "not measured"
    return [
        f"[{recipe.id}]({recipe.id}.yaml)",
        re.split(r"(?<=[a-z])\. ?", what)[0].rstrip("."),
        needs[1] if needs else "",
        measured,
    ]


def _measured(result: dict) -> str:
    said = []
    for name, of in SHOWN.items():
        suite, prompt, measurement = of.split("/")
        cells = result["suites"].get(suite, {"prompts": {}})["prompts"]
        if about := cells.get(prompt, {"measurements": {}})["measurements"].get(measurement):
            low, high = about["interval"]
            said.append(
                f"{name} {about['base']['value']:.1%} → {about['tuned']['value']:.1%} [{low:+.1%}, {high:+.1%}], n {about['n']:,}"
            )
    passed = sum(gate["verdict"] == "PASS" for gate in result["gates"])
    return "; ".join([*said, f"{passed} of {len(result['gates'])} gates pass"])


def page(text: str, table: str) -> str:
    """The page with the table between its two comments. Raises ValueError when they are not there."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(
            f"{PAGE}: the table's place is lost; put the lines {BEGIN} and {END} back, once each"
        )
    return text[: text.index(BEGIN) + len(BEGIN)] + f"\n\n{table}\n\n" + text[text.index(END) :]


def main() -> None:
    PAGE.write_text(
        page(PAGE.read_text(encoding="utf-8"), rendered(all_recipes())), encoding="utf-8"
    )
    print(f"wrote the table of {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
