"""The Axolotl plugin: our rows, our loss mask, our packing, our loss, in the place of Axolotl's.

A recipe names it under `plugins:` and gives its data under `rows:` instead of `datasets:`. Axolotl
only logs a plugin that cannot be imported and trains on without it; such a run then has no
`datasets:` and Axolotl refuses it before any model is loaded.
"""

import importlib.util
import logging
import os
from pathlib import Path

import numpy as np
import torch
from axolotl.common.datasets import TrainDatasetMeta
from axolotl.integrations.base import BasePlugin
from axolotl.loaders import load_processor, load_tokenizer
from transformers import set_seed

from common import rows
from common.facts import Shape
from common.recipes import RecipeError
from training import attention, fp8, sharding
from training import model as patches
from training.checkpoints import sealed
from training.data import Bins, Collator
from training.history import HistoryWriter
from training.index import index, select
from training.memory import layers_kept
from training.preference import PreferenceTrainer
from training.provenance import gpu_gib
from training.recipe_schema import PLUGIN, Preference
from training.recompute import KeepActivations
from training.renderers import renderer_for
from training.signals import StopRequest
from training.trainer import AetherTrainer

LOG = logging.getLogger("training")


class AetherPlugin(BasePlugin):
    def __init__(self):
        super().__init__()
        self.stop_request: StopRequest | None = None
        self.layers_kept: int | None = None
        self.base_folder: Path | None = None
        self.varlen = attention.torch_varlen

    def obey(self, stop_request: StopRequest) -> None:
        """Let the training stop, with a checkpoint, where this request holds a signal."""
        self.stop_request = stop_request

    def keep(self, layers: int) -> None:
        """Let that many decoder layers keep their activations, as the run is recorded with."""
        self.layers_kept = layers

    def write_whole_from(self, base_folder: Path) -> None:
        """Let a training in shares end with the whole model, in the form of this base's files."""
        self.base_folder = base_folder

    def register(self, cfg):
        if cfg.get("datasets"):
            raise RecipeError(
                f"datasets: {PLUGIN} reads `rows:`; a recipe that has both would train on only one "
                "of them"
            )
        if cfg.get("attn_implementation") == "eager":  # it knows neither rows nor images of a bin
            raise RecipeError("attn_implementation: eager: bins need sdpa; name that")
        if cfg.get("attn_implementation") == "flash_attention_2":
            if importlib.util.find_spec("flash_attn") is None:
                raise RecipeError(
                    "attn_implementation: flash_attention_2: flash-attn is not installed "
                    "(docs/pins.md says how); sdpa runs the same algorithm without it"
                )
            # The model is wired as for sdpa, whose rows stay apart; the kernel alone is another.
            self.varlen = attention.flash_varlen
            cfg["attn_implementation"] = "sdpa"
        if cfg.get("output_dir"):
            # Else Axolotl makes last_run_prepared/ in whatever folder it is started.
            cfg["dataset_prepared_path"] = f"{cfg['output_dir']}/prepared"
        if isinstance(cfg.get("rows"), dict) and cfg["rows"].get("path"):
            # Axolotl wants the keys to be there, for training and for evaluating; our load_datasets
            # takes their place.
            for key, split in (("datasets", "train"), ("test_datasets", "val")):
                path = f"{cfg['rows']['path']}/{split}.jsonl"
                cfg[key] = [{"path": path, "ds_type": "json", "type": "chat_template"}]

    def get_input_args(self):
        return "training.recipe_schema.AetherArgs"

    def load_datasets(self, cfg, preprocess=False):
        tokenizer = load_tokenizer(cfg)
        processor = load_processor(cfg, tokenizer)
        train = bins_of(cfg, processor, "train")
        return TrainDatasetMeta(train_dataset=train, eval_dataset=bins_of(cfg, processor, "val"))

    def get_collator_cls_and_kwargs(self, cfg, is_eval=False):
        return Collator, {"with_rows": bool(cfg.preference)}

    def get_training_args(self, cfg):
        arguments = {
            "sample_packing": False,  # the items are already bins: no multipack sampler on top
            "eval_sample_packing": False,
            "remove_unused_columns": False,
            "average_tokens_across_devices": True,
            "logging_nan_inf_filter": False,  # a NaN must be seen, not averaged away
            "dataloader_drop_last": False,
            "data_seed": cfg.seed or 0,
        }
        resumed = getattr(cfg, "resume_from_checkpoint", None)
        if resumed:
            # Axolotl evaluates at the start of every run; a resumed one only makes up the
            # evaluation that a signal cut short.
            arguments["eval_on_start"] = not sealed(Path(resumed)).get("evaluated", True)
        return arguments

    def get_trainer_cls(self, cfg):
        return PreferenceTrainer if cfg.preference else AetherTrainer

    def post_trainer_create(self, cfg, trainer):
        if cfg.preference:
            trainer.prefer(Preference(**cfg.preference))
        if self.stop_request:
            trainer.obey(self.stop_request)
        if cfg.shards:
            trainer.train_shares(self.base_folder)

    def add_callbacks_post_trainer(self, cfg, trainer):
        kept = self.layers_kept
        if kept is None:  # no run of ours, the bench say: by what this process may use
            usable = gpu_gib()
            if torch.cuda.is_available():
                usable *= torch.cuda.get_per_process_memory_fraction()
            shape = Shape.from_config(trainer.model.config.to_dict())
            kept = layers_kept(cfg, shape, 1.0, usable)
        return [HistoryWriter(Path(cfg.output_dir)), KeepActivations(kept)]

    def pre_model_load(self, cfg):
        # The adapter is drawn when the model loads, before the Trainer seeds anything.
        set_seed(cfg.seed or 0)
        if cfg.fp8_base and not fp8.has_units():
            raise RecipeError(
                "fp8_base: this GPU does not multiply in FP8 (L40S, H100 and newer do); "
                "take a recipe without it"
            )
        patches.install(self.varlen)
        if cfg.fused_kernels:
            patches.install_fused_kernels()

    def post_model_load(self, cfg, model):
        # bitsandbytes' skip list matches names from their beginning: `vision_tower` skips nothing,
        # `model.vision_tower` does.
        for name, module in model.named_modules():
            if type(module).__name__ != "Linear4bit":
                continue
            if "vision_tower" in name:
                raise RecipeError(
                    f"{name} is quantised; name model.vision_tower under "
                    "bnb_config_kwargs.llm_int8_skip_modules"
                )
            # An evaluation on a CPU with AVX-512 repacks the weights for inference, with coarser
            # scales, and training goes on with them.
            module.support_avx512bf16_for_cpu = False
        rounded = (cfg.optim_args or {}).get("bf16_stochastic_round")
        masters = bool(cfg.bf16) and not cfg.adapter and not rounded
        if cfg.shards:
            sharding.shard(model, masters, bool(cfg.bf16))
        elif masters:
            sharding.cast_trained(model)
        if cfg.fp8_base:
            LOG.info("%d maps of the base are in FP8", fp8.convert(model))
            torch.cuda.empty_cache()  # what they were in bf16


