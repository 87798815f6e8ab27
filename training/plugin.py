"""The Axolotl plugin: our rows, our loss mask, our packing, our loss, in the place of Axolotl's.

A recipe names it under `plugins:` and gives its data under `rows:` instead of `datasets:`. Axolotl only logs a plugin that cannot be
imported and trains on without it; such a run then has no `datasets:` and Axolotl refuses it before any model is loaded.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
from axolotl.common.datasets import TrainDatasetMeta
from axolotl.integrations.base import BasePlugin
from axolotl.loaders import load_processor, load_tokenizer
from pydantic import BaseModel, ConfigDict, Field
from transformers import set_seed

from training import model as patches
from training.checkpoints import sealed
from training.data import Bins, Collator
from training.index import index, select
from training.recipe import RecipeError
from training.render import Renderer
from training.trainer import AetherTrainer

LOG = logging.getLogger("training")
NAME = "training.plugin.AetherPlugin"


class Rows(BaseModel):
    """Where the rows are, and which of them."""

    model_config = ConfigDict(extra="forbid")
    path: str = Field(
        description="Folder of a built dataset: train.jsonl, val.jsonl, images/, manifest.json"
    )
    categories: list[str] | None = Field(
        default=None, description="Only rows of these categories; all when absent"
    )


class AetherArgs(BaseModel):
    """The keys this plugin adds to Axolotl's."""

    rows: Rows
    fused_kernels: bool = Field(
        default=False, description="Liger's RMSNorm, RoPE and SwiGLU; needs a GPU"
    )


class AetherPlugin(BasePlugin):
    def register(self, cfg):
        if cfg.get("datasets"):
            raise ValueError(
                f"datasets: {NAME} reads `rows:`; a recipe that has both would train on only one of them"
            )
        if cfg.get("attn_implementation") == "eager":  # it knows neither rows nor images of a bin
            raise RecipeError("attn_implementation: eager: bins need sdpa; name that")
        if isinstance(cfg.get("rows"), dict) and cfg["rows"].get("path"):
            # Axolotl wants the keys to be there, for training and for evaluating; our load_datasets takes their place.
            for key, split in (("datasets", "train"), ("test_datasets", "val")):
                cfg[key] = [
                    {
                        "path": f"{cfg['rows']['path']}/{split}.jsonl",
                        "ds_type": "json",
                        "type": "chat_template",
                    }
                ]

    def get_input_args(self):
        return "training.plugin.AetherArgs"

    def load_datasets(self, cfg, preprocess=False):
        tokenizer = load_tokenizer(cfg)
        processor = load_processor(cfg, tokenizer)
        renderer = renderer_for(processor)
        folder = Path(cfg.rows.path)
        built = {}
        for split in ("train", "val"):
            found = index(folder / f"{split}.jsonl", renderer)
            kept, dropped = select(found, cfg.rows.categories, cfg.sequence_len)
            for number in dropped:
                LOG.warning(
                    "dropped %s: %d tokens, sequence_len is %d",
                    found.ids[number],
                    found.tokens[number],
                    cfg.sequence_len,
                )
            is_train = split == "train"
            built[split] = Bins(
                found,
                kept,
                renderer,
                processor.image_processor,
                capacity=cfg.sequence_len,
                seed=cfg.seed or 0,
                epochs=int(np.ceil(cfg.num_epochs)),
                multiple=cfg.micro_batch_size * int(os.environ.get("WORLD_SIZE", 1))
                if is_train and cfg.sample_packing
                else 1,
                pack=bool(cfg.sample_packing),
                shuffle=is_train,
            )
            LOG.info(
                "%s: %d rows in %d bins, %d tokens, %d trained, %d images, %d rows dropped",
                split, len(kept), len(built[split]), found.tokens[kept].sum(), found.trained[kept].sum(),
                found.images[kept].sum(), len(dropped),
            )  # fmt: skip
        return TrainDatasetMeta(train_dataset=built["train"], eval_dataset=built["val"])

    def get_collator_cls_and_kwargs(self, cfg, is_eval=False):
        return Collator, {}

    def get_training_args(self, cfg):
        resumed = getattr(cfg, "resume_from_checkpoint", None)
        # Axolotl evaluates at the start of every run; a resumed one only makes up the evaluation that a signal cut short.
        again = (
            {"eval_on_start": not sealed(Path(resumed)).get("evaluated", True)} if resumed else {}
        )
        return again | {
            "sample_packing": False,  # the items are already bins: no multipack sampler on top
            "eval_sample_packing": False,
            "remove_unused_columns": False,
            "average_tokens_across_devices": True,
            "logging_nan_inf_filter": False,  # a NaN must be seen, not averaged away
            "dataloader_drop_last": False,
            "data_seed": cfg.seed or 0,
        }

    def get_trainer_cls(self, cfg):
        return AetherTrainer

    def pre_model_load(self, cfg):
        set_seed(
            cfg.seed or 0
        )  # the adapter is drawn when the model loads, before the Trainer seeds anything
        patches.install()
        if cfg.fused_kernels:
            patches.install_fused_kernels()

    def post_model_load(self, cfg, model):
        # bitsandbytes' skip list matches names from their beginning: `vision_tower` skips nothing, `model.vision_tower` does.
        for name, module in model.named_modules():
            if type(module).__name__ != "Linear4bit":
                continue
            if "vision_tower" in name:
                raise RecipeError(
                    f"{name} is quantised; name model.vision_tower under bnb_config_kwargs.llm_int8_skip_modules"
                )
            # An evaluation on a CPU with AVX-512 repacks the weights for inference, with coarser scales, and training goes on with them.
            module.support_avx512bf16_for_cpu = False


def renderer_for(processor) -> Renderer:
    """A renderer with a Pixtral processor's tokenizer and image geometry."""
    return Renderer(
        processor.tokenizer, processor.image_processor.size["longest_edge"], processor.patch_size
    )
