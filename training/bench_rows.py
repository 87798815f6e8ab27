"""What both sides of the bench train on: rows for our loader and for the stock one, and a base
model.
"""

import json
import os
import random
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path

from common import facts, rows
from common.bases import base_of
from common.files import ROOT, write_json
from common.processes import are_several
from common.recipes import find
from training.prerequisites import ensure_base

OUT = ROOT / "outputs" / "bench"
SEQUENCE_LEN = (
    8192  # of the real recipes, on the tiny model too: rows with pictures are part of the mix
)

# What the stock side takes from the recipe.
SAME = (
    "base_model",
    "processor_type",
    "chat_template",
    "skip_prepare_dataset",
    "sequence_len",
    "adapter",
    "load_in_4bit",
    "bnb_config_kwargs",
    "lora_r",
    "lora_alpha",
    "lora_target_modules",
    "bf16",
    "tf32",
    "learning_rate",
    "lr_scheduler",
    "seed",
    "warmup_steps",
    "dataloader_num_workers",
    "dataloader_prefetch_factor",
    "dataloader_pin_memory",
)
# Axolotl's examples/pixtral/lora-12b.yml; its LoRA kernels are off because they fail for llava by
# themselves.
EXAMPLE = {
    "lora_mlp_kernel": False,
    "lora_qkv_kernel": False,
    "lora_o_kernel": False,
    "remove_unused_columns": False,
    "sample_packing": False,
    "pad_to_sequence_len": False,
    "val_set_size": 0.0,
    "lora_dropout": 0.05,
    "gradient_accumulation_steps": 4,
    "micro_batch_size": 1,
    "weight_decay": 0.0,
    "gradient_checkpointing": True,
    "attn_implementation": "sdpa",
    "num_epochs": 1,
}


def stock(recipe: dict) -> dict:
    """Axolotl's Pixtral example with a recipe's base model, adapter, precision and length."""
    taken = {key: recipe[key] for key in SAME if key in recipe}
    optimizer = "adamw_bnb_8bit" if recipe.get("bf16") else "adamw_torch"  # 8 bits need a GPU
    source = {"path": str(OUT / "rows" / "stock.jsonl"), "ds_type": "json", "type": "chat_template"}
    return taken | EXAMPLE | {"datasets": [source], "optimizer": optimizer}


def write_rows(data: Path, limit: int, renderer, longest: int) -> dict[str, float]:
    """Write `limit` rows drawn from those of at most `longest` tokens to OUT/rows, for both
    loaders; say what they are.
    """
    lines = [(offset, len(line)) for _, offset, line in rows.lines(data / "train.jsonl")]
    random.Random(0).shuffle(lines)
    folder = OUT / "rows"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    ours = []
    theirs = []
    lengths = []
    pictures = 0
    with (data / "train.jsonl").open("rb") as source:
        for offset, size in lines:
            source.seek(offset)
            row = rows.parse(source.read(size))
            encoded = renderer.encode(row, data)
            if len(encoded.input_ids) > longest:
                continue
            for image in encoded.images:
                shutil.copyfile(image.path, folder / "images" / image.path.name)
            ours.append(row)
            theirs.append({"messages": [_stock_message(m, folder) for m in row["messages"]]})
            lengths.append(len(encoded.input_ids))
            pictures += len(encoded.images)
            if len(lengths) == limit:
                break
    for name, written in (("train", ours), ("val", ours), ("stock", theirs)):
        text = "".join(json.dumps(row) + "\n" for row in written)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    write_json(folder / "manifest.json", {"data_sha256": str(time.time_ns()), "files": {}})
    return {
        "rows": len(lengths),
        "tokens": sum(lengths),
        "median": statistics.median(lengths),
        "longest": max(lengths),
        "images": pictures,
    }


def _stock_message(message: dict, folder: Path) -> dict:
    """A message as Axolotl's loader reads it, images by whole paths."""
    parts = []
    for part in message["content"]:
        if part["type"] == "text":
            parts.append({"type": "text", "text": part["text"]})
        else:
            parts.append({"type": "image", "path": str(folder / part["path"])})
    return {"role": message["role"], "content": parts}


def model_folder(gpu: bool) -> Path:
    """The tiny random model, made where it is not there, or, for a GPU, the true shape:
    configuration, tokenizer and processor without weights, of LAYERS= decoder layers.
    """
    if not gpu:
        base = base_of(find("tiny_base"))
        ensure_base(base)
        return base.local()
    folder = OUT / "apriel_shape"
    if are_several():
        return folder  # made by their parent
    import torch
    from transformers import PixtralImageProcessor, PixtralProcessor

    from training.renderers import pixtral_tokenizer
    from training.tiny_base import model

    layers = int(os.environ.get("LAYERS") or facts.APRIEL_15B.layers)
    with torch.device("meta"):
        model(replace(facts.APRIEL_15B, layers=layers), 0).config.save_pretrained(folder)
    tokenizer = pixtral_tokenizer()
    processor = PixtralProcessor(
        PixtralImageProcessor(),
        tokenizer,
        patch_size=facts.PATCH,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    return folder
