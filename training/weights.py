"""The tensors of a checkpoint folder, one file or sharded, read one at a time, and their places
under an adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from common.files import load_json, shown
from training.adapter import Adapter, MergeError, canonical, is_target

FLOATS = ("F32", "BF16", "F16")  # safetensors' names of the types that a delta may be added to


class Checkpoint:
    """A model's folder. Raises MergeError for one that is not whole, and for one whose weights are
    quantised.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        config = folder / "config.json"
        if config.exists() and load_json(config).get("quantization_config"):
            raise MergeError(
                f"{shown(config)}: quantization_config: these weights are quantised already; "
                "give the base that they were made from"
            )
        index = folder / "model.safetensors.index.json"
        try:
            if index.exists():
                self.file_of: dict[str, str] = load_json(index)["weight_map"]
            else:
                with safe_open(folder / "model.safetensors", "pt") as file:
                    self.file_of = dict.fromkeys(file.keys(), "model.safetensors")
            names = sorted(set(self.file_of.values()))
            self._open = {name: safe_open(folder / name, "pt") for name in names}
        except (OSError, KeyError, SafetensorError) as error:
            raise MergeError(f"{shown(folder)}: no readable checkpoint ({error})") from None
        self.key_of = {canonical(key): key for key in self.file_of}

    def __getitem__(self, key: str) -> torch.Tensor:
        return self._open[self.file_of[key]].get_tensor(key)

    def named(self, name: str) -> torch.Tensor:
        """A tensor by its name in memory."""
        return self[self.key_of[name]]

    def shape_and_type(self, key: str) -> tuple[tuple[int, ...], str]:
        """Without reading the tensor; the type as safetensors names it."""
        part = self._open[self.file_of[key]].get_slice(key)
        return tuple(part.get_shape()), part.get_dtype()

    def shards(self) -> Iterator[tuple[str, list[str]]]:
        """(file name, its keys)."""
        for name in self._open:
            yield name, [key for key, file in self.file_of.items() if file == name]

    def metadata(self, name: str) -> dict[str, str]:
        """What a shard's header says beside its tensors."""
        return self._open[name].metadata() or {}


def places(base: Checkpoint, adapter: Adapter) -> dict[str, str]:
    """{key in the base's files: name in memory} of every weight the adapter adds to.

    Raises MergeError where the base is not the one it was trained on: a tensor missing, of another
    size or type; and where the adapter lacks a module that its own pattern adapts.
    """
    where = shown(base.folder)
    for name, low in adapter.targets.items():
        key = base.key_of.get(name)
        if key is None:
            raise MergeError(f"{where} has no tensor {name}: the adapter is of another base")
        shape, dtype = base.shape_and_type(key)
        wanted = (low.b.shape[0], low.a.shape[1])
        if shape != wanted:
            raise MergeError(
                f"{where}: {key} is {shape}, the adapter's {wanted}: it is of another base"
            )
        if dtype not in FLOATS:
            raise MergeError(f"{where}: {key} is {dtype}; weights must be one of {FLOATS}")
    for name in base.key_of:
        module = name.removesuffix(".weight")
        matrix = module != name and len(base.shape_and_type(base.key_of[name])[0]) == 2
        if matrix and is_target(adapter.config, module) and name not in adapter.targets:
            raise MergeError(
                f"{shown(adapter.folder)}: target_modules adapts {module}, the adapter has no "
                "tensor for it"
            )
    return {base.key_of[name]: name for name in adapter.targets}
