"""Run by ranks.py on each rank: a model in shares against the same training in one process; a stop, a NaN and a checkpoint."""

import json
import math
import os
import signal
from pathlib import Path

import torch
from axolotl.core.training_args import AxolotlTrainingArguments
from transformers import LlavaForConditionalGeneration

from training import sharding
from training.data import Collator
from training.failures import Diverged
from training.plugin import AetherPlugin
from training.signals import Interrupted, StopRequest
from training.trainer import AetherTrainer

STEPS = 4
BINS = 6  # of a step, whatever the number of ranks
pictures = []  # whether each micro-batch of this rank has any


class Cfg:
    seed = 3


class Watching(AetherTrainer):
    """Does something to this rank in the step that is named."""

    at = None  # (rank, step, what is done there)

    def training_step(self, model, inputs, *args, **kwargs):
        pictures.append("pixel_values" in inputs)
        loss = super().training_step(model, inputs, *args, **kwargs)
        if self.at and self.at[:2] == (self.args.process_index, self.state.global_step):
            return self.at[2](loss)
        return loss


class Shares:
    """The trainings of one rank."""

    def __init__(self, tiny: Path, out: Path, bins, ranks: int, rank: int):
        self.tiny, self.out, self.bins, self.ranks, self.rank = tiny, out, bins, ranks, rank

    def trainer(self, name: str, optim: str) -> Watching:
        model = LlavaForConditionalGeneration.from_pretrained(self.tiny, dtype=torch.float32)
        sharding.freeze_eyes(model)
        if self.ranks > 1:
            sharding.shard(model, masters=False, half=False)
        arguments = AxolotlTrainingArguments(
            output_dir=str(self.out / name), per_device_train_batch_size=1,
            gradient_accumulation_steps=BINS // self.ranks, max_steps=STEPS, save_steps=2,
            report_to=[], use_cpu=True, logging_steps=1, optim=optim, learning_rate=1e-3,
            gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": False},
            **AetherPlugin().get_training_args(Cfg),
        )  # fmt: skip
        held_out = self.bins(shuffle=False)
        held_out.bins = held_out.bins[:13]  # neither two nor three ranks have as many each
        trainer = Watching(
            model=model,
            args=arguments,
            train_dataset=self.bins(multiple=BINS),
            eval_dataset=held_out,
            data_collator=Collator(),
        )
        if self.ranks > 1:
            trainer.train_shares(None)
        return trainer

    def same(self) -> None:
        """What a training logs, by the steps that are the same on any number of ranks."""
        trainer = self.trainer("same", "adamw_torch")
        trainer.args.save_strategy = "no"
        before = trainer.held_out(trainer.eval_dataset)
        trainer.train()
        logged = [
            (log["loss"], float(log["grad_norm"])) for log in trainer.state.log_history[:STEPS]
        ]
        after = trainer.held_out(trainer.eval_dataset)
        bins = len(trainer.eval_dataset)
        found = {
            "logged": logged,
            "before": before,
            "after": after,
            "bins": bins,
            "pictures": pictures,
        }
        (self.out / f"same-{self.rank}.json").write_text(json.dumps(found))

    def whole(self, name: str, **kwargs) -> None:
        """Train to the end, or on from a checkpoint, and write the whole model."""
        trainer = self.trainer(name, "adamw_torch_8bit")
        trainer.train(**kwargs)
        (self.out / name).mkdir(exist_ok=True)
        sharding.write_whole(trainer.model, self.tiny, self.out / name)

    def ended(self, name: str, at, expected) -> str:
        """How a training ends in which something happens on the last rank."""
        trainer = self.trainer(name, "adamw_torch_8bit")
        trainer.at = at
        trainer.obey(StopRequest())
        try:
            trainer.train()
        except expected as error:
            return str(error)
        return "it did not end"

    def run(self) -> None:
        self.same()
        if self.ranks != 2:
            return
        self.whole("straight")
        last = self.ranks - 1
        told = {
            "stopped": self.ended("stopped", (last, 1, _told_to_stop), Interrupted),
            "diverged": self.ended("diverged", (last, 2, _not_a_number), Diverged),
        }
        (self.out / f"ended-{self.rank}.json").write_text(json.dumps(told))
        self.whole("stopped", resume_from_checkpoint=str(self.out / "stopped" / "checkpoint-2"))


def _told_to_stop(loss):
    os.kill(os.getpid(), signal.SIGTERM)
    return loss


def _not_a_number(loss):
    return loss * math.nan
