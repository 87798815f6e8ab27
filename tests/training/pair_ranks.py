"""Run by test_preference under torchrun: three epochs of PreferenceTrainer in float64; the first rank
writes the adapter and what was logged. With a step, it dies there, as by a kill; started again, it goes
on from the last checkpoint."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from axolotl.core.training_args import AxolotlTrainingArguments
from peft import LoraConfig, get_peft_model
from references import TARGETS
from transformers import AutoProcessor, LlavaForConditionalGeneration, TrainerCallback

from training import checkpoints
from training import model as patches
from training.data import Bins, Collator
from training.index import index
from training.plugin import AetherPlugin
from training.preference import PreferenceTrainer
from training.recipe_schema import Preference
from training.renderers import renderer_for

dataset, tiny, out = map(Path, sys.argv[1:4])
accumulate = int(sys.argv[4])
dies_at = int(sys.argv[5])
saved = checkpoints.all_of(out / "run")
patches.install()
torch.manual_seed(0)
processor = AutoProcessor.from_pretrained(tiny)


def bins(name, **kwargs):
    found = index(dataset / f"{name}.jsonl", renderer_for(processor), pairs=True)
    chosen = np.arange(len(found))
    tools = (renderer_for(processor), processor.image_processor)
    return Bins(found, chosen, *tools, capacity=2000, seed=3, **kwargs)


class Cfg:
    seed = 3


arguments = AxolotlTrainingArguments(
    output_dir=str(out / "run"), per_device_train_batch_size=1,
    gradient_accumulation_steps=accumulate, num_train_epochs=3, report_to=[], save_steps=1,
    use_cpu=True, logging_steps=1, eval_strategy="epoch", eval_on_start=not saved, learning_rate=1e-3,
    **AetherPlugin().get_training_args(Cfg),
)  # fmt: skip
model = LlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float64)
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS)).double()
before = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
trainer = PreferenceTrainer(
    model=model,
    args=arguments,
    train_dataset=bins("pairs", epochs=3, multiple=6),
    eval_dataset=bins("pairs_val", shuffle=False),
    data_collator=Collator(with_rows=True),
    processing_class=processor.tokenizer,
)
trainer.prefer(Preference(loss="dpo", beta=0.5))


class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


trainer.add_callback(Kill())
trainer.train(resume_from_checkpoint=str(saved[0]) if saved else None)
frozen = dict(model.named_parameters())
assert all(torch.equal(value, frozen[name]) for name, value in before.items()), "the base moved"
if os.environ["RANK"] == "0":
    adapter = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    torch.save(adapter, out / "adapter.pt")
    (out / "history.json").write_text(json.dumps(trainer.state.log_history))
