"""The bench's side "unsloth": Unsloth's own trainer on the same rows, with the recipe's adapter.

It wants a checkpoint in a folder, so one of the true shape is written first (30 GB, into TMPDIR).
Of several batch sizes with the same rows a step the fastest counts. Needs a GPU, and Unsloth's
packages in a folder that `make bench` is told of: they stand in no lock of ours.
"""

import json
import tempfile
import time
from pathlib import Path

import torch

from common.memory import GIB
from training.bench_rows import OUT, SEQUENCE_LEN

CHECKPOINT = Path(tempfile.gettempdir()) / "apriel_random"
# (rows a micro-batch, micro-batches a step). Of 1 x 8, 2 x 4 and 4 x 2 this was the best (LOG.md);
# each costs minutes of compiling.
BATCHES = ((4, 2),)
WARM = 8  # steps: it compiles in the first


def write_checkpoint(shape: Path) -> None:
    """A random bf16 checkpoint of the configuration, tokenizer and processor in `shape`."""
    import shutil

    from transformers import AutoConfig

    from training.bench_side import random_model

    shutil.copytree(shape, CHECKPOINT, dirs_exist_ok=True)
    model = random_model(AutoConfig.from_pretrained(shape))
    model.config.dtype = "bfloat16"
    model.save_pretrained(CHECKPOINT)


def measure(recipe: dict, usable_gib: float, steps: int) -> dict:
    """Figures of the best of BATCHES, `steps` counted steps each, under `usable_gib`."""
    from unsloth import FastVisionModel  # first: it patches what the others import

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, usable_gib * GIB / total))
    model, processor = FastVisionModel.from_pretrained(
        str(CHECKPOINT),
        max_seq_length=SEQUENCE_LEN,
        dtype=torch.bfloat16,
        load_in_4bit=True,
        use_gradient_checkpointing="unsloth",
    )
    model = FastVisionModel.get_peft_model(
        model,
        finetune_vision_layers=False,
        finetune_language_layers=True,
        finetune_attention_modules=True,
        finetune_mlp_modules=True,
        r=recipe["lora_r"],
        lora_alpha=recipe["lora_alpha"],
        lora_dropout=0,
        bias="none",
        random_state=recipe["seed"],
    )
    FastVisionModel.for_training(model)
    rows = _rows()
    tried = [_train(model, processor, rows, batch, steps) for batch in BATCHES]
    best = max(tried, key=lambda figures: figures["tokens_per_s"])
    return best | {"tried": tried}


def _rows() -> list[dict]:
    """The bench's rows with their pictures opened, as Unsloth's collator reads them."""
    from PIL import Image

    rows = []
    for line in (OUT / "rows" / "stock.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for message in row["messages"]:
            for part in message["content"]:
                if part["type"] == "image":
                    part["image"] = Image.open(part.pop("path")).convert("RGB")
        rows.append(row)
    return rows


def _train(model, processor, rows, batch: tuple[int, int], steps: int) -> dict:
    """Figures of one batch size: real and padded tokens a second after the warm steps."""
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer
    from unsloth.trainer import UnslothVisionDataCollator

    class Clock(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            torch.cuda.synchronize()
            ends.append(time.perf_counter())

    ends: list[float] = []
    seen: list[tuple[int, int]] = []  # (real, all) tokens of a step
    size, accumulation = batch
    torch.cuda.reset_peak_memory_stats()
    collator = UnslothVisionDataCollator(
        model,
        processor,
        max_seq_length=SEQUENCE_LEN,
        resize="max",
        train_on_responses_only=True,
        instruction_part="<|user|>\n",
        response_part="<|assistant|>\n",
    )
    arguments = SFTConfig(
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation,
        max_steps=WARM + steps,
        learning_rate=1e-4,
        optim="adamw_8bit",
        bf16=True,
        output_dir=str(OUT / "unsloth"),
        report_to="none",
        remove_unused_columns=False,
        dataset_text_field="",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=SEQUENCE_LEN,
        logging_steps=1,
        save_strategy="no",
        dataloader_num_workers=4,
        dataloader_prefetch_factor=4,
    )
    trainer = SFTTrainer(
        model=model,
        processing_class=processor.tokenizer,
        data_collator=collator,
        train_dataset=rows,
        args=arguments,
        callbacks=[Clock()],
    )
    stock = trainer.get_batch_samples

    def get_batch_samples(*args, **kwargs):
        found = stock(*args, **kwargs)
        masks = [batch["attention_mask"] for batch in found[0]]
        seen.append((sum(int(m.sum()) for m in masks), sum(m.numel() for m in masks)))
        return found

    trainer.get_batch_samples = get_batch_samples
    trainer.train()
    counted = seen[WARM : len(ends)]
    seconds = ends[-1] - ends[WARM - 1]
    real = sum(tokens for tokens, _ in counted)
    return {
        "variant": f"unsloth {size} x {accumulation}",
        "tokens_per_s": real / seconds,
        "padded_share": 1 - real / sum(slots for _, slots in counted),
        "seconds": seconds,
        "peak_gib": torch.cuda.max_memory_reserved() / GIB,
    }
