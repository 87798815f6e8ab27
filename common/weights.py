"""The tensors of a checkpoint folder, one file or sharded, read one at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import AetherError
from common.files import load_json, shown


class WeightsError(AetherError):
    """A folder whose weights cannot be read."""


def same_bits(one: Any, other: Any) -> bool:
    """Whether two tensors have the same shape, type and bits."""
    if unlike(one, other):
        return False
    byte = one.new_empty(0).byte().dtype  # asked of a tensor: this room imports no torch
    return bool((one.contiguous().view(byte) == other.contiguous().view(byte)).all())


def unlike(one: Any, other: Any) -> str | None:
    """How the shape or type of a tensor differs from its base's, or None."""
    if one.shape == other.shape and one.dtype == other.dtype:
        return None
    return f"{tuple(one.shape)} {one.dtype}, the base has {tuple(other.shape)} {other.dtype}"


class Weights:
    """The safetensors of a folder; tensors are torch's. Raises WeightsError where one is missing
    or cut short.
    """

    def __init__(self, folder: Path):
        from safetensors import SafetensorError, safe_open

        self.folder = folder
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
            raise WeightsError(f"{shown(folder)}: no readable checkpoint ({error})") from None

    def __getitem__(self, key: str) -> Any:
        return self._open[self.file_of[key]].get_tensor(key)

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
