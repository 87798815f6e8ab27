"""The tensors of a model by their names in memory, and their places under an adapter."""

import shutil
from pathlib import Path

import torch

from common.bases import files_of
from common.files import load_json, shown
from common.weights import Weights
from training.adapter import Adapter, MergeError, canonical, is_target

FLOATS = ("F32", "BF16", "F16")  # safetensors' names of the types that a delta may be added to


class Checkpoint(Weights):
    """A model's folder. Raises WeightsError for one that is not whole, and MergeError for one whose
    weights are quantised.
    """

    def __init__(self, folder: Path):
        config = folder / "config.json"
        if config.exists() and load_json(config).get("quantization_config"):
            raise MergeError(
                f"{shown(config)}: quantization_config: these weights are quantised already; "
                "give the base that they were made from"
            )
        super().__init__(folder)
        self.key_of = {canonical(key): key for key in self.file_of}

    def named(self, name: str) -> torch.Tensor:
        """A tensor by its name in memory."""
        return self[self.key_of[name]]


def beside(folder: Path) -> list[Path]:
    """What stands beside a model's weights: configuration, tokenizer, processor, template."""
    return [path for path in files_of(folder) if path.suffix != ".safetensors"]


def copy_beside(base_folder: Path, folder: Path) -> None:
    """Copy what stands beside a model's weights."""
    for path in beside(base_folder):
        shutil.copyfile(path, folder / path.name)


def load_into(model: torch.nn.Module, folder: Path) -> None:
    """Give a whole model the weights of a checkpoint folder, each and no other.

    Stock resuming goes by the files' names, which are not those in memory: it warns and goes on
    from the weights that the model has. Raises MergeError and WeightsError.
    """
    saved = Checkpoint(folder)
    lost = set(model.state_dict()) ^ set(saved.key_of)
    if lost:
        raise MergeError(f"{shown(folder)}: {min(lost)} stands in the model or there alone")
    model.load_state_dict({name: saved.named(name) for name in saved.key_of})


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
