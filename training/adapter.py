"""What is known to be plain LoRA, told of an adapter_config.json and of an adapter's tensors.

Plain LoRA changes each linear map of the decoder's layers to W + scale·B·A, with W as it stands in
the base. Much else that PEFT can do does not (it changes W when it begins, scales rows, trains
biases, ...), so the lists here are of what is allowed; whatever else a file says is refused by its
name. rsLoRA only has another scale.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from common.errors import AetherError
from common.files import load_json, shown

DECODER_MAP = (
    r"model\.language_model\.layers\.\d+\.(?:self_attn\.[qkvo]|mlp\.(?:gate|up|down))_proj"
)
UNSET: tuple[object, ...] = (None, False, [], {}, "")
# Beginnings that leave the base as it is: A drawn at random, B zero (True, "gaussian") or random as
# well (False).
BEGINNINGS = (None, True, False, "gaussian")
ONLY_PLAIN = "only plain LoRA can be merged with proof"

# Keys of adapter_config.json that change nothing in what an adapter computes.
INFORMATIVE = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_version",
    "revision",
    "task_type",
}
# Its other keys but the three numbers, and what they may hold. PEFT 0.20.0 writes all of them.
ALLOWED: dict[str, tuple] = {
    "peft_type": ("LORA",),
    "init_lora_weights": BEGINNINGS,
    "use_rslora": (None, False, True),
    "bias": (None, "none"),
    "megatron_core": (None, "megatron.core"),  # read with megatron_config alone
    "qalora_group_size": (None, 16),  # read with use_qalora alone
} | dict.fromkeys(
    (
        "alora_invocation_tokens",
        "alpha_pattern",
        "arrow_config",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "layer_replication",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_bias",
        "lora_ga_config",
        "megatron_config",
        "modules_to_save",
        "monteclora_config",
        "rank_pattern",
        "runtime_config",
        "target_parameters",
        "trainable_token_indices",
        "use_bdlora",
        "use_dora",
        "use_qalora",
        "velora_config",
    ),
    UNSET,
)


class MergeError(AetherError):
    """Files that cannot be merged, or whose merge cannot be judged."""


@dataclass(frozen=True)
class LowRank:
    """What an adapter adds to one linear map: scale · B · A. a: (rank, in), b: (out, rank)."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float

    def delta(self) -> torch.Tensor:
        """float32, shape (out, in)."""
        return (self.b.float() @ self.a.float()) * self.scale


@dataclass(frozen=True)
class Adapter:
    """A plain LoRA adapter: its configuration, and what it adds by the weight's name in memory."""

    folder: Path
    config: dict
    targets: dict[str, LowRank]

    @property
    def is_zero(self) -> bool:
        """Whether it changes nothing: every product B·A is zero."""
        return all(not low.b.any() or not low.a.any() for low in self.targets.values())


def canonical(key: str) -> str:
    """A tensor's name in memory (transformers 5), from either checkpoint layout of LLaVA or from an
    adapter.
    """
    key = key.removeprefix("base_model.model.")
    if key.startswith("language_model.lm_head."):
        return key.removeprefix("language_model.")
    key = re.sub(r"^language_model\.model\.", "model.language_model.", key)
    return re.sub(r"^(vision_tower|multi_modal_projector)\.", r"model.\1.", key)


def load_config(folder: Path) -> dict:
    """The adapter_config.json of a folder. Raises MergeError, by the key's name, for what is not
    plain LoRA.
    """
    path = folder / "adapter_config.json"
    config = load_json(path)
    if not isinstance(config, dict):
        raise MergeError(f"{shown(path)}: no mapping")
    numbers = ("r", "lora_alpha", "lora_dropout")
    known = INFORMATIVE | set(ALLOWED) | {*numbers, "target_modules"}
    for key in config:
        if key not in known:
            raise MergeError(f"{shown(path)}: {key}: unknown here; {ONLY_PLAIN}")
        if key in ALLOWED and config[key] not in ALLOWED[key]:
            raise MergeError(f"{shown(path)}: {key}: {config[key]!r}; {ONLY_PLAIN}")
    if config.get("peft_type") is None:
        raise MergeError(f"{shown(path)}: peft_type: missing; {ONLY_PLAIN}")
    for key in numbers:
        value = config.get(key, 0.0 if key == "lora_dropout" else None)
        if not _is_number(value, whole=key == "r", positive=key != "lora_dropout"):
            raise MergeError(f"{shown(path)}: {key}: {value!r} is no such number")
    if not isinstance(config.get("target_modules"), str | list):
        raise MergeError(f"{shown(path)}: target_modules: neither a pattern nor a list")
    return config


def _is_number(value: object, whole: bool, positive: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return False
    return math.isfinite(value) and (value > 0 or not positive)


def is_target(config: Mapping[str, Any], module: str) -> bool:
    """Whether PEFT adapts a module of that name: a pattern matches the whole of it, a list by its
    end.
    """
    wanted = config["target_modules"]
    if isinstance(wanted, str):
        return re.fullmatch(wanted, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in wanted)


def load_adapter(folder: Path) -> Adapter:
    """An adapter with all its tensors. Raises MergeError for what is not plain LoRA on the
    decoder's linear maps.
    """
    config = load_config(folder)
    path = folder / "adapter_model.safetensors"
    rank = config["r"]
    scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    halves: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118, the file is not iterable itself
                match = re.fullmatch(rf"({DECODER_MAP})\.lora_([AB])\.weight", canonical(key))
                if match is None:
                    raise MergeError(
                        f"{shown(path)}: {key}: no LoRA matrix of a decoder's linear map; "
                        f"{ONLY_PLAIN}"
                    )
                halves.setdefault(f"{match[1]}.weight", {})[match[2]] = file.get_tensor(key)
    except (OSError, SafetensorError) as error:
        raise MergeError(f"{shown(path)}: no readable adapter ({error})") from None
    if not halves:
        raise MergeError(f"{shown(path)}: no tensors")
    targets = {}
    for name, pair in halves.items():
        if set(pair) != {"A", "B"}:
            raise MergeError(f"{shown(path)}: {name} has only one of its two matrices")
        low = LowRank(pair["A"], pair["B"], scale)
        if low.a.shape[:-1] != (rank,) or low.b.shape[1:] != (rank,):
            shapes = f"{tuple(low.b.shape)} and {tuple(low.a.shape)}"
            raise MergeError(f"{shown(path)}: {name}: matrices of {shapes}, the rank is {rank}")
        if not all(half.is_floating_point() and half.isfinite().all() for half in pair.values()):
            raise MergeError(f"{shown(path)}: {name} holds a value that is not a finite number")
        targets[name] = low
    return Adapter(folder, config, targets)
