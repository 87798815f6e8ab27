"""Nothing of the hub floats: python -m training.pins   (make pin; needs a network)

Writes the newest revision of each hub base into the recipes that stand on it and are not frozen
(`revision_of_model`), and those of the public data sets into hub.lock. What it writes is to be
committed. A recipe with a result stays as it is.
"""

import re
import sys
from collections.abc import Callable

from common.bases import is_hub_id
from common.errors import AetherError, command
from common.files import shown, write_json, write_text
from common.hub import LOCK, SETS
from common.options import parser_of
from common.recipes import Recipe, all_recipes


def pinned(text: str, revision: str) -> str:
    """A recipe's text with its base's revision: in the place of the one it names, else below
    base_model.
    """
    line = f"revision_of_model: {revision}"
    if re.search(r"(?m)^revision_of_model:", text):
        return re.sub(r"(?m)^revision_of_model:[^\n#]*?(?=\s*(#|$))", line, text, count=1)
    return re.sub(r"(?m)^(base_model:.*)$", rf"\1\n{line}", text, count=1)


def pin_recipes(recipes: list[Recipe], newest: Callable[[str], str]) -> list[str]:
    """Write the newest revisions into the recipes on hub bases that are not frozen; what was done,
    a line each.
    """
    revisions: dict[str, str] = {}
    lines = []
    for recipe in recipes:
        name = str(recipe.data.get("base_model", ""))
        if not is_hub_id(name):
            continue
        if recipe.result.exists():
            lines.append(
                f"{recipe.id}: measured, so it stays at {recipe.data.get('revision_of_model')}"
            )
            continue
        if name not in revisions:
            revisions[name] = newest(name)
        write_text(recipe.path, pinned(recipe.text, revisions[name]))
        lines.append(f"{recipe.id}: {name}@{revisions[name]}")
    return lines


def main() -> None:
    parser_of(__doc__).parse_args()
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    try:
        # Everything is asked before anything is written.
        names = [about.repository for about in SETS.values()]
        sets = {name: hub.dataset_info(name).sha for name in names}
        recipes = [recipe for recipe in all_recipes() if is_hub_id(recipe.data["base_model"])]
        models = {
            name: hub.model_info(name).sha
            for name in sorted({recipe.data["base_model"] for recipe in recipes})
        }
    except (HfHubHTTPError, HTTPError, OSError) as error:
        raise AetherError(f"the hub cannot be reached, nothing was written: {error}") from None
    write_json(LOCK, {"datasets": sets})
    for name, revision in sets.items():
        print(f"{shown(LOCK)}: {name}@{revision}")
    for line in pin_recipes(recipes, models.__getitem__):
        print(line)
    print("commit what has changed: a recipe on a hub base is refused without its pin")


if __name__ == "__main__":
    sys.exit(command(main))
