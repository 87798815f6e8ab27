"""Recipes and what identifies a run: finding a recipe by what a person types, hashes of files, the state of the repository."""

from __future__ import annotations

import difflib
import hashlib
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class RecipeError(ValueError):
    """A recipe that cannot be found or must not be run."""


@dataclass(frozen=True)
class Recipe:
    path: Path

    @cached_property
    def id(self) -> str:
        """`<name>/v<N>`: the path below recipes/, without its suffix."""
        return f"{self.path.parent.name}/{self.path.stem}"

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def all_recipes(root: Path = ROOT) -> list[Recipe]:
    def order(path: Path) -> tuple[str, int]:
        return path.parent.name, int(path.stem[1:])

    return [Recipe(path) for path in sorted(root.glob("recipes/*/v[0-9]*.yaml"), key=order)]


def find(name: str, root: Path = ROOT) -> Recipe:
    """The recipe of `name`, `name/v2` or a path to a YAML file; a bare name is its newest version. Raises RecipeError."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name).resolve()
        if path.is_file():
            return Recipe(path)
    ids = [recipe.id for recipe in all_recipes(root)]
    found = [recipe for recipe in all_recipes(root) if name in (recipe.id, recipe.path.parent.name)]
    if not found:
        close = difflib.get_close_matches(name, ids + [i.split("/")[0] for i in ids], 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise RecipeError(f"no recipe {name!r}{hint} There are: {', '.join(ids)}")
    return found[-1]


def git_state(root: Path = ROOT) -> dict:
    """The commit, and whether tracked files differ from it; None outside git."""

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--untracked-files=no")) if commit else None}


def weights_hash(folder: Path) -> str:
    """A hash of a local model's weights and tokenizer. The 29.7 GB of a real base are read once: at the speed of the disk."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer*.json"), *folder.glob("chat_template*")]):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
