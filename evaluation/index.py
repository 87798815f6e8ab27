"""The table in recipes/README.md, from the recipes' headers and result files.

python -m evaluation.index

Needs PyYAML and the standard library. A test compares what is rendered with what stands there.
"""

import re
import sys

from common.errors import AetherError, command
from common.files import ROOT, load_json, read_text, shown, write_text
from common.markdown import table
from common.options import parser_of
from common.recipes import Recipe, all_recipes

PAGE = ROOT / "recipes" / "README.md"
BEGIN = "<!-- rendered by python -m evaluation.index -->"
END = "<!-- end of what is rendered -->"
HEADS = ("recipe", "what it is", "needs", "base → tuned, 95 % interval of the difference")
SHOWN = {  # what of a result stands in the table
    "signature phrase": "voice/persona/signature_phrase",
    "gsm_hard": "gsm_hard/persona/correct",
    "math": "math/persona/correct",
    "diagrams": "diagrams/persona/correct",
    "pictures": "pictures/none/correct",
}


class PageError(AetherError):
    """A page whose table has lost its place."""


def rendered(recipes: list[Recipe]) -> str:
    """The table of recipes, in Markdown."""
    return table(HEADS, map(_line, recipes))


def _line(recipe: Recipe) -> list[str]:
    found = re.match(r"(?:#.*\n)+", recipe.text)
    header = [line.removeprefix("#").strip() for line in (found[0] if found else "").splitlines()]
    first = header.index("") if "" in header else len(header)
    what = " ".join(header[:first]).removeprefix(f"{recipe.id}: ")
    needs = re.search(r"Needs: (.*?)(?:[;.]|$)", " ".join(header))
    measured = "not measured"
    if recipe.result.exists():
        measured = _measured(load_json(recipe.result))
    return [
        f"[{recipe.id}]({recipe.id}.yaml)",
        re.split(r"(?<=[a-z])\. ?", what)[0].rstrip("."),
        needs[1] if needs else "",
        measured,
    ]


def _measured(result: dict) -> str:
    """The shares that a result has, and how many of its gates pass."""
    parts = []
    for name, of in SHOWN.items():
        suite, prompt, measurement = of.split("/")
        cell = result["suites"].get(suite, {"prompts": {}})["prompts"].get(prompt)
        about = cell["measurements"].get(measurement) if cell else None
        if about:
            low, high = about["interval"]
            values = f"{about['base']['value']:.1%} → {about['tuned']['value']:.1%}"
            parts.append(f"{name} {values} [{low:+.1%}, {high:+.1%}], n {about['n']:,}")
    passed = sum(gate["verdict"] == "PASS" for gate in result["gates"])
    return "; ".join([*parts, f"{passed} of {len(result['gates'])} gates pass"])


def page(text: str, table: str) -> str:
    """The page with the table between its two comments. Raises PageError where they are gone."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise PageError(
            f"{shown(PAGE)}: the table's place is lost; "
            f"put the lines {BEGIN} and {END} back, once each"
        )
    before = text[: text.index(BEGIN) + len(BEGIN)]
    return f"{before}\n\n{table}\n\n{text[text.index(END) :]}"


def main() -> None:
    parser_of(__doc__).parse_args()
    write()


def write() -> None:
    """Render the table anew."""
    write_text(PAGE, page(read_text(PAGE), rendered(all_recipes())))
    print(f"wrote the table of {shown(PAGE)}")


if __name__ == "__main__":
    sys.exit(command(main))
