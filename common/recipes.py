"""Recipes: finding them by what a person types, and reading them."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.errors import AetherError, did_you_mean
from common.files import ROOT, load_yaml, read_text, shown


class RecipeError(AetherError):
    """A recipe that cannot be found or must not be run."""


@dataclass(frozen=True)
class Recipe:
    """One version of a recipe: a YAML file, complete in itself."""

    path: Path

    @cached_property
    def id(self) -> str:
        """`<name>/v<N>`: the path below recipes/, without its suffix."""
        return f"{self.path.parent.name}/{self.path.stem}"

    @cached_property
    def text(self) -> str:
        """Raises FileError where the file is not UTF-8."""
        return read_text(self.path)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @cached_property
    def data(self) -> dict:
        """What the YAML holds. Raises FileError or RecipeError."""
        data = load_yaml(self.path)
        if data is None:
            raise RecipeError(f"{shown(self.path)}: an empty file; copy another recipe's text")
        if not isinstance(data, dict):
            raise RecipeError(
                f"{shown(self.path)}: a {type(data).__name__} where a mapping is wanted"
            )
        return data

    @property
    def pairs(self) -> bool:
        """Whether it trains on pairs of replies, not on rows."""
        return bool(self.data.get("preference"))

    @property
    def output(self) -> Path:
        """The folder of its run: outputs/<name>/v<N>."""
        return ROOT / "outputs" / self.id

    @property
    def result(self) -> Path:
        """Where `make eval` records what was measured; once it is there the recipe is frozen."""
        return self.path.with_suffix(".result.json")


def version_of(name: str) -> int | None:
    """N of `v<N>`; None for any other name, such as `v1_old`."""
    found = re.fullmatch(r"v([1-9]\d*)", name)
    return int(found[1]) if found else None


def all_recipes(root: Path = ROOT) -> list[Recipe]:
    """Every recipe of the repository, versions of one name in their order. Files of other names are
    none of ours.
    """
    paths = [path for path in root.glob("recipes/*/v*.yaml") if version_of(path.stem)]
    paths.sort(key=lambda path: (path.parent.name, version_of(path.stem)))
    return [Recipe(path) for path in paths]


def find(name: str, root: Path = ROOT) -> Recipe:
    """The recipe of `name`, `name/v2` or a path to a YAML file; a bare name is its newest version.
    Raises RecipeError.
    """
    known = all_recipes(root)
    ids = [recipe.id for recipe in known]
    if not name:
        raise RecipeError(f"no recipe given; RECIPE= one of: {', '.join(ids)}")
    if name.endswith((".yaml", ".yml")):
        path = Path(name).resolve()
        if path.is_file():
            return Recipe(path)
    matching = [recipe for recipe in known if name in (recipe.id, recipe.path.parent.name)]
    if matching:
        return matching[-1]
    names = [recipe.path.parent.name for recipe in known]
    hint = did_you_mean(name, ids + names) or "."
    raise RecipeError(f"no recipe {name!r}{hint} There are: {', '.join(ids)}")
