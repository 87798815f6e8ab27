"""The folder of a dataset: what a person wrote there, as against what was made of it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from common.files import sha256_of

MADE = ("build", "heldout", ".build", ".heldout", ".teacher", "README.md")


def own_files(folder: Path) -> Iterator[Path]:
    """The files that a build of a dataset reads and does not write, in their order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(MADE):
            yield path


def own_sha256(folder: Path) -> str:
    """A hash over the names and contents of a dataset's own files."""
    digest = hashlib.sha256()
    for path in own_files(folder):
        digest.update(f"{path.relative_to(folder)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
