"""Bins of rows, and the batches that the Trainer makes of them.

A dataset's items are bins: lists of rows that together have at most `sequence_len` tokens, images
included. So shuffling, resuming, gradient accumulation and data-parallel sharding stay the
Trainer's own. A bin goes through the model as one sequence without an attention mask, its
position_ids restarting at 0 for each row: attention then keeps the rows apart, and no token is
padding.
"""

import bisect
import json
import os
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from common import rows
from training.index import Index
from training.render import Renderer

# Rows among which a bin is filled: wide enough to leave no gaps, narrow enough to stay random.
WINDOW = 4096


def plan(
    lengths: np.ndarray, capacity: int, seed: int, epoch: int, multiple: int = 1, at_least: int = 0
) -> list[list[int]]:
    """Bins of positions in `lengths`, each with at most `capacity` tokens, in an order drawn from
    (seed, epoch).

    Best fit, decreasing, within windows of WINDOW shuffled rows. The number of bins is a multiple
    of `multiple` (ranks times micro-batch) and not under `at_least`; it is raised to that by
    splitting the fullest bins, so that no rank repeats a row. Raises ValueError when there are
    fewer rows than `multiple`.
    """
    fewest = max(multiple, at_least, 1)
    if len(lengths) < fewest:
        raise ValueError(
            f"{len(lengths)} rows cannot fill {fewest} bins; lower the ranks or micro_batch_size"
        )
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    bins: list[list[int]] = []
    for start in range(0, len(order), WINDOW):
        window = order[start : start + WINDOW]
        longest_first = window[np.argsort(-lengths[window], kind="stable")]
        bins += _best_fit(longest_first.tolist(), lengths, capacity)
    target = max(-(-len(bins) // multiple) * multiple, at_least)
    while len(bins) < target:
        fullest = max((rows for rows in bins if len(rows) > 1), key=len)
        half = len(fullest) // 2
        bins.append(fullest[half:])
        del fullest[half:]
    return [bins[number] for number in random.permutation(len(bins))]


def _best_fit(order: list[int], lengths: np.ndarray, capacity: int) -> list[list[int]]:
    """Each row into the bin that it fills most, in the order given."""
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, bin), sorted
    for row in order:
        length = int(lengths[row])
        place = bisect.bisect_left(room, (length, -1))
        if place == len(room):
            left = capacity
            number = len(bins)
            bins.append([])
        else:
            left, number = room.pop(place)
        bins[number].append(row)
        bisect.insort(room, (left - length, number))
    return bins


class Bins(Dataset):
    """A dataset of bins. Item i is the list of encoded rows of bin i, their images decoded, of the
    epoch set last.

    The bins are planned anew each epoch from the seed; their number is the same in every epoch, as
    the Trainer's schedule needs. With `pack` off, every row is a bin of its own.
    """

    column_names = None  # Axolotl's trainer asks; there are no columns to drop

    def __init__(
        self,
        found: Index,
        chosen: np.ndarray,
        renderer: Renderer,
        image_processor,
        *,
        capacity: int,
        seed: int = 0,
        epochs: int = 1,
        multiple: int = 1,
        pack: bool = True,
        shuffle: bool = True,
    ):
        self.index = found
        self.chosen = chosen
        self.renderer = renderer
        self.image_processor = image_processor
        self._capacity = capacity
        self._seed = seed
        self._multiple = multiple
        self._pack = pack
        self._shuffle = shuffle
        self._file: BinaryIO | None = None
        self._reader = 0  # the process that opened it
        self._bins_an_epoch = 0
        if pack and shuffle:
            self._bins_an_epoch = max(len(self._planned(epoch)) for epoch in range(max(epochs, 1)))
        self.set_epoch(0)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the chosen rows, shape (chosen rows,)."""
        return self.index.tokens[self.chosen]

    def _planned(self, epoch: int) -> list[list[int]]:
        return plan(
            self.lengths, self._capacity, self._seed, epoch, self._multiple, self._bins_an_epoch
        )

    def set_epoch(self, epoch: int) -> None:
        """Plan the bins of an epoch; evaluation keeps the file's order."""
        self.epoch = epoch
        if self._pack:
            self.bins = self._planned(epoch)
        else:
            self.bins = [[position] for position in range(len(self.chosen))]
        if not self._shuffle:
            self.bins.sort(key=min)

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, number: int) -> list[dict]:
        numbers = [int(self.chosen[position]) for position in self.bins[number]]
        return [encoded for row in numbers for encoded in self._encoded(row)]

    def __getstate__(self):
        return {**self.__dict__, "_file": None}  # a worker opens the file for itself

    def _encoded(self, number: int) -> list[dict]:
        """A row, or both sides of a pair, chosen before rejected: a bin never parts them."""
        if self._file is None or self._reader != os.getpid():
            self._file = self.index.path.open("rb")
            self._reader = os.getpid()
        file = self._file
        file.seek(int(self.index.offsets[number]))
        found = []
        for row in rows.sides(json.loads(file.readline())):
            encoded = self.renderer.encode(row, self.index.path.parent)
            pixels = [self.pixels(image) for image in encoded.images]
            about = {"category": row["category"], "id": row["id"]}
            found.append({"encoded": encoded, "pixels": pixels, **about})
        return found

    def pixels(self, image: rows.Image) -> torch.Tensor:
        """The image as the vision tower reads it, float32 of shape (3, height, width)."""
        with Image.open(image.path) as picture:
            processed = self.image_processor(picture.convert("RGB"), return_tensors="pt")
        return processed["pixel_values"][0]


class Collator:
    """Joins bins into one sequence for the model, as `collate` does; `tokenizer` and the rest are
    Axolotl's to give.
    """

    def __init__(self, tokenizer=None, with_rows: bool = False, **_):
        self.with_rows = with_rows

    def __call__(self, bins: Sequence[list[dict]]) -> dict:
        return collate([row for one in bins for row in one], self.with_rows)


def collate(packed: Sequence[dict], with_rows: bool = False) -> dict:
    """Rows as `Bins` gives them → one sequence: no padding, no attention mask.

    Returns input_ids, labels and position_ids, int64 of shape (1, tokens); with images also
    pixel_values, float32 of shape (images, 3, height, width) padded to the largest, and
    image_sizes, int64 of shape (images, 2). With `with_rows`, row_index, int64 of shape (1,
    tokens), numbers the rows, and categories names each one's.
    """
    encoded = [row["encoded"] for row in packed]
    lengths = [len(row.input_ids) for row in encoded]
    ids = np.concatenate([row.input_ids for row in encoded])
    labels = np.concatenate([row.labels for row in encoded])
    batch: dict = {
        "input_ids": torch.from_numpy(ids).long()[None],
        "labels": torch.from_numpy(labels).long()[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
    }
    pixels = [picture for row in packed for picture in row["pixels"]]
    if pixels:
        sizes = torch.tensor([picture.shape[-2:] for picture in pixels])
        height, width = sizes.max(dim=0).values.tolist()
        padded = pixels[0].new_zeros(len(pixels), 3, height, width)
        for place, picture in zip(padded, pixels, strict=True):
            place[:, : picture.shape[-2], : picture.shape[-1]] = picture
        batch["pixel_values"] = padded
        batch["image_sizes"] = sizes
    if with_rows:
        owners = torch.arange(len(packed)).repeat_interleave(torch.tensor(lengths))
        batch["row_index"] = owners[None]
        batch["categories"] = [row["category"] for row in packed]
    return batch
