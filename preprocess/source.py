"""What a source of rows is: one module with its configuration and its conversations. Nothing else
has to name it.

    class Config(Source):
        kind: Literal["seeds"]
        path: str

    def conversations(config: Config, context: Context) -> Iterator[Conversation | Skip | Note]: ...

A module of preprocess/sources or of preprocess/generators that defines both is found there
(preprocess.sources.modules), and an entry of a mix.yaml with its `kind` uses it. A module whose
rows carry a checkable answer may also define

    def recompute(answer: dict, config: Config, context: Context) -> int | float | str: ...

which computes the value of an answer again from what the row stores; a row for which it differs is
skipped.
"""

import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from common import schema
from common.errors import AetherError
from common.files import shown
from common.schema import Part
from preprocess.rows import Note


class MixError(AetherError):
    """A mix.yaml, or a file it names, that cannot be used."""


class Source(Part):
    """The keys that every entry of a mix's `sources` has. A source's own `Config` adds `kind` and
    what it needs."""

    kind: str
    category: str
    # Files relative to the dataset's folder; of several prompts each conversation draws one. Null
    # is no prompt at all.
    system: str | None | list[str | None]
    # Only the first so many of the conversations.
    limit: int | None = Field(default=None, gt=0)

    # The origins its rows may have; a mix's `caps` name them.
    origins: ClassVar[tuple[str, ...]] = ()
    # Written by people or kept from before: read first, so that a mistake in it shows within
    # seconds.
    written: ClassVar[bool] = False
    # What of it makes no row is named on the terminal, beside being counted.
    names_left_out: ClassVar[bool] = False
    # It calls `Context.contaminated` itself, before it joins problems to conversations.
    compares_itself: ClassVar[bool] = False

    @property
    def public_set(self) -> str | None:
        """The name in common.hub of the public data set it reads, whose origin the manifest
        records."""
        return None


class Generated(Source):
    """A source whose rows a program makes: as many as are asked for, and others that are kept for
    evaluation."""

    count: int = Field(gt=0)
    # Rows for evaluation alone, into heldout.jsonl.
    heldout: int = Field(default=0, ge=0)

    origins = ("procedural",)

    def wanted(self, heldout: bool) -> int:
        """How many conversations to make for evaluation, or else for training."""
        return self.heldout if heldout else self.count


@dataclass(frozen=True)
class Context:
    """What a source may know besides its configuration."""

    seed: int
    folder: Path  # of the dataset; paths of the mix are relative to it
    hub: Path | None  # a folder in the hub's place
    heldout: bool  # rows for evaluation alone are wanted
    # Benchmark.contaminated of preprocess.benchmarks: a note, or Skip, for texts that hold a
    # problem of a benchmark.
    contaminated: Callable[..., Note | None]

    def path(self, name: str) -> Path:
        """A file or folder that the mix names."""
        return self.folder / name

    def files(self, pattern: str) -> list[Path]:
        """The files that the mix names by a path or a glob, as `matching`."""
        return matching(self.folder, pattern)


def matching(folder: Path, pattern: str) -> list[Path]:
    """The files of a path or a glob relative to a folder, sorted by name. Raises MixError where
    there is none.
    """
    names = glob.glob(pattern, root_dir=folder, recursive=True)
    files = sorted(path for path in (folder / name for name in names) if path.is_file())
    if not files:
        raise MixError(f"{shown(folder / pattern)}: no such file")
    return files


def load(path: Path, kind: Any) -> Any:
    """As `common.schema.load`. Raises FileError or MixError."""
    return schema.load(path, kind, MixError)
