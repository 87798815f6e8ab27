"""Everything that can be said against a recipe by its text alone: one line each, with file and
line.

`training.recipe_schema` lists what is allowed. Here are the sentences for what is not, and what two
keys must not say together.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from common import schema
from common.bases import is_hub_id
from common.errors import AetherError, did_you_mean
from common.facts import APRIEL_15B
from common.files import ROOT, load_json, shown
from common.recipes import Recipe
from training.recipe_schema import KEYS, SECTIONS, RecipeKeys

ROWS = "our plugin reads `rows:`; remove it"
WEIGHT = "rows say themselves which turns are trained (`weight`); remove it"
SDPA = "give attn_implementation: sdpa, which keeps the rows of a bin apart"
PLAIN_LORA = "the merge proves plain LoRA and rsLoRA alone; remove it"
# Why some of Axolotl's keys are not honoured here, and what to do instead.
INSTEAD = {
    "datasets": ROWS,
    "test_datasets": ROWS,
    "train_on_inputs": WEIGHT,
    "roles_to_train": WEIGHT,
    "group_by_length": "bins are planned by length already; remove it",
    "excess_length_strategy": "a row over sequence_len is dropped, counted and named; remove it",
    "pad_to_sequence_len": "no token of a bin is padding; remove it",
    "image_size": "images keep their shape, within the processor's longest edge; remove it",
    "rl": "pairs are trained on our own bins; give `preference:` instead",
    "eval_batch_size": "an evaluation reads one row at a time; remove it",
    "flash_attention": SDPA,
    "eager_attention": SDPA,
    "flex_attention": SDPA,
    "xformers_attention": SDPA,
    "peft_use_dora": PLAIN_LORA,
    "peft_init_lora_weights": "it changes the base that the adapter is merged into; remove it",
    "lora_modules_to_save": PLAIN_LORA,
    "lora_target_linear": "it also hits the vision tower and the head; give lora_target_modules",
}
PLAIN_INT = re.compile(r"[-+]?(0|[1-9]\d*)")
PLAIN_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?")
GPU_OPTIMIZERS = ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit")
SHARED_OPTIMIZERS = ("adamw_torch_8bit", "adamw_torch", "adamw_torch_fused")
ADAPTER_NEEDS = ("load_in_4bit", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")
NOT_QUANTISED = ("model.vision_tower", "lm_head")


def _in_layers(prefix: str, layers: int, blocks: dict[str, tuple[str, ...]]) -> list[str]:
    """The names of modules in numbered layers: prefix.<number>.<block>.<name>."""
    return [
        f"{prefix}.{layer}.{block}.{name}".rstrip(".")
        for layer in range(layers)
        for block, names in blocks.items()
        for name in names
    ]


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
DECODER = "model.language_model.layers"
TOWER = "model.vision_tower.transformer.layers"
# The modules on which an adapter may sit, and those of the same model on which none may.
MAPS = _in_layers(DECODER, APRIEL_15B.layers, {"self_attn": ATTENTION, "mlp": FEED_FORWARD})
PARTS = ("mlp", "self_attn", "input_layernorm", "post_attention_layernorm")
OTHERS = [
    "lm_head",
    "language_model.lm_head",
    "model.language_model.lm_head",
    "model.language_model.embed_tokens",
    "model.language_model.norm",
    "model.multi_modal_projector.linear_1",
    "model.multi_modal_projector.linear_2",
    "model.vision_tower.patch_conv",
    *_in_layers(DECODER, APRIEL_15B.layers, {part: ("",) for part in PARTS}),
    *_in_layers(
        TOWER, APRIEL_15B.vision_layers, {"attention": ATTENTION, "feed_forward": FEED_FORWARD}
    ),
]

KeyPath = tuple[str, ...]
Problem = tuple[KeyPath, str]


def problems(recipe: Recipe, root: Path = ROOT) -> list[str]:
    """What is wrong with a recipe, one line each, as `file:line: key: what; what to do`.

    Empty when nothing is. `root` is the repository.
    """
    try:
        data = recipe.data
    except AetherError as error:
        return [str(error)]
    node: yaml.Node = yaml.compose(recipe.text, yaml.CSafeLoader) or yaml.ScalarNode("", "")
    lines = dict(_lines(node))
    found = [*_odd_numbers(node), *_wrong_values(data)]
    if not found:
        found = [*_together(data), *_pattern(data), *_one_id(recipe, root), *_order(data)]
    where = shown(recipe.path)
    sentences = [f"{where}:{_line(lines, path)}: {'.'.join(path)}: {text}" for path, text in found]
    if recipe.result.exists() and load_json(recipe.result).get("recipe_sha256") != recipe.sha256:
        sentences.append(
            f"{where}:1: changed since {recipe.result.name} was measured with it; make a new "
            "version instead"
        )
    return sentences


def _lines(node: yaml.Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    """(path of a key, the line it stands on), at every level."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*path, key.value)
        yield here, key.start_mark.line + 1
        yield from _lines(value, here)


