"""What a recipe stands on, made where it is not there: its dataset, and a base that is another
recipe's or the tiny random one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common.bases import Base
from common.facts import RANDOM_BASES
from common.files import ROOT, shown
from common.recipes import Recipe, RecipeError
from training.supervise import supervise

LIGHT = ROOT / ".venvs" / "light" / "bin" / "python"


def maker_of(base: Base) -> list[str] | None:
    """The module, with its words, that makes a base which is not there; None where nothing here
    does.
    """
    name = base.name.rstrip("/").removeprefix("outputs/")
    if name in RANDOM_BASES:
        return ["training.tiny_base", name]
    if base.maker is not None:
        return ["training.run", base.maker.id]
    return None


def ensure_base(base: Base) -> None:
    """Make a base that is missing. Raises BaseError or RecipeError where nothing here makes it."""
    if not base.missing:
        return
    words = maker_of(base)
    if words is None:
        raise RecipeError(base.missing)
    ensure(sys.executable, "-m", *words)


def ensure_data(recipe: Recipe) -> Path:
    """The recipe's dataset folder, built first where it is not there. Raises RecipeError."""
    folder = data_of(recipe)
    if not (folder / "manifest.json").exists():
        name = folder.parent.name
        if not (folder.parent / "mix.yaml").exists():
            raise RecipeError(
                f"{shown(recipe.path)}: rows.path: no built dataset in {shown(folder)}, and no "
                "mix.yaml beside it to build it from"
            )
        if LIGHT.exists():
            ensure(str(LIGHT), "-m", "preprocess", name)
        else:
            ensure("make", "data", f"DATASET={name}")
    return folder


def data_of(recipe: Recipe) -> Path:
    """The folder of a recipe's rows, built or not."""
    return ROOT / recipe.data["rows"]["path"]


def ensure(*words: str) -> None:
    """Run a command. A failure has said itself what is wrong: only its exit code is passed on."""
    print(f"$ {' '.join(words).replace(f'{sys.executable} ', 'python ')}", flush=True)
    code = supervise(list(words))
    if code:
        sys.exit(code)
