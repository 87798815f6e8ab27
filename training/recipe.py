"""Recipes: finding them by what a person types, and everything that can be said against one without running it.

A recipe is complete and standalone. Axolotl drops unknown keys in silence, at every level; here each is an error with its line.
"""

from __future__ import annotations

import difflib
import types
import typing
from pathlib import Path

import yaml
from pydantic import AliasChoices, BaseModel

from common.files import ROOT
from common.recipes import Recipe, RecipeError, all_recipes, find  # noqa: F401

# The seven sections in their order, and the order of keys within each. A key that is not listed may stand anywhere.
SECTIONS = {
    "model": ("base_model", "processor_type", "trust_remote_code", "plugins"),
    "data": ("rows", "chat_template", "skip_prepare_dataset", "sequence_len", "sample_packing", "pad_to_sequence_len"),
    "adapter": (
        "adapter", "load_in_4bit", "bnb_config_kwargs", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules",
        "peft_use_rslora", "lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel",
    ),
    "optimisation": (
        "num_epochs", "micro_batch_size", "gradient_accumulation_steps", "optimizer", "learning_rate", "lr_scheduler",
        "cosine_min_lr_ratio", "warmup_steps", "warmup_ratio", "weight_decay", "max_grad_norm", "seed",
    ),
    "memory": (
        "bf16", "tf32", "attn_implementation", "sdpa_varlen", "gradient_checkpointing", "gradient_checkpointing_kwargs",
        "activation_offloading", "embeddings_skip_upcast", "fused_kernels", "dataloader_num_workers", "dataloader_prefetch_factor",
        "dataloader_pin_memory",
    ),
    "evaluation and checkpoints": (
        "eval_batch_size", "eval_steps", "eval_strategy", "load_best_model_at_end", "save_steps", "save_strategy", "save_total_limit",
        "logging_steps", "output_dir",
    ),
    "tracking": ("use_wandb", "wandb_project", "wandb_name"),
}  # fmt: skip


def problems(recipe: Recipe, root: Path = ROOT) -> list[str]:
    """What is wrong with a recipe, one line each, as `file:line: key: what; what to do`. Empty when nothing is."""
    data = recipe.data
    node = yaml.compose(recipe.text)
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    where = recipe.path.relative_to(root) if recipe.path.is_relative_to(root) else recipe.path
    found = [f"{where}:{line}: {text}" for line, text in unknown_keys(node, _schema())]

    def say(key: str, text: str) -> None:
        found.append(f"{where}:{lines.get(key, 1)}: {key}: {text}")

    if recipe.path.is_relative_to(root / "recipes"):
        for key, wanted in {"output_dir": f"outputs/{recipe.id}", "wandb_name": recipe.id}.items():
            if data.get(key) != wanted:
                say(key, f"{data.get(key)!r}; one id everywhere: {wanted}")
    for key, value in data.items():
        if value is None:
            say(key, "blank; give a value or remove the key")
        if isinstance(value, str) and value.startswith(("/", "~")):
            say(
                key,
                f"{value!r} is a path of one machine; use one relative to the repository, or BASE= on the command line",
            )
    must = {
        "plugins": ["training.plugin.AetherPlugin"],
        "processor_type": "AutoProcessor",
        "skip_prepare_dataset": True,
    }
    for key, wanted in (
        must | {"chat_template": "tokenizer_default", "use_wandb": True, "sample_packing": True}
    ).items():
        if data.get(key) != wanted:
            say(key, f"{data.get(key)!r}; must be {wanted!r}")
    if data.get("trust_remote_code"):
        say("trust_remote_code", "must stay false: a model must not bring its own code")
    if data.get("datasets") or data.get("test_datasets"):
        say("datasets", "our plugin reads `rows:`; remove it")
    if isinstance(data.get("lora_target_modules"), list):
        say(
            "lora_target_modules",
            "bare names also hit the vision tower; give one pattern restricted to model.language_model",
        )
    order = [key for keys in SECTIONS.values() for key in keys]
    standing = [key for key in data if key in order]
    for before, after in zip(standing, standing[1:], strict=False):
        if order.index(after) < order.index(before):
            say(
                after,
                f"stands after {before}; the sections are {', '.join(SECTIONS)}, each with its keys in order",
            )
    result = recipe.path.with_suffix(".result.json")
    if result.exists():
        import json

        frozen = json.loads(result.read_text())["recipe_sha256"]
        if frozen != recipe.sha256:
            found.append(
                f"{where}:1: changed since {result.name} was measured with it; make a new version instead"
            )
    return found


def unknown_keys(node: yaml.Node, model: type[BaseModel], path: str = "") -> list[tuple[int, str]]:
    """(line, sentence) for each key of a YAML mapping that `model` does not read, at every level, and for each repeated key."""
    names = _names(model)
    found, seen = [], set()
    for key, value in node.value:
        name, line = key.value, key.start_mark.line + 1
        if name in seen:
            found.append((line, f"{path}{name}: given twice; the last one would win in silence"))
        seen.add(name)
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]}?" if close else "remove it"
            found.append(
                (line, f"{path}{name}: Axolotl does not know this key and would ignore it; {hint}")
            )
            continue
        inner = _models(names[name])
        children = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for child in children:
            if inner and isinstance(child, yaml.MappingNode):
                # Of several models a mapping may be, the one that knows most of its keys.
                found += min((unknown_keys(child, m, f"{path}{name}.") for m in inner), key=len)
    return found


def _schema() -> type[BaseModel]:
    from axolotl.utils.schemas.config import AxolotlConfigWCapabilities

    from training.plugin import AetherArgs

    return type("RecipeSchema", (AxolotlConfigWCapabilities, AetherArgs), {})


def _names(model: type[BaseModel]) -> dict[str, object]:
    names = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        names |= {
            choice: field.annotation for choice in (name, *choices) if isinstance(choice, str)
        }
    return names


def _models(annotation: object) -> list[type[BaseModel]]:
    """The pydantic models in a type, unless it also admits any dict (then its keys are free)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if annotation in (dict, typing.Any) or typing.get_origin(annotation) is dict:
        return []
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) in (
        typing.Union,
        typing.Annotated,
        list,
    ):
        return [model for inner in typing.get_args(annotation) for model in _models(inner)]
    return []
