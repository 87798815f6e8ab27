"""A whole model trained in shares: each rank holds an equal part of every weight, of its gradient
and of the optimizer's state (PyTorch's FSDP2).

A decoder layer is gathered for its own passes alone. All else stands in one root unit, the vision
tower too: a rank whose bin has no picture gathers it all the same, so that no rank waits for
another. Each rank saves its own shares; the whole model is written once, at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from axolotl.utils.distributed import init_distributed_state
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer

from common.files import shown
from common.recipes import RecipeError
from training.adapter import MergeError, canonical
from training.weights import Checkpoint

FROZEN = ("vision_tower", "multi_modal_projector")


def is_frozen(name: str) -> bool:
    """Whether a weight is of the tower or the projector."""
    return any(part in name for part in FROZEN)


def freeze_eyes(model: nn.Module) -> None:
    """Leave the tower and the projector as they are."""
    for name, parameter in model.named_parameters():
        if is_frozen(name):
            parameter.requires_grad_(False)


def shard(model: Any, masters: bool, half: bool) -> None:
    """Divide a model over the ranks, in place.

    `masters`: what is trained is kept in float32. `half`: the passes are in bfloat16. A unit has
    one type of trained weights, and Axolotl hands over norms, embeddings and head in float32.
    """
    init_distributed_state()
    freeze_eyes(model)
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32
    )
    layers = [module for module in model.modules() if isinstance(module, MistralDecoderLayer)]
    kept = torch.float32 if masters or not half else torch.bfloat16
    for unit in (*layers, model):
        cast_trained(unit, kept)
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    model.save_pretrained = _nothing  # Axolotl calls it on one rank, which has only a share


def _nothing(*_args, **_kwargs) -> None:
    """The whole model is written by `write_whole`."""


def cast_trained(module: nn.Module, kept: torch.dtype = torch.float32) -> None:
    """Keep what is trained in float32, or in another type: bfloat16 has 8 bits, in which most
    updates are lost.
    """
    for parameter in module.parameters():
        if parameter.requires_grad and not isinstance(parameter, DTensor):
            parameter.data = parameter.data.to(kept)


def float32_states(optimizer: Any) -> None:
    """Let torchao's 8-bit states call themselves float32, whatever the weights are: a bfloat16 one
    forgets its type once it is divided, and its first step fails.
    """
    if hasattr(optimizer, "_subclass_zeros"):
        optimizer._subclass_zeros = _zeros


def _zeros(share: torch.Tensor, signed: bool, block_size: int) -> torch.Tensor:
    from torchao.optim.subclass_8bit import OptimState8bit

    return OptimState8bit.zeros(share.shape, signed, block_size, share.device)


def require_masters(model: nn.Module, optimizer: Any) -> None:
    """Raise RecipeError where nothing is trained, or updates would be lost in rounding: trained
    weights in bfloat16, and an optimizer that does not round stochastically.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError("no weight of the model is trained: every one of them is frozen")
    if getattr(optimizer, "bf16_stochastic_round", False):
        return
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            raise RecipeError(
                f"{name} is trained in {parameter.dtype} without a float32 copy: updates are lost "
                "in rounding; give optim_args: {bf16_stochastic_round: true}"
            )


def local(value: Any) -> Any:
    """A rank's own share of a tensor; anything else as it is."""
    return value.to_local().detach() if isinstance(value, DTensor) else value


def divide_again(model: Any) -> None:
    """Divide the root unit again, which a pass without a backward one leaves gathered: an optimizer
    made then would train none of it, and a checkpoint would hold it whole.
    """
    model.reshard()


def trained_shares(model: Any) -> dict[str, DTensor]:
    """The trained parameters as they are divided."""
    divide_again(model)
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def name_of(rank: int, ranks: int) -> str:
    """The file of a rank's shares."""
    return f"shares-{rank}-of-{ranks}.pt"


def save(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Write this rank's shares: trained weights, and the optimizer's state and learning rates."""
    weights = {}
    states = {}
    for name, parameter in trained_shares(model).items():
        weights[name] = local(parameter)
        state = optimizer.state[parameter]
        states[name] = {key: local(value) for key, value in state.items()}
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    folder.mkdir(parents=True, exist_ok=True)
    held = {"weights": weights, "states": states, "rates": rates}
    torch.save(held, folder / name_of(dist.get_rank(), dist.get_world_size()))


def load(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Take up what `save` wrote. Raises RecipeError where another number of ranks wrote it."""
    path = folder / name_of(dist.get_rank(), dist.get_world_size())
    if not path.is_file():
        raise RecipeError(f"{shown(path)} is not there: another number of GPUs saved this")
    held = torch.load(path, map_location=next(model.parameters()).device, weights_only=True)
    trained = trained_shares(model)
    if trained.keys() != held["weights"].keys():
        raise RecipeError(f"{shown(path)} is of another model")
    for name, parameter in trained.items():
        local(parameter).copy_(held["weights"][name])
        state = {key: _like(parameter, value) for key, value in held["states"][name].items()}
        optimizer.state[parameter] = state
    for group, rate in zip(optimizer.param_groups, held["rates"], strict=True):
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _like(parameter: DTensor, share: Any) -> Any:
    """A share of state as the optimizer holds it; its step is on the CPU and no share."""
    if not isinstance(share, torch.Tensor):
        return share
    if share.dim() == 0:
        return share.cpu()
    return DTensor.from_local(
        share,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def write_whole(model: Any, base_folder: Path, folder: Path) -> None:
    """Write the weights of the whole model once: the base's files, keys and types.

    Raises MergeError for one that was to be trained and, before it is rounded to the base's type,
    is the base's still.
    """
    base = Checkpoint(base_folder)
    divide_again(model)
    held = model.state_dict()
    for file, keys in base.shards():
        tensors = {}
        for key in keys:
            value = held[canonical(key)]
            value = value.full_tensor() if isinstance(value, DTensor) else value
            if dist.get_rank() > 0:
                continue
            before = base[key]
            value = value.cpu()
            if not is_frozen(key) and torch.equal(value, before.to(value.dtype)):
                raise MergeError(f"{key} was to be trained and did not move; nothing was written")
            tensors[key] = value.to(before.dtype).contiguous()
        if dist.get_rank() == 0:
            save_file(tensors, folder / file, metadata=base.metadata(file))
    dist.barrier()
