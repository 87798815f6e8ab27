"""Build a dataset: run its sources, check every row, split by source, write aside, rename.

The same inputs give the same bytes. The manifest is written last; a folder with a manifest is a whole build.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from apriel import facts, rows
from preprocess import mix as mixes
from preprocess.rows import Conversation, Skip, to_rows
from preprocess.sources import pictures, seeds


class BuildError(ValueError):
    """A build that could not be finished; the one before it is untouched."""


def conversations(source, folder: Path, seed: int) -> Iterator[Conversation | Skip]:
    """What a source of the mix yields: conversations, or the reason why an item makes none."""
    path = folder / source.system
    try:
        system = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise mixes.MixError(f"{path}: no such system prompt") from None
    if isinstance(source, mixes.Seeds):
        return seeds.conversations(folder / source.path, source.category, system, source.limit)
    return pictures.conversations(source.count, source.category, system, seed)


class Writer:
    """Writes the two files and the images of a build, and counts what goes in."""

    def __init__(self, folder: Path, val_share: float, seed: int):
        self.folder, self.val_share, self.seed = folder, val_share, seed
        (folder / "images").mkdir(parents=True)
        self._files = {split: (folder / f"{split}.jsonl").open("w", encoding="utf-8") for split in ("train", "val")}
        self._tokenizer = Tekkenizer.from_file(pixtral_vocabulary())
        self.counts: Counter[str] = Counter()
        self.lengths: list[int] = []
        self.ids: set[str] = set()

    def image(self, png: bytes) -> str:
        name = f"images/{hashlib.sha256(png).hexdigest()}.png"
        path = self.folder / name
        if not path.exists():
            path.write_bytes(png)
        return name

    def split_of(self, group: str) -> str:
        """train or val, drawn from the group's name: no variation of a source is on both sides, whatever else is in the mix."""
        draw = int.from_bytes(hashlib.sha256(f"{self.seed} {group}".encode()).digest()[:8]) / 2**64
        return "val" if draw < self.val_share else "train"

    def write(self, conversation: Conversation) -> None:
        """Raises Skip, or BuildError for an id that was written before."""
        split = self.split_of(conversation.group or conversation.id)
        for row in to_rows(conversation, self.image):
            if row["id"] in self.ids:
                raise BuildError(f"{row['id']}: two rows have this id")
            rows.check(row)
            self.ids.add(row["id"])
            self._files[split].write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
            self.lengths.append(self.tokens(row))
            self.counts.update([f"split:{split}", f"category:{row['category']}", f"origin:{row['origin']}"])

    def tokens(self, row: dict) -> int:
        """About how long the row is in Pixtral's vocabulary: its texts and its images, without the turn markers."""
        text = sum(len(self._tokenizer.encode(rows.text_of(message), bos=False, eos=False)) for message in row["messages"])
        return text + sum(facts.image_tokens(i.width, i.height) for i in rows.images(row, self.folder))

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def build(folder: Path) -> str:
    """Build the dataset of `folder` into its build/, and say in one line what was built. Raises MixError or BuildError."""
    mix = mixes.load(folder / "mix.yaml")
    final, aside = folder / "build", folder / f".build-{os.getpid()}"
    for stale in folder.glob(".build-*"):
        shutil.rmtree(stale)
    skipped: Counter[str] = Counter()
    read = 0
    try:
        writer = Writer(aside, mix.val_share, mix.seed)
        for source in mix.sources:
            for item in conversations(source, folder, mix.seed):
                read += 1
                try:
                    if isinstance(item, Skip):
                        raise item
                    writer.write(item)
                except Skip as skip:
                    skipped[f"{source.category}: {skip}"] += 1
        writer.close()
        manifest = _manifest(folder, mix, writer, read, skipped)
        (aside / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        if final.exists():
            final.rename(folder / f".build-old-{os.getpid()}")
        aside.rename(final)
    finally:
        for stale in folder.glob(".build-*"):
            shutil.rmtree(stale)
    splits = ", ".join(f"{name} {count:,}" for name, count in sorted(manifest["rows"].items()))
    return (
        f"{final.relative_to(folder.parents[1])}: {splits} rows, {manifest['images']:,} images, {sum(skipped.values())} skipped"
    )


def _manifest(folder: Path, mix: mixes.Mix, writer: Writer, read: int, skipped: Counter) -> dict:
    def of(prefix: str) -> dict[str, int]:
        return {name.split(":", 1)[1]: n for name, n in sorted(writer.counts.items()) if name.startswith(prefix)}

    files = {}
    for path in sorted(writer.folder.rglob("*")):
        if path.is_file():
            files[str(path.relative_to(writer.folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    edges = [0, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 1 << 31]
    counts, _ = np.histogram(writer.lengths, edges)
    return {
        "dataset": folder.name,
        "data_sha256": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
        "files": files,
        "rows": of("split:"),
        "images": sum(name.startswith("images/") for name in files),
        "read": read,
        "skipped": dict(sorted(skipped.items())),
        "categories": of("category:"),
        "origins": of("origin:"),
        "tokens": {"total": int(sum(writer.lengths)), "under": dict(zip(map(str, edges[1:-1]), counts.tolist(), strict=False))},
        "seed": mix.seed,
        "val_share": mix.val_share,
        "licence": mix.licence,
        "mix_sha256": hashlib.sha256((folder / "mix.yaml").read_bytes()).hexdigest(),
        "commit": commit(folder),
    }


def commit(folder: Path) -> str | None:
    """The code's commit, with `-dirty` where the tree differs from it; None outside git."""
    git = ["git", "-C", str(folder)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return None
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True).stdout
    return head.stdout.strip() + ("-dirty" if changed.strip() else "")


def pixtral_vocabulary() -> Path:
    """Pixtral's own vocabulary, which mistral-common carries: lengths in it need no hub."""
    import mistral_common

    return Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
