"""Run under torchrun, once for each number of ranks (conftest.py): two epochs of our trainer, each rank writing which rows it saw in
which epoch (test_packing); then the trainings of shares.py (test_shares)."""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from axolotl.core.training_args import AxolotlTrainingArguments
from shares import Shares
from transformers import AutoProcessor, LlavaForConditionalGeneration

from training import model as patches
from training.data import Bins, Collator
from training.index import index
from training.plugin import AetherPlugin, AetherTrainer, renderer_for

dataset, tiny, out = map(Path, sys.argv[1:])

ranks, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
patches.install()
torch.manual_seed(0)
processor = AutoProcessor.from_pretrained(tiny)
found = index(dataset / "train.jsonl", renderer_for(processor))


def bins(**kwargs):
    tools = (renderer_for(processor), processor.image_processor)
    return Bins(found, np.arange(len(found)), *tools, capacity=900, seed=3, epochs=2, **kwargs)


data = bins(multiple=ranks)
seen = (out / f"rank-{rank}.txt").open("w")


class Watching(Collator):
    def __call__(self, bins):
        for row in (row for one in bins for row in one):
            print(trainer.train_dataset.epoch, row["id"], file=seen, flush=True)
        return super().__call__(bins)


class Cfg:
    seed = 3


kwargs = AetherPlugin().get_training_args(Cfg)
arguments = AxolotlTrainingArguments(
    output_dir=str(out / "run"), per_device_train_batch_size=1, gradient_accumulation_steps=2, num_train_epochs=2, report_to=[],
    save_strategy="no", use_cpu=True, logging_steps=1,
)  # fmt: skip
model = LlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32)
trainer = AetherTrainer(
    model=model,
    args=arguments,
    train_dataset=data,
    data_collator=Watching(),
    processing_class=processor.tokenizer,
)
trainer.train()
seen.close()
Shares(tiny, out, bins, ranks, rank).run()
