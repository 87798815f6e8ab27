"""One side of the bench, in a process of its own: a few steps of a real training, and their
figures.
"""

import gc
import os
import time
from dataclasses import dataclass

import torch
from axolotl.cli.args import TrainerCliArgs
from axolotl.cli.config import load_cfg
from axolotl.common.datasets import load_datasets
from axolotl.integrations.base import PluginManager
from axolotl.loaders.model import ModelLoader
from axolotl.train import train
from axolotl.utils.dict import DictDefault
from transformers import LlavaForConditionalGeneration, Trainer
from transformers.integrations.bitsandbytes import replace_with_bnb_linear
from transformers.quantizers.auto import AutoHfQuantizer

from common import facts
from common.memory import GIB
from common.recipes import find
from training import bench_parts, memory, ranks
from training.bench_pairs import trl_trainer
from training.bench_rows import OUT, SEQUENCE_LEN, model_folder, stock
from training.meter import matmul_ceiling
from training.recompute import KeepActivations, keep_activations

# Keys of a recipe that have no place in a training of a few steps.
LEFT_OUT = ("eval_steps", "eval_strategy", "save_steps", "use_wandb", "wandb_project", "wandb_name")
PROBED = 4096  # tokens: the longest bin is found in steps of these, up to 16 of them


@dataclass(frozen=True)
class Mark:
    """One micro-batch, when it was done."""

    wall: float  # s
    since_start: float  # s since this process began
    cpu: float  # s
    real: int  # tokens
    slots: int  # tokens, padding included
    rows: int  # of pairs: two a pair
    pairs: float  # of tokens that attend to each other
    pictures: int


def configuration(variant: str, recipe_name: str, gpu: bool, steps: int) -> dict:
    """What Axolotl is given: the recipe, or its own example, on the rows of the bench, for `steps`
    optimizer steps.
    """
    recipe = {k: v for k, v in find(recipe_name).data.items() if k not in LEFT_OUT}
    recipe |= {
        "base_model": str(model_folder(gpu)),
        "rows": {"path": str(OUT / "rows")},
        "sequence_len": max(SEQUENCE_LEN, recipe["sequence_len"]),
    }
    recipe.pop("revision_of_model", None)
    chosen = stock(recipe) if variant == "stock" else recipe
    return chosen | {
        "output_dir": str(OUT / "run"),
        # Else the stock side makes last_run_prepared/ in the folder it is started in.
        "dataset_prepared_path": str(OUT / "prepared"),
        "max_steps": steps,
        "save_strategy": "no",
        "logging_steps": 1,
    }


def side(variant: str, recipe: str, gpu: bool, steps: int, warm: int, probe: bool) -> dict:
    """Train `steps` optimizer steps of one side ("ours" or "stock"); figures over those after the
    first `warm`.
    """
    figures: dict = {"variant": variant}
    if gpu:
        figures["ceiling"] = as_a_card_of_48_gb()
    marks = watch_steps()
    waits = bench_parts.watch_batches()
    configured = configuration(variant, recipe, gpu, steps)
    if variant.startswith("trl-"):
        at_once = int(variant.removeprefix("trl-"))
        model = None
        trainer = trl_trainer(configured, gpu, steps, at_once, random_on_device)
        trainer.train()
    else:
        model, trainer = by_axolotl(configured)
    skipped = warm * trainer.args.gradient_accumulation_steps
    begin = marks[skipped - 1]
    counted = marks[skipped:]
    real = sum(mark.real for mark in counted)
    slots = sum(mark.slots for mark in counted)
    seconds = counted[-1].wall - begin.wall
    figures |= {
        "steps": len(marks) // trainer.args.gradient_accumulation_steps - warm,
        "tokens_per_s": real / seconds,
        "cpu_tokens_per_s": real / (counted[-1].cpu - begin.cpu),
        "padded_share": 1 - real / slots,
        "seconds": seconds,
        "start_s": marks[0].since_start,
        "waiting_share": sum(waits[warm:]) / seconds,
        "last_loss": trainer.state.log_history[-2].get("loss"),
    }
    if configured.get("preference"):
        figures["pairs_per_s"] = sum(mark.rows for mark in counted) / 2 / seconds
    if gpu:
        pairs = sum(mark.pairs for mark in counted)
        kept = layers_kept_by(trainer)
        flops = facts.APRIEL_15B.training_flops(real, pairs)
        if configured.get("preference"):  # and the pass of the reference
            flops += facts.APRIEL_15B.forward_flops(real, pairs)
        done = flops - facts.APRIEL_15B.recomputation_flops(real, pairs, kept)
        most = seconds * figures["ceiling"]
        figures["layers_not_recomputed"] = kept
        figures["share_of_ceiling"] = flops / most
        figures["share_done"] = done / most
        figures |= peaks()
    if variant == "ours" and not configured.get("preference"):
        figures |= bench_parts.around_steps(trainer)
    if gpu and probe and not configured.get("preference"):
        figures["longest_sequence_len"] = longest(model, trainer)
    return figures


def as_a_card_of_48_gb() -> float:
    """Hold this process to the memory of an L40S, with a model of random weights; what matrix
    products its GPU does, FLOP/s.
    """
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    ceiling = matmul_ceiling()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, memory.L40S_GIB * GIB / total))
    # Axolotl does so with each line that it logs, and a peak would be that of the last moments.
    torch.cuda.reset_peak_memory_stats = lambda *_: None
    ModelLoader._load_model_from_pretrained = random_on_device
    return ceiling


