"""The lengths of a built dataset's rows, measured once and kept beside it, and which of the rows a
recipe trains on.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from common import rows
from common.files import json_if_there
from training.render import IGNORE, Renderer, RenderError

BATCH_BYTES = 2**18  # lines that a process measures at a time
ALONE_BYTES = 2**22  # a file under this is measured sooner than processes start


@dataclass(frozen=True)
class Index:
    """What is known of each row of a file without reading it again; arrays of shape (rows,)."""

    path: Path
    offsets: np.ndarray  # bytes
    tokens: np.ndarray
    trained: np.ndarray  # tokens that carry loss
    images: np.ndarray
    categories: np.ndarray  # of str
    ids: np.ndarray  # of str

    def __len__(self) -> int:
        return len(self.offsets)


COLUMNS = ("offsets", "tokens", "trained", "images", "categories", "ids")


def data_sha256(folder: Path) -> str:
    """The identity of a built dataset: the hash over its files, from its manifest. Raises RowError
    when it was never built.
    """
    path = folder / "manifest.json"
    manifest = json_if_there(path)
    if "data_sha256" not in manifest:
        raise rows.RowError(f"{path}: not a built dataset; build it with make data")
    return manifest["data_sha256"]


def index(path: Path, renderer: Renderer, pairs: bool = False) -> Index:
    """The index of a built dataset's file, computed once and cached beside it, keyed by its content
    and the renderer. With `pairs`, each row is a pair and counts with both its sides.

    Reads one row at a time. Raises RowError or RenderError with file:line for the first row that
    cannot be trained on.
    """
    if pairs and not path.exists():
        raise rows.RowError(f"{path}: the dataset has no pairs; name some in its mix.yaml (pairs:)")
    stat = path.stat()
    key = f"{data_sha256(path.parent)[:16]}-{stat.st_size}-{stat.st_mtime_ns}-{renderer.key}"
    cache = path.parent / ".cache" / f"{path.stem}.npz"
    if cache.exists():
        with np.load(cache) as saved:
            if str(saved["key"]) == key:
                return Index(path, **{name: saved[name] for name in COLUMNS})
    measured = measure(path, renderer, pairs)
    arrays = {name: np.array(values) for name, values in zip(COLUMNS, measured, strict=True)}
    try:
        _keep(cache, key, arrays)
    except OSError as error:  # a dataset's folder may be read-only
        print(f"note: {cache.parent} cannot be written ({error.strerror})", file=sys.stderr)
    return Index(path, **arrays)


def _keep(cache: Path, key: str, arrays: dict[str, np.ndarray]) -> None:
    cache.parent.mkdir(exist_ok=True)
    aside = cache.with_suffix(f".{os.getpid()}.npz")
    np.savez(aside, allow_pickle=False, **{"key": np.array(key), **arrays})
    aside.replace(cache)


def measure(path: Path, renderer: Renderer, pairs: bool = False) -> list[tuple]:
    """The values of COLUMNS over all rows of a file, by all cores where it is large; long work says
    how far it is.
    """
    size = path.stat().st_size
    batches = _Batches(path, renderer, pairs)
    processes = 0 if size < ALONE_BYTES else os.cpu_count() or 1
    # Forked processes inherit the renderer: to pickle a vocabulary for every batch would cost more
    # than the work.
    context = "fork" if processes else None
    loader = DataLoader(
        batches,
        batch_size=None,
        num_workers=processes,
        collate_fn=_unchanged,
        multiprocessing_context=context,
    )
    measured: list[tuple] = []
    started = time.monotonic()
    shown = started
    for batch in loader:
        if isinstance(batch, ValueError):
            raise batch
        measured += batch
        now = time.monotonic()
        if now - shown > 5:
            shown = now
            share = measured[-1][0] / size
            left = (now - started) * (1 - share) / share
            print(
                f"  {path.name}: {len(measured):,} rows measured, {share:.0%}, {left:.0f} s to go",
                file=sys.stderr,
            )
    if not measured:
        raise rows.RowError(f"{path}: no rows")
    return list(zip(*measured, strict=True))


def _unchanged(batch: object) -> object:
    return batch


class _Batches(Dataset):
    """A file in runs of about BATCH_BYTES; item i is run i, measured, or the error of its first bad
    row.
    """

    def __init__(self, path: Path, renderer: Renderer, pairs: bool):
        self.path = path
        self.renderer = renderer
        self.pairs = pairs
        self.runs: list[
            list[tuple[int, int, int]]
        ] = []  # (line number, byte offset, bytes) of each line
        load = BATCH_BYTES
        for number, offset, line in rows.lines(path):
            if load >= BATCH_BYTES:
                self.runs.append([])
                load = 0
            self.runs[-1].append((number, offset, len(line)))
            load += len(line)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, number: int) -> list[tuple] | ValueError:
        measured = []
        with self.path.open("rb") as file:
            file.seek(self.runs[number][0][1])
            for line_number, offset, size in self.runs[number]:
                try:
                    measured.append((offset, *self._row(file.read(size))))
                except (rows.RowError, RenderError) as error:
                    return type(error)(f"{self.path}:{line_number}: {error}")
        return measured

    def _row(self, line: bytes) -> tuple:
        row = rows.parse(line)
        if self.pairs and "rejected" not in row:
            raise rows.RowError("rejected: missing; a recipe with `preference:` reads pairs")
        if "rejected" in row and not self.pairs:
            raise rows.RowError("rejected: only a recipe with `preference:` reads pairs; remove it")
        encoded = [self.renderer.encode(side, self.path.parent) for side in rows.sides(row)]
        tokens = sum(len(side.input_ids) for side in encoded)
        trained = sum(int((side.labels != IGNORE).sum()) for side in encoded)
        images = sum(len(side.images) for side in encoded)
        return tokens, trained, images, row["category"], row["id"]


def select(
    found: Index, categories: Sequence[str] | None, sequence_len: int
) -> tuple[np.ndarray, np.ndarray]:
    """(kept, dropped): numbers of the rows of those categories, by whether they fit `sequence_len`.

    Raises RowError for a category that no row has, and when nothing is left.
    """
    wanted = np.ones(len(found), bool)
    if categories is not None:
        have = Counter(found.categories.tolist())
        missing = [category for category in categories if category not in have]
        if missing:
            listed = ", ".join(sorted(have))
            raise rows.RowError(f"{found.path}: no row of category {missing[0]!r}; it has {listed}")
        wanted = np.isin(found.categories, list(categories))
    fits = found.tokens <= sequence_len
    kept = np.flatnonzero(wanted & fits)
    dropped = np.flatnonzero(wanted & ~fits)
    if not len(kept):
        raise rows.RowError(f"{found.path}: every row is longer than sequence_len {sequence_len}")
    return kept, dropped
