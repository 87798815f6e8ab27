"""Rows on disk → an index of their lengths → bins of rows → the batches the Trainer sees.

A dataset's items are bins: lists of rows that together have at most `sequence_len` tokens, images included. So shuffling, resuming,
gradient accumulation and data-parallel sharding stay the Trainer's own. A bin goes through the model as one sequence without an
attention mask, its position_ids restarting at 0 for each row: attention then keeps the rows apart, and no token is padding.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from common import rows
from training.render import IGNORE, Encoded, Renderer, RenderError

WINDOW = 4096  # rows among which a bin is filled: wide enough to leave no gaps, narrow enough to stay a random order


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


def data_sha256(folder: Path) -> str:
    """The identity of a built dataset: the hash over its files, from its manifest. Raises rows.RowError when it was never built."""
    try:
        return json.loads((folder / "manifest.json").read_text())["data_sha256"]
    except (FileNotFoundError, KeyError, json.JSONDecodeError) as error:
        raise rows.RowError(
            f"{folder / 'manifest.json'}: {type(error).__name__}; build the dataset with make data"
        ) from None


def index(path: Path, renderer: Renderer) -> Index:
    """The index of a built dataset's file, computed once and cached beside it, keyed by its content and the renderer.

    Reads one row at a time. Raises rows.RowError or RenderError with file:line for the first row that cannot be trained on.
    """
    stat = path.stat()
    key = f"{data_sha256(path.parent)[:16]}-{stat.st_size}-{stat.st_mtime_ns}-{renderer.key}"
    cache = path.parent / ".cache" / f"{path.stem}.npz"
    if cache.exists():
        with np.load(cache) as saved:
            if str(saved["key"]) == key:
                return Index(path, **{name: saved[name] for name in _ARRAYS})
    columns: dict[str, list] = {name: [] for name in _ARRAYS}
    started = shown = time.monotonic()
    with _pool(stat.st_size, renderer) as map_batches:
        for measured in map_batches(_measure, ((path, batch) for batch in _batches(path))):
            for values in measured:
                for name, value in zip(_ARRAYS, values, strict=True):
                    columns[name].append(value)
            if (now := time.monotonic()) - shown > 5:
                shown, share = now, columns["offsets"][-1] / stat.st_size
                eta = (now - started) * (1 - share) / share
                print(
                    f"  {path.name}: {len(columns['ids']):,} rows measured, {share:.0%}, {eta:.0f} s to go",
                    file=sys.stderr,
                )
    if not columns["ids"]:
        raise rows.RowError(f"{path}: no rows")
    arrays = {name: np.array(values) for name, values in columns.items()}
    cache.parent.mkdir(exist_ok=True)
    aside = cache.with_suffix(f".{os.getpid()}.npz")
    np.savez(aside, key=key, **arrays)
    aside.replace(cache)
    return Index(path, **arrays)


_ARRAYS = ("offsets", "tokens", "trained", "images", "categories", "ids")


def _batches(path: Path, size: int = 2**18):
    """Lists of (line number, byte offset, line) of about `size` bytes each."""
    batch, load = [], 0
    for number, offset, line in rows.lines(path):
        batch.append((number, offset, line))
        load += len(line)
        if load > size:
            yield batch
            batch, load = [], 0
    if batch:
        yield batch


def _measure(task: tuple[Path, list[tuple[int, int, bytes]]]) -> list[tuple]:
    """The values of _ARRAYS for each row of a batch. Raises RowError or RenderError with file:line."""
    path, batch = task
    measured = []
    for number, offset, line in batch:
        try:
            row = rows.parse(line)
            encoded = _renderer.encode(row, path.parent)
        except (rows.RowError, RenderError) as error:
            raise type(error)(f"{path}:{number}: {error}") from None
        trained = int((encoded.labels != IGNORE).sum())
        measured.append(
            (
                offset,
                len(encoded.input_ids),
                trained,
                len(encoded.images),
                row["category"],
                row["id"],
            )
        )
    return measured


@contextlib.contextmanager
def _pool(size: int, renderer: Renderer):
    """An ordered map over all cores for a file of `size` bytes; the plain map where starting processes would cost more."""
    if size < 2**22 or os.cpu_count() == 1:
        _use(renderer)
        yield map
    else:
        # Forked, so that the renderer is inherited: pickling a vocabulary for every batch would cost more than the work.
        with multiprocessing.get_context("fork").Pool(
            initializer=_use, initargs=(renderer,)
        ) as pool:
            yield pool.imap


def _use(renderer: Renderer) -> None:
    global _renderer
    _renderer = renderer


def select(
    found: Index, categories: Sequence[str] | None, sequence_len: int
) -> tuple[np.ndarray, np.ndarray]:
    """(kept, dropped): numbers of the rows of those categories, by whether they fit `sequence_len`.

    Raises rows.RowError for a category that no row has, and when nothing is left.
    """
    wanted = np.ones(len(found), bool)
    if categories is not None:
        have = Counter(found.categories.tolist())
        if missing := [c for c in categories if c not in have]:
            raise rows.RowError(
                f"{found.path}: no row of category {missing[0]!r}; it has {', '.join(sorted(have))}"
            )
        wanted = np.isin(found.categories, list(categories))
    fits = found.tokens <= sequence_len
    kept, dropped = np.flatnonzero(wanted & fits), np.flatnonzero(wanted & ~fits)
    if not len(kept):
        raise rows.RowError(f"{found.path}: every row is longer than sequence_len {sequence_len}")
    return kept, dropped


def plan(
    lengths: np.ndarray, capacity: int, seed: int, epoch: int, multiple: int = 1, at_least: int = 0
) -> list[list[int]]:
    """Bins of positions in `lengths`, each with at most `capacity` tokens, in an order drawn from (seed, epoch).

    Best fit, decreasing, within windows of WINDOW shuffled rows. The number of bins is a multiple of `multiple` (ranks times
    micro-batch) and not under `at_least`; it is raised to that by splitting the fullest bins, so that no rank repeats a row.
    Raises ValueError when there are fewer rows than `multiple`.
    """
    if len(lengths) < max(multiple, at_least, 1):
        raise ValueError(
            f"{len(lengths)} rows cannot fill {max(multiple, at_least, 1)} bins; lower the ranks or micro_batch_size"
        )
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    bins: list[list[int]] = []
    for start in range(0, len(order), WINDOW):
        window = order[start : start + WINDOW]
        room: list[tuple[int, int]] = []  # (tokens left, bin), sorted
        for row in window[np.argsort(-lengths[window], kind="stable")].tolist():
            length = int(lengths[row])
            at = bisect.bisect_left(room, (length, -1))
            if at == len(room):
                left, number = capacity, len(bins)
                bins.append([])
            else:
                left, number = room.pop(at)
            bins[number].append(row)
            bisect.insort(room, (left - length, number))
    target = max(-(-len(bins) // multiple) * multiple, at_least)
    while len(bins) < target:
        fullest = max((b for b in bins if len(b) > 1), key=len)
        half = len(fullest) // 2
        bins.append(fullest[half:])
        del fullest[half:]
    return [bins[i] for i in random.permutation(len(bins))]


class Bins(Dataset):
    """A dataset of bins. Item i is the list of encoded rows of bin i, their images decoded, of the epoch set last.

    The bins are planned anew each epoch from the seed; their number is the same in every epoch, as the Trainer's schedule needs.
    With `pack` off, every row is a bin of its own.
    """

    column_names = None  # Axolotl's trainer asks; there are no columns to drop

    def __init__(self, found: Index, chosen: np.ndarray, renderer: Renderer, image_processor, *, capacity: int, seed: int = 0,
                 epochs: int = 1, multiple: int = 1, pack: bool = True, shuffle: bool = True):  # fmt: skip
        self.index, self.chosen, self.renderer, self.image_processor = (
            found,
            chosen,
            renderer,
            image_processor,
        )
        self._capacity, self._seed, self._multiple, self._pack, self._shuffle = (
            capacity,
            seed,
            multiple,
            pack,
            shuffle,
        )
        self._file = None
        if pack and shuffle:
            counts = [
                len(plan(self.lengths, capacity, seed, epoch, multiple))
                for epoch in range(max(epochs, 1))
            ]
            self._bins_an_epoch = max(counts)
        else:
            self._bins_an_epoch = 0
        self.set_epoch(0)

    @property
    def lengths(self) -> np.ndarray:
        return self.index.tokens[self.chosen]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        if not self._pack:
            self.bins = [[i] for i in range(len(self.chosen))]
        else:
            self.bins = plan(
                self.lengths, self._capacity, self._seed, epoch, self._multiple, self._bins_an_epoch
            )
        if not self._shuffle:
            self.bins.sort(key=min)

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, number: int) -> list[dict]:
        return [self._row(int(self.chosen[position])) for position in self.bins[number]]

    def __getstate__(self):
        return {**self.__dict__, "_file": None}  # a worker opens the file for itself

    def _row(self, number: int) -> dict:
        if self._file is None or self._file[0] != os.getpid():
            self._file = (os.getpid(), self.index.path.open("rb"))
        file = self._file[1]
        file.seek(int(self.index.offsets[number]))
        row = json.loads(file.readline())
        encoded = self.renderer.encode(row, self.index.path.parent)
        pixels = [self.pixels(image) for image in encoded.images]
        return {"encoded": encoded, "pixels": pixels, "category": row["category"], "id": row["id"]}

    def pixels(self, image: rows.Image) -> torch.Tensor:
        """The image as the vision tower reads it, float32 of shape (3, height, width)."""
        with Image.open(image.path) as picture:
            return self.image_processor(picture.convert("RGB"), return_tensors="pt")[
                "pixel_values"
            ][0]


class Collator:
    """Joins bins into one sequence for the model: no padding, no attention mask.

    Returns input_ids, labels and position_ids, int64 of shape (1, tokens); with images also pixel_values, float32 of shape
    (images, 3, height, width) padded to the largest, and image_sizes, int64 of shape (images, 2). Where `with_rows` is set,
    row_index, int64 of shape (1, tokens), numbers the rows, and categories names each one's.
    """

    def __init__(self, tokenizer=None, with_rows: bool = False, **_):
        self.with_rows = with_rows

    def __call__(self, bins: Sequence[list[dict]]) -> dict:
        return collate([row for one in bins for row in one], self.with_rows)


def collate(packed: Sequence[dict], with_rows: bool = False) -> dict:
    encoded: list[Encoded] = [row["encoded"] for row in packed]
    batch = {
        "input_ids": torch.from_numpy(np.concatenate([e.input_ids for e in encoded])).long()[None],
        "labels": torch.from_numpy(np.concatenate([e.labels for e in encoded])).long()[None],
        "position_ids": torch.cat([torch.arange(len(e.input_ids)) for e in encoded])[None],
    }
    pixels = [picture for row in packed for picture in row["pixels"]]
    if pixels:
        sizes = torch.tensor([p.shape[-2:] for p in pixels])
        batch["pixel_values"] = pixels[0].new_zeros(
            len(pixels), 3, *sizes.max(dim=0).values.tolist()
        )
        for target, picture in zip(batch["pixel_values"], pixels, strict=True):
            target[:, : picture.shape[-2], : picture.shape[-1]] = picture
        batch["image_sizes"] = sizes
    if with_rows:
        batch["row_index"] = torch.cat(
            [torch.full((len(e.input_ids),), i) for i, e in enumerate(encoded)]
        )[None]
        batch["categories"] = [row["category"] for row in packed]
    return batch
