"""What is served: a recipe's merged model, one of its exports, or its base with adapters hot.

Each is a copy of its folder (serving.served_copy) with the flags of vLLM that it needs.
"""

from pathlib import Path

from common import runs
from common.bases import base_of
from common.files import load_json, shown
from common.recipes import Recipe
from common.servers import Served, ServeError, gguf_of, merged_of
from serving.served_copy import TEMPLATE, served_copy
from serving.settings import FLAGS

Words = tuple[str, ...]

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the largest adapters that vLLM makes room for


def merged_model(recipe: Recipe, persona: str = "", further: Words = ()) -> Served:
    """The merged model, merged first where it is not. Raises RecipeError and CopyError.

    `further`: more flags of its server. The same holds for the others below.
    """
    folder = Path(merged_of(recipe).where)
    return _copied(recipe, folder, "merged", recipe.id, persona, further)


def base_model(recipe: Recipe, persona: str = "", further: Words = ()) -> Served:
    """The base that a recipe was trained from. Raises BaseError and CopyError."""
    base = base_of(recipe)
    return _copied(recipe, base.local(), "base", base.name, persona, further)


def exported_model(recipe: Recipe, form: str, persona: str = "", further: Words = ()) -> Served:
    """An export: vLLM's formats as the merged model, GGUF with its projector for llama.cpp.

    Raises ServeError with the exports that are there.
    """
    folder = recipe.output / "export" / form
    if not (folder / "export.json").is_file():
        there = sorted(path.parent.name for path in folder.parent.glob("*/export.json"))
        have = f"there are {', '.join(there)}" if there else "none is there"
        raise ServeError(
            f"{shown(folder)}: no such export, {have}; run make export RECIPE={recipe.id} FORMAT="
        )
    id_ = f"{recipe.id}/{form}"
    if not gguf_of(folder):
        return _copied(recipe, folder, form, id_, persona, further)
    copy = served_copy(Path(merged_of(recipe).where), recipe.output / "served" / form, persona)
    flags = ("--jinja", "--chat-template-file", str(copy / TEMPLATE))
    return Served(str(folder), id=id_, flags=(*flags, *further))


def adapted_model(recipes: list[Recipe], persona: str = "", further: Words = ()) -> Served:
    """The base of some recipes with the adapter of each under its id, for vLLM alone.

    Raises ServeError where they stand on different bases or one has no adapter, RunError where one
    is not trained.
    """
    modules = []
    ranks = []
    for recipe in recipes:
        if not recipe.data.get("adapter"):
            raise ServeError(
                f"{recipe.id} was trained whole: there is no adapter to serve hot; "
                f"make serve RECIPE={recipe.id} serves it alone"
            )
        runs.finished(recipe)
        config = load_json(recipe.output / "adapter_config.json")
        modules.append(f"{recipe.id}={recipe.output}")
        ranks.append(config["r"])
    _require_one_base(recipes)
    rank = min((size for size in RANKS if size >= max(ranks)), default=max(ranks))
    flags = ("--enable-lora", "--max-lora-rank", str(rank), "--max-loras", str(len(recipes)))
    return base_model(recipes[0], persona, (*flags, "--lora-modules", *modules, *further))


def _require_one_base(recipes: list[Recipe]) -> None:
    bases = {str(base_of(recipe)): recipe.id for recipe in recipes}
    if len(bases) > 1:
        told = ", ".join(f"{id_} on {base}" for base, id_ in bases.items())
        raise ServeError(f"adapters of one server need one base, and these have: {told}")


def _copied(
    recipe: Recipe, folder: Path, what: str, id_: str, persona: str, further: Words
) -> Served:
    copy = served_copy(folder, recipe.output / "served" / what, persona)
    return Served(str(copy), id=id_, flags=(*FLAGS, *further))