def _line(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """The line of a key, or of the mapping that misses it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _odd_numbers(node: yaml.Node, path: KeyPath = ()) -> Iterator[Problem]:
    """Numbers that YAML reads as others than they look: 064 is 52, 1:30 is 90."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _odd_numbers(value, (*path, key.value))
        return
    if isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _odd_numbers(value, path)
        return
    kind = node.tag.rpartition(":")[2]
    plain = {"int": PLAIN_INT, "float": PLAIN_FLOAT}.get(kind)
    if plain and not plain.fullmatch(node.value):
        value = yaml.safe_load(node.value)
        yield path, f"YAML reads {node.value} as {value}; write the number in plain digits"


def _wrong_values(data: dict) -> list[Problem]:
    """What the schema says against the keys and their values."""
    blank: list[Problem] = [
        ((key,), "blank; give a value or remove the key") for key in data if data[key] is None
    ]
    given = {key: value for key, value in data.items() if value is not None}
    try:
        RecipeKeys.model_validate(given)
    except ValidationError as error:
        kinds = [(_path(details["loc"]), _sentence(details)) for details in error.errors()]
        told = {path for path, _ in blank}
        return [*blank, *((path, text) for path, text in dict(kinds).items() if path not in told)]
    return blank


def _path(location: tuple[int | str, ...]) -> KeyPath:
    """Where an error is, without the numbers of list items."""
    return tuple(part for part in location if isinstance(part, str)) or ("",)


def _sentence(details: Any) -> str:
    """One of pydantic's errors in our words."""
    key = str(_path(details["loc"])[-1])
    if details["type"] == "extra_forbidden":
        hint = did_you_mean(key, [*KEYS, "path", "categories"], 0.75) or "; remove it"
        return INSTEAD.get(key, f"not a key that this repository honours{hint}")
    return schema.sentence(details, KEYS)


def _together(data: dict) -> Iterator[Problem]:
    """What keys must not say together."""
    base = data["base_model"]
    paths = {
        ("base_model",): base,
        ("rows", "path"): data["rows"]["path"],
        ("output_dir",): data["output_dir"],
    }
    for key, value in paths.items():
        if value.startswith(("/", "~")):
            yield (
                key,
                f"{value!r} is a path of one machine; use one relative to the repository"
                f"{', or BASE= on the command line' if value == base else ''}",
            )
    if "revision_of_model" in data and not is_hub_id(base):
        yield ("revision_of_model",), f"{base} is a folder, not a model of the hub; remove it"
    if "warmup_steps" in data and "warmup_ratio" in data:
        yield ("warmup_ratio",), "warmup_steps is given too; keep one"
    if "cosine_min_lr_ratio" in data and data["lr_scheduler"] != "cosine":
        yield ("cosine_min_lr_ratio",), f"without effect on {data['lr_scheduler']}; remove it"
    if data.get("dataloader_prefetch_factor") and not data["dataloader_num_workers"]:
        yield ("dataloader_prefetch_factor",), "there is no worker to prefetch; remove it"
    if data["gradient_checkpointing"] and not data.get("gradient_checkpointing_kwargs"):
        yield (
            ("gradient_checkpointing",),
            "Axolotl would set use_reentrant: true; add gradient_checkpointing_kwargs: "
            "{use_reentrant: false}",
        )
    if not data["bf16"]:
        if data["optimizer"] in GPU_OPTIMIZERS:
            yield ("optimizer",), f"{data['optimizer']} needs a GPU, and bf16 is false"
        if data.get("fused_kernels"):
            yield ("fused_kernels",), "these kernels need a GPU, and bf16 is false"
    yield from _cadence(data)
    yield from _adapter(data)
    yield from _shares(data)
    yield from _preference(data)


def _cadence(data: dict) -> Iterator[Problem]:
    """When it evaluates and saves: every so many steps, or every epoch."""
    for kind in ("eval", "save"):
        steps = f"{kind}_steps"
        strategy = f"{kind}_strategy"
        if data.get(strategy) == "epoch" and steps in data:
            yield (steps,), f"without effect where {strategy} is epoch; keep one"
        if data.get(strategy) != "epoch" and steps not in data:
            yield (strategy,), f"give {steps}, or {strategy}: epoch"


def _adapter(data: dict) -> Iterator[Problem]:
    """The keys of an adapter go together."""
    kind = data.get("adapter")
    keys = [key for key in SECTIONS["adapter"].model_fields if key != "adapter" and key in data]
    if kind is None:
        for key in keys:
            yield (key,), "without effect where no adapter is given; remove it"
        return
    for key in (*ADAPTER_NEEDS, *KERNELS):
        if key not in data:
            yield ("adapter",), f"{key} is missing; add it"
    if data.get("load_in_4bit") != (kind == "qlora"):
        yield ("load_in_4bit",), f"must be {str(kind == 'qlora').lower()} with adapter: {kind}"
    skipped = data.get("bnb_config_kwargs", {}).get("llm_int8_skip_modules", [])
    if kind == "qlora" and not set(NOT_QUANTISED) <= set(skipped):
        yield (
            ("bnb_config_kwargs",),
            f"llm_int8_skip_modules must name {' and '.join(NOT_QUANTISED)}: the eyes and the head "
            "stay as they are",
        )
    if kind == "qlora" and data.get("fp8_base"):
        yield ("fp8_base",), "the base is in 4 bits already; give adapter: lora"
    if kind == "lora" and skipped:
        yield ("bnb_config_kwargs",), "without effect where nothing is quantised; remove it"


def _shares(data: dict) -> Iterator[Problem]:
    """Weights in shares are whole ones, and their optimizer is one that divides."""
    if "optim_args" in data and (data["optimizer"] != SHARED_OPTIMIZERS[0] or not data["bf16"]):
        yield ("optim_args",), f"of {SHARED_OPTIMIZERS[0]} on a GPU alone; remove it"
    if not data.get("shards"):
        return
    if data.get("adapter"):
        yield ("shards",), "an adapter trains on any number of GPUs whole (GPUS=); remove it"
    if not data.get("freeze_mm_modules"):
        yield ("freeze_mm_modules",), "missing; with shards the tower stays as it is: add it"
    if data["optimizer"] not in SHARED_OPTIMIZERS:
        yield ("optimizer",), f"with shards one of {', '.join(SHARED_OPTIMIZERS)}"


def _preference(data: dict) -> Iterator[Problem]:
    """A preference loss needs an adapter to switch off, and each loss has keys of its own."""
    given = data.get("preference")
    if given is None:
        return
    if data.get("adapter") is None:
        yield ("preference",), "its reference is the model without its adapter; give an adapter"
    loss = given["loss"]
    for key, of in (("length_normalised", "dpo"), ("margin", "simpo")):
        if key in given and loss != of:
            yield ("preference", key), f"of {of} alone; remove it from {loss}"
    if "sft" in given and loss == "orpo":
        yield ("preference", "sft"), "orpo's loss has the chosen reply's own in it; remove it"


def _pattern(data: dict) -> Iterator[Problem]:
    """LoRA on the decoder's linear maps alone: the loss reads the head's weight itself, the merge
    proves linear maps.
    """
    pattern = data.get("lora_target_modules")
    if pattern is None:
        return
    key = ("lora_target_modules",)
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        yield key, f"{pattern!r} is no pattern ({error})"
        return
    wrong = next((name for name in OTHERS if wanted.fullmatch(name)), None)
    if wrong:
        yield (
            key,
            f"hits {wrong} too; give one pattern restricted to the maps of "
            "model.language_model.layers",
        )
    elif not any(wanted.fullmatch(name) for name in MAPS):
        yield key, "hits no map of the decoder; their names are as " + MAPS[0]


def _one_id(recipe: Recipe, root: Path) -> Iterator[Problem]:
    """Path, output folder and run name are one; a recipe from elsewhere takes no name of one of
    ours.
    """
    for key, wanted in {"output_dir": f"outputs/{recipe.id}", "wandb_name": recipe.id}.items():
        if recipe.data[key] != wanted:
            yield (key,), f"{recipe.data[key]!r}; one id everywhere: {wanted}"
    ours = root / "recipes" / f"{recipe.id}.yaml"
    if ours.exists() and ours.resolve() != recipe.path.resolve():
        yield ("output_dir",), f"{shown(ours)} has this id already; give the file another name"


def _order(data: dict) -> Iterator[Problem]:
    """The sections stand in their order, and the keys in each."""
    standing = [key for key in data if key in KEYS]
    for before, after in zip(standing, standing[1:], strict=False):
        if KEYS.index(after) < KEYS.index(before):
            names = ", ".join(SECTIONS)
            yield (
                (after,),
                f"stands after {before}; the sections are {names}, each with its keys in order",
            )