def bins_of(cfg, processor, split: str) -> Bins:
    """The bins of a split ("train" or "val") as a recipe's configuration wants them; what is
    dropped is named in the log.
    """
    renderer = renderer_for(processor)
    pairs = bool(cfg.preference)
    measured = index(Path(cfg.rows.path) / rows.file_of(split, pairs), renderer, pairs)
    kept, dropped = select(measured, cfg.rows.categories, cfg.sequence_len)
    for number in dropped:
        LOG.warning(
            "dropped %s: %d tokens, sequence_len is %d",
            measured.ids[number],
            measured.tokens[number],
            cfg.sequence_len,
        )
    is_train = split == "train"
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    bins = Bins(
        measured,
        kept,
        renderer,
        processor.image_processor,
        capacity=cfg.sequence_len,
        seed=cfg.seed or 0,
        epochs=int(np.ceil(cfg.num_epochs)),
        multiple=cfg.micro_batch_size * ranks if is_train and cfg.sample_packing else 1,
        pack=bool(cfg.sample_packing),
        shuffle=is_train,
    )
    LOG.info(
        "%s: %d %s in %d bins, %d tokens, %d trained, %d images, %d dropped",
        split,
        len(kept),
        "pairs" if pairs else "rows",
        len(bins),
        measured.tokens[kept].sum(),
        measured.trained[kept].sum(),
        measured.images[kept].sum(),
        len(dropped),
    )
    return bins
