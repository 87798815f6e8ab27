"""What a recipe stands on, made where it is not there: its dataset, and a base that is another
recipe's, the merge of one, or the tiny random one.
"""

import sys
from pathlib import Path

from common import runs
from common.bases import Base, BaseError
from common.datasets import own_sha256
from common.facts import RANDOM_BASES
from common.files import ROOT, load_json, shown
from common.recipes import Recipe, RecipeError
from training.supervise import supervise

LIGHT = ROOT / ".venvs" / "light" / "bin" / "python"


def makers_of(base: Base) -> list[list[str]]:
    """The modules, with their words, that make a base which is not there, one after the other;
    none where nothing here does.
    """
    name = base.name.rstrip("/").removeprefix("outputs/")
    if name in RANDOM_BASES:
        return [["training.tiny_base", name]]
    if base.maker is None:
        return []
    made = []
    if not base.is_merge or not runs.is_finished(base.maker.output):
        made.append(["training.run", base.maker.id])
    if base.is_merge:
        made.append(["training.merge", base.maker.id])
    return made


def require_maker(base: Base) -> None:
    """Raise RecipeError where a base is missing and nothing here makes it."""
    if base.missing and not makers_of(base):
        raise RecipeError(base.missing)


def ensure_base(base: Base) -> None:
    """Make a base that is missing. Raises BaseError or RecipeError where nothing here makes it."""
    if not base.missing:
        return
    require_maker(base)
    print(f"{base.missing}; it is made first", flush=True)
    for words in makers_of(base):
        ensure(sys.executable, "-m", *words)


def require_merge(base: Base) -> None:
    """Raise BaseError where a base that names the merge of a run is not that of its adapter."""
    wrong = runs.wrong_merge(base.maker.output) if base.maker and base.is_merge else None
    if base.maker and wrong:
        raise BaseError(
            f"base model {base.name}: not shown to be the merge of {base.maker.id} ({wrong}); "
            f"make merge RECIPE={base.maker.id}, or give BASE=<folder>"
        )


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
    for said in outdated(folder):
        print(f"note: {said}", flush=True)
    return folder


def outdated(folder: Path) -> list[str]:
    """What to say of a built dataset whose own files are others now; nothing where they are not."""
    built_from = load_json(folder / "manifest.json").get("own_sha256")
    if built_from in (None, own_sha256(folder.parent)):
        return []
    return [
        f"{shown(folder)} was built before {shown(folder.parent)} was changed; "
        f"make data DATASET={folder.parent.name} builds it anew"
    ]


def data_of(recipe: Recipe) -> Path:
    """The folder of a recipe's rows, built or not."""
    return ROOT / recipe.data["rows"]["path"]


def ensure(*words: str) -> None:
    """Run a command. A failure has said itself what is wrong: only its exit code is passed on."""
    print(f"$ {' '.join(words).replace(f'{sys.executable} ', 'python ')}", flush=True)
    code = supervise(list(words))
    if code:
        sys.exit(code)
