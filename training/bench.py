"""Speed and memory, measured: python -m training.bench [--gpu]   (make bench)

Both sides train the same rows through real Axolotl, each in a process of its own: a recipe as shipped, and Axolotl's own Pixtral
settings (its examples/pixtral/lora-12b.yml: one row a micro-batch, stock loader, loss and kernels) with the recipe's adapter.
Without a GPU the tiny model is trained on the CPU; with --gpu the true Apriel-1.5 shape, random weights made on the device in NF4,
under the memory of a 48 GB card. Real tokens are those of rows and images; padding does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import facts, rows
from common.files import ROOT
from common.recipes import find
from training import memory
from training.environment import quiet_environment

OUT = ROOT / "outputs" / "bench"
SEQUENCE_LEN = (
    8192  # of the real recipes, on the tiny model too: rows with pictures are part of the mix
)


def stock(recipe: dict) -> dict:
    """Axolotl's Pixtral example with a recipe's base model, adapter, precision and sequence length."""
    same = (
        "base_model", "processor_type", "chat_template", "skip_prepare_dataset", "sequence_len", "adapter", "load_in_4bit",
        "bnb_config_kwargs", "lora_r", "lora_alpha", "lora_target_modules", "bf16", "tf32", "learning_rate", "lr_scheduler", "seed",
        "warmup_steps", "dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_pin_memory",
    )  # fmt: skip
    kernels = dict.fromkeys(
        ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"), False
    )  # they fail for llava by themselves
    return {key: recipe[key] for key in same if key in recipe} | kernels | {
        "datasets": [{"path": str(OUT / "rows" / "stock.jsonl"), "ds_type": "json", "type": "chat_template"}],
        "remove_unused_columns": False, "sample_packing": False, "pad_to_sequence_len": False, "val_set_size": 0.0,
        "lora_dropout": 0.05, "gradient_accumulation_steps": 4, "micro_batch_size": 1, "weight_decay": 0.0,
        "optimizer": "adamw_bnb_8bit" if recipe.get("bf16") else "adamw_torch",  # 8-bit optimizers need a GPU
        "gradient_checkpointing": True, "attn_implementation": "sdpa", "num_epochs": 1,
    }  # fmt: skip


def write_rows(data: Path, limit: int, renderer, longest: int) -> dict:
    """Write `limit` rows drawn from those that fit to OUT/rows, for our loader and for the stock one; say what they are."""
    lines = [(offset, len(line)) for _, offset, line in rows.lines(data / "train.jsonl")]
    random.Random(0).shuffle(lines)
    folder = OUT / "rows"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    lengths, pictures = [], 0
    source, ours, theirs = data / "train.jsonl", folder / "train.jsonl", folder / "stock.jsonl"
    with source.open("rb") as source, ours.open("w") as ours, theirs.open("w") as theirs:
        for offset, size in lines:
            source.seek(offset)
            row = rows.parse(source.read(size))
            encoded = renderer.encode(row, data)
            if len(encoded.input_ids) > longest:
                continue
            for image in encoded.images:
                shutil.copyfile(image.path, folder / "images" / image.path.name)
            ours.write(json.dumps(row) + "\n")
            messages = [
                {"role": m["role"], "content": [_stock_part(p, folder) for p in m["content"]]}
                for m in row["messages"]
            ]
            theirs.write(json.dumps({"messages": messages}) + "\n")
            lengths.append(len(encoded.input_ids))
            pictures += len(encoded.images)
            if len(lengths) == limit:
                break
    shutil.copyfile(folder / "train.jsonl", folder / "val.jsonl")
    (folder / "manifest.json").write_text(
        json.dumps({"data_sha256": str(time.time_ns()), "files": {}})
    )
    return {
        "rows": len(lengths),
        "tokens": sum(lengths),
        "median": statistics.median(lengths),
        "longest": max(lengths),
        "images": pictures,
    }


def _stock_part(part: dict, folder: Path) -> dict:
    return (
        {"type": "text", "text": part["text"]}
        if part["type"] == "text"
        else {"type": "image", "path": str(folder / part["path"])}
    )


def model_folder(gpu: bool) -> Path:
    """A base for the bench: the tiny random model, or the true shape as configuration, tokenizer and processor without weights."""
    tiny = ROOT / "outputs" / "tiny_init"
    if not gpu:
        return tiny
    import torch
    from transformers import PixtralImageProcessor, PixtralProcessor

    from training.renderers import pixtral_tokenizer
    from training.tiny_base import model

    folder = OUT / "apriel_shape"
    with torch.device("meta"):
        model(facts.APRIEL_15B, 0).config.save_pretrained(folder)
    tokenizer = pixtral_tokenizer()
    processor = PixtralProcessor(
        PixtralImageProcessor(),
        tokenizer,
        patch_size=facts.PATCH,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    return folder


def random_on_device(loader, _cls=None):
    """In the place of Axolotl's loading of weights: the model of the loader's config, made on the GPU, linear maps in NF4."""
    import bitsandbytes as bnb
    import torch
    from transformers import LlavaForConditionalGeneration
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.auto import AutoHfQuantizer

    config = loader.model_config
    quantization = loader.model_kwargs["quantization_config"]
    config._attn_implementation = loader.model_kwargs.get("attn_implementation", "sdpa")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        built = LlavaForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    skipped = quantization.llm_int8_skip_modules
    built = replace_with_bnb_linear(
        built, modules_to_not_convert=skipped, quantization_config=quantization
    )
    for module in built.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(module, bnb.nn.Linear4bit) and name == "weight":
                shape = (module.out_features, module.in_features)
                value = torch.empty(shape, dtype=torch.bfloat16, device="cuda").normal_(std=0.02)
                made = bnb.nn.Params4bit(
                    value,
                    requires_grad=False,
                    quant_type="nf4",
                    compress_statistics=True,
                    module=module,
                ).cuda()
            else:
                value = torch.empty(parameter.shape, dtype=torch.bfloat16, device="cuda")
                made = torch.nn.Parameter(
                    value.fill_(1) if value.dim() == 1 else value.normal_(std=0.02),
                    requires_grad=False,
                )
            module._parameters[name] = made
    for module in built.modules():
        if hasattr(module, "inv_freq"):  # buffers that only the constructor computes
            fresh = type(module)(module.config)
            for key, value in fresh.named_buffers(recurse=False):
                setattr(module, key, value.to("cuda"))
    built.is_loaded_in_4bit = built.is_quantized = True
    built.hf_quantizer = AutoHfQuantizer.from_config(quantization)
    built.config.quantization_config = quantization
    return built.eval()


def side(variant: str, recipe_name: str, gpu: bool, steps: int, warm: int, probe: bool) -> dict:
    """Train `steps` optimizer steps of one side in this process; figures over those after the first `warm`."""
    import torch
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import load_datasets
    from axolotl.integrations.base import PluginManager
    from axolotl.loaders.model import ModelLoader
    from axolotl.train import train
    from axolotl.utils.dict import DictDefault
    from transformers import Trainer

    from training.meter import matmul_ceiling

    recipe = find(recipe_name).data
    cfg = dict(recipe) | {
        "base_model": str(model_folder(gpu)),
        "rows": {"path": str(OUT / "rows")},
        "sequence_len": SEQUENCE_LEN,
    }
    cfg = stock(cfg) if variant == "stock" else cfg
    for key in (
        "eval_steps",
        "eval_strategy",
        "use_wandb",
        "wandb_project",
        "wandb_name",
        "save_steps",
    ):
        cfg.pop(key, None)
    cfg |= {
        "output_dir": str(OUT / "run"),
        "max_steps": steps,
        "save_strategy": "no",
        "logging_steps": 1,
    }
    figures: dict = {"variant": variant}
    if gpu:
        figures["ceiling"] = matmul_ceiling()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory.L40S_GIB * 2**30 / total))
        ModelLoader._load_model_from_pretrained = random_on_device
    marks: list[
        tuple[float, int, int, float]
    ] = []  # (time, real tokens, token slots, attention pairs) of each micro-batch
    stock_step = Trainer.training_step

    def training_step(self, model, inputs, *args, **kwargs):
        ids, mask, positions = (
            inputs["input_ids"],
            inputs.get("attention_mask"),
            inputs.get("position_ids"),
        )
        real = int(mask.sum()) if mask is not None else ids.numel()
        if positions is not None:
            pairs = float((positions + 1).sum())
        else:
            lengths = (
                mask.sum(-1).double()
                if mask is not None
                else torch.tensor([float(ids.shape[1])] * ids.shape[0])
            )
            pairs = float((lengths * (lengths + 1) / 2).sum())
        loss = stock_step(self, model, inputs, *args, **kwargs)
        if gpu:
            torch.cuda.synchronize()
        marks.append((time.perf_counter(), real, ids.numel(), pairs, time.process_time()))
        return loss

    Trainer.training_step = training_step
    parsed = load_cfg(DictDefault(cfg))
    data = PluginManager.get_instance().load_datasets(parsed) if parsed.plugins else None
    model, _, trainer = train(
        cfg=parsed, dataset_meta=data or load_datasets(cfg=parsed, cli_args=TrainerCliArgs())
    )
    skip = warm * parsed.gradient_accumulation_steps
    seconds = marks[-1][0] - marks[skip - 1][0]
    real, slots, pairs = (sum(mark[i] for mark in marks[skip:]) for i in (1, 2, 3))
    figures["cpu_tokens_per_s"] = real / (marks[-1][4] - marks[skip - 1][4])
    figures |= {
        "steps": len(marks) // parsed.gradient_accumulation_steps - warm,
        "tokens_per_s": real / seconds,
        "padded_share": 1 - real / slots,
        "seconds": seconds,
        "last_loss": trainer.state.log_history[-2].get("loss"),
    }
    if gpu:
        flops = facts.APRIEL_15B.training_flops(real, pairs)
        figures["share_of_ceiling"] = flops / seconds / figures["ceiling"]
        figures["peak_gib"] = torch.cuda.max_memory_reserved() / 2**30
        figures["peak_allocated_gib"] = torch.cuda.max_memory_allocated() / 2**30
        if probe:
            figures["longest_sequence_len"] = longest(model, trainer)
    return figures


def longest(model, trainer) -> int:
    """The largest bin, in steps of 16,384 tokens, whose forward and backward pass fit beside weights, adapter and optimizer."""
    import gc

    import torch

    fits = 0
    model.train()
    for length in range(16384, 65537, 16384):
        # One row of the whole length is the dearest bin; every second token is trained.
        ids = torch.randint(1000, 131072, (1, length), device="cuda")
        labels = ids.clone()
        labels[:, ::2] = -100
        try:
            with trainer.compute_loss_context_manager(), torch.autocast("cuda", torch.bfloat16):
                loss = model(
                    input_ids=ids,
                    position_ids=torch.arange(length, device="cuda")[None],
                    labels=labels,
                ).loss
            loss.backward()
        except torch.OutOfMemoryError:
            break
        fits = length
        loss = None
        gc.collect()
        torch.cuda.empty_cache()
    return fits


def run_side(variant: str, options: argparse.Namespace, probe: bool) -> dict:
    """Measure one side in a process of its own; a failure is a row of the table, not the end of the bench."""
    result = OUT / "side.json"
    result.unlink(missing_ok=True)
    words = [
        "--side",
        variant,
        "--recipe",
        options.recipe,
        "--steps",
        str(options.steps),
        "--warm",
        str(options.warm),
    ]
    words += ["--gpu"] * options.gpu + ["--probe"] * probe
    log = (OUT / f"{variant}.log").open("w")
    started = time.monotonic()
    code = subprocess.run(
        [sys.executable, "-m", "training.bench", *words], cwd=ROOT, stdout=log, stderr=log
    ).returncode
    wall = round(time.monotonic() - started)
    if code or not result.exists():
        tail = Path(log.name).read_text(errors="replace").strip().splitlines()[-1:]
        return {
            "variant": variant,
            "failed": tail[0][:200] if tail else f"exit {code}",
            "wall_s": wall,
        }
    return json.loads(result.read_text()) | {"wall_s": wall}


def table(found: list[dict]) -> str:
    """The figures as Markdown."""
    base = next(
        (f["tokens_per_s"] for f in found if f["variant"] == "stock" and "tokens_per_s" in f), None
    )
    lines = [
        "| side | real tokens/s | against stock | padded | peak GiB | of the ceiling | longest |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in found:
        if "failed" in f:
            lines.append(f"| {f['variant']} | failed: {f['failed']} | | | | | |")
            continue
        ratio = f"{f['tokens_per_s'] / base:.2f}x" if base else ""
        peak = f"{f['peak_gib']:.1f}" if "peak_gib" in f else ""
        share = f"{f['share_of_ceiling']:.0%}" if "share_of_ceiling" in f else ""
        lines.append(
            f"| {f['variant']} | {f['tokens_per_s']:,.0f} | {ratio} | {f['padded_share']:.1%} | {peak} | {share} | "
            f"{f.get('longest_sequence_len', '')} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.bench", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--gpu", action="store_true", help="the true shape on this machine's GPU")
    parser.add_argument(
        "--recipe", help="recipe whose settings are ours (default: tiny, with --gpu qlora_r128)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of a built dataset (default: aether where it is built, else tiny)",
    )
    parser.add_argument("--steps", type=int, help="optimizer steps a side")
    parser.add_argument("--warm", type=int, default=2, help="optimizer steps that are not counted")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.recipe = options.recipe or ("qlora_r128" if options.gpu else "tiny")
    options.steps = options.steps or (8 if options.gpu else 20)
    os.chdir(ROOT)
    quiet_environment()
    OUT.mkdir(parents=True, exist_ok=True)
    if options.side:
        found = side(
            options.side, options.recipe, options.gpu, options.steps, options.warm, options.probe
        )
        (OUT / "side.json").write_text(json.dumps(found))
        return 0
    from training.renderers import renderer_of

    data = options.data or next(
        (p for n in ("aether", "tiny") if (p := ROOT / "datasets" / n / "build").exists()), None
    )
    if data is None:
        print("error: no built dataset; run make data DATASET=tiny", file=sys.stderr)
        return 1
    lengths = write_rows(data, options.rows, renderer_of(model_folder(options.gpu)), SEQUENCE_LEN)
    print(
        f"{data}: {', '.join(f'{key} {value:,.0f}' for key, value in lengths.items())}", flush=True
    )
    found = []
    for variant in ("stock", "ours"):
        found.append(run_side(variant, options, probe=options.gpu and variant == "ours"))
        print(table(found[-1:]).splitlines()[-1], f"({found[-1]['wall_s']} s)", flush=True)
    (OUT / "bench.json").write_text(
        json.dumps({"rows": lengths, "recipe": options.recipe, "sides": found}, indent=1)
    )
    print(f"\n{table(found)}\n\nwritten to {OUT.relative_to(ROOT)}/bench.json")
    return 1 if any("failed" in f for f in found) else 0


if __name__ == "__main__":
    sys.exit(main())