def peaks() -> dict[str, float]:
    """The most that this process has held, and of that had in use."""
    return {
        "peak_gib": torch.cuda.max_memory_reserved() / GIB,
        "peak_allocated_gib": torch.cuda.max_memory_allocated() / GIB,
    }


def by_axolotl(configured: dict):
    """(model, trainer) of a real training through Axolotl."""
    cfg = ranks.configured(load_cfg, DictDefault(configured), {})
    data = PluginManager.get_instance().load_datasets(cfg) if cfg.plugins else None
    if data is None:
        data = load_datasets(cfg=cfg, cli_args=TrainerCliArgs())
    model, _, trainer = train(cfg=cfg, dataset_meta=data)
    return model, trainer


def layers_kept_by(trainer) -> int:
    """How many decoder layers a Trainer does not recompute."""
    found = [c.count for c in trainer.callback_handler.callbacks if isinstance(c, KeepActivations)]
    return sum(found)


def watch_steps() -> list[Mark]:
    """A list that grows by one mark with every micro-batch of any Trainer of this process."""
    marks: list[Mark] = []
    stock_step = Trainer.training_step

    def training_step(self, model, inputs, *args, **kwargs):
        mask = inputs.get("attention_mask")
        slots = inputs["input_ids"].numel()
        positions = inputs.get("position_ids")
        if positions is None:
            lengths = torch.full((len(inputs["input_ids"]),), inputs["input_ids"].shape[1])
            lengths = lengths.double() if mask is None else mask.sum(-1).double()
            pairs = float((lengths * (lengths + 1) / 2).sum())
            rows = len(lengths)
        else:
            pairs = float((positions + 1).sum())
            rows = int((positions == 0).sum())
        real = slots if mask is None else int(mask.sum())
        loss = stock_step(self, model, inputs, *args, **kwargs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        clocks = (time.perf_counter(), bench_parts.since_start(), time.process_time())
        marks.append(Mark(*clocks, real, slots, rows, pairs, len(inputs.get("image_sizes", ()))))
        return loss

    Trainer.training_step = training_step
    return marks


def random_on_device(loader, _cls=None):
    """In the place of Axolotl's loading of weights: the model of the loader's config, made on the
    GPU, linear maps in NF4 where the recipe loads them so.
    """
    config = loader.model_config
    config._attn_implementation = loader.model_kwargs.get("attn_implementation", "sdpa")
    model = random_model(config, loader.model_kwargs.get("quantization_config"))
    return model if loader.cfg.adapter else model.requires_grad_(True)


def random_model(config, quantization=None) -> LlavaForConditionalGeneration:
    """A Llava model of `config` with random weights on the GPU: bf16, its linear maps in NF4 where
    `quantization` says so.
    """
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        built = LlavaForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    if quantization:
        built = replace_with_bnb_linear(
            built,
            modules_to_not_convert=quantization.llm_int8_skip_modules,
            quantization_config=quantization,
        )
    for module in built.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, _random(module, name, parameter))
        if hasattr(module, "inv_freq"):  # buffers that only the constructor computes
            fresh = type(module)(module.config)
            for name, value in fresh.named_buffers(recurse=False):
                setattr(module, name, value.to("cuda"))
    if quantization:
        built.is_loaded_in_4bit = True
        built.is_quantized = True
        built.hf_quantizer = AutoHfQuantizer.from_config(quantization)
        built.config.quantization_config = quantization
    return built.eval()


def _random(module, name: str, parameter: torch.Tensor) -> torch.nn.Parameter:
    """A weight on the GPU: ones for a vector, NF4 for a 4-bit map, bf16 for the rest."""
    import bitsandbytes as bnb

    quantised = isinstance(module, bnb.nn.Linear4bit) and name == "weight"
    shape = (module.out_features, module.in_features) if quantised else parameter.shape
    value = torch.empty(shape, dtype=torch.bfloat16, device="cuda")
    value = value.fill_(1) if value.dim() == 1 else value.normal_(std=0.02)
    if not quantised:
        return torch.nn.Parameter(value, requires_grad=False)
    return bnb.nn.Params4bit(
        value, requires_grad=False, quant_type="nf4", compress_statistics=True, module=module
    ).cuda()


def longest(model, trainer) -> int:
    """The largest bin, in steps of PROBED tokens, whose forward and backward pass fit beside
    weights, adapter and optimizer, all layers recomputed; 0 when none does.
    """
    keep_activations(model, 0)
    model.train()
    fitting = 0
    failing = 17
    while failing - fitting > 1:
        steps = (fitting + failing) // 2
        if fits(model, trainer, steps * PROBED):
            fitting = steps
        else:
            failing = steps
        gc.collect()
        torch.cuda.empty_cache()
    return fitting * PROBED


def fits(model, trainer, length: int) -> bool:
    """Whether a bin of `length` tokens passes forth and back in the GPU's memory."""
    # One row of the whole length is the dearest bin; every second token is trained.
    ids = torch.randint(1000, 131072, (1, length), device="cuda")
    labels = ids.clone()
    labels[:, ::2] = -100
    positions = torch.arange(length, device="cuda")[None]
    try:
        with trainer.compute_loss_context_manager(), torch.autocast("cuda", torch.bfloat16):
            loss = model(input_ids=ids, position_ids=positions, labels=labels).loss
        loss.backward()
    except torch.OutOfMemoryError:
        return False
    return True
