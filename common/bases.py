"""Base models: what a recipe or BASE= names, where its files lie, what is missing, and what it is
by its content.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from common.files import ROOT, load_json, sha256_of, shown
from common.recipes import Recipe, RecipeError

MERGED = "/merged"  # the folder of a run with the adapter merged into its base
REVISION = re.compile(r"[0-9a-f]{40}")
# What makes up a model folder, by part. A file that is in none of them changes nothing that a
# training or a server reads.
PARTS = {
    "weights": ("*.safetensors", "*.safetensors.index.json"),
    "config": ("config.json", "generation_config.json"),
    "tokenizer": (
        "tokenizer*.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "tokenizer.model*",
        "tekken.json",
    ),
    "processor": ("processor_config.json", "preprocessor_config.json"),
    "template": ("chat_template*",),
}


def files_of(folder: Path) -> list[Path]:
    """The files of a folder that make up a model, each once."""
    found = {path for part in PARTS.values() for name in part for path in folder.glob(name)}
    return sorted(found)


class BaseError(RecipeError):
    """A base model that is not there, not whole or not pinned."""


@dataclass(frozen=True)
class Base:
    """A base model that can be named; whether its files are there is told by `missing`."""

    name: str  # as the recipe or BASE= names it
    folder: Path | None  # where its files lie; None for a model of the hub
    revision: str | None  # 40 hex digits; None for a folder
    maker: Recipe | None = None  # the recipe whose training, or whose merge, writes the folder

    @property
    def is_merge(self) -> bool:
        """Whether it is what `make merge` writes for its maker."""
        return self.maker is not None and bool(self.maker.data.get("adapter"))

    @property
    def missing(self) -> str | None:
        """What keeps a folder from being read as a model, in a sentence.

        A hub model is asked for only by `local`.
        """
        if self.folder is None:
            return None
        return _missing(self.folder, self.name)

    def local(self, *patterns: str) -> Path:
        """The folder with the model's files, or those that match `patterns`; downloaded where it is
        a hub's.

        Raises BaseError when files are missing or the hub cannot be reached.
        """
        if self.folder is not None:
            if self.missing:
                raise BaseError(self.missing)
            return self.folder
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        wanted = list(patterns) or [pattern for part in PARTS.values() for pattern in part]
        try:
            return Path(snapshot_download(self.name, revision=self.revision, allow_patterns=wanted))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            raise BaseError(
                f"{self} cannot be reached ({type(error).__name__}); mend the network, or give "
                "BASE=<local folder>"
            ) from None

    def __str__(self) -> str:
        return f"{self.name}@{self.revision[:12]}" if self.revision else f"{self.name} (local)"


def is_hub_id(name: str) -> bool:
    """Whether a base_model names a hub repository: `owner/name`, not a folder under outputs/."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name)) and not name.startswith("outputs/")


def base_of(recipe: Recipe, override: str | None = None, root: Path = ROOT) -> Base:
    """The base model of a recipe, or the folder `override` (BASE=) in its place.

    Raises BaseError for a hub model without `revision_of_model`. A folder may be missing yet.
    """
    if override:
        return _local(override, root)
    name = str(recipe.data.get("base_model") or "")
    if not is_hub_id(name):
        return _local(name, root)
    revision = str(recipe.data.get("revision_of_model") or "")
    if not REVISION.fullmatch(revision):
        raise BaseError(
            f"{shown(recipe.path)}: revision_of_model: {revision or 'missing'}: the base {name} is "
            "of the hub and must "
            "be pinned by its 40 hex digits; run make pin, or give BASE=<local folder>"
        )
    return Base(name, None, revision)


def _local(name: str, root: Path) -> Base:
    folder = root / Path(name).expanduser()
    made = name.rstrip("/").removeprefix("outputs/")
    path = root / "recipes" / f"{made.removesuffix(MERGED)}.yaml"
    maker = Recipe(path) if name.startswith("outputs/") and path.is_file() else None
    if maker and bool(maker.data.get("adapter")) != made.endswith(MERGED):
        maker = None  # an adapter is no base, and a whole model is not merged
    return Base(name, folder, None, maker)


def _missing(folder: Path, name: str) -> str | None:
    if not folder.is_dir():
        return f"base model {name}: no such folder"
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            return f"base model {name}: an adapter, not a model; merge it and give {name}/merged"
        return f"base model {name}: no config.json in the folder"
    record = folder / "run.json"
    if record.exists() and load_json(record).get("status") != "finished":
        # config.json is there from the first step on.
        return f"base model {name}: its training is not finished"
    index = folder / "model.safetensors.index.json"
    wanted = {"model.safetensors"}
    if index.exists():
        wanted = set(load_json(index).get("weight_map", {}).values())
    absent = sorted(file for file in wanted if not (folder / file).is_file())
    if absent:
        return f"base model {name}: {absent[0]} is missing; weights are read from safetensors alone"
    return None


def part_hashes(folder: Path) -> dict[str, str | None]:
    """SHA-256 over the files of each of PARTS; None for a part without files.

    The 29.7 GB of a real base are read once, at the speed of the disk.
    """
    return {part: _hash(folder, patterns) for part, patterns in PARTS.items()}


def _hash(folder: Path, patterns: tuple[str, ...]) -> str | None:
    names = sorted({path.name for pattern in patterns for path in folder.glob(pattern)})
    if not names:
        return None
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + bytes.fromhex(sha256_of(folder / name)))
    return digest.hexdigest()


def model_hash(folder: Path) -> str:
    """One hash of what a local model is: weights, config, tokenizer, processor and template."""
    return hashlib.sha256(repr(sorted(part_hashes(folder).items())).encode()).hexdigest()
