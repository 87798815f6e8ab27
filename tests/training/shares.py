"""Run by ranks.py on each rank: a model in shares, and an adapter of which every rank has a copy, against the same training in one
process; a stop, a NaN and a checkpoint."""

import json
import math
import os
import signal
from pathlib import Path

import torch
from axolotl.core.training_args import AxolotlTrainingArguments
from peft import LoraConfig, get_peft_model
from references import TARGETS
from transformers import LlavaForConditionalGeneration

from training import sharding
from training.data import Collator
from training.failures import Diverged
from training.plugin import AetherPlugin
from training.signals import Interrupted, StopRequest
from training.trainer import AetherTrainer

STEPS = 4
DROPOUT = 0.1  # of an adapter that is resumed: each rank's random numbers must be too
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

    def trainer(
        self,
        name: str,
        optim: str,
        dropout: float | None = None,
        masters: bool | None = None,
    ) -> Watching:
        """Of all weights, in shares over several ranks; with a `dropout` of an adapter. With
        `masters` or without in bfloat16, as Axolotl hands a model over.
        """
        half = masters is not None
        kind = torch.bfloat16 if half else torch.float32
        model = LlavaForConditionalGeneration.from_pretrained(self.tiny, dtype=kind)
        for part, module in model.named_modules():
            if "norm" in part or part.endswith(("embed_tokens", "lm_head")):
                module.float()
        sharding.freeze_eyes(model)
        shared = self.ranks > 1 and dropout is None
        if dropout is not None:
            torch.manual_seed(0)
            low = LoraConfig(r=8, lora_alpha=16, lora_dropout=dropout, target_modules=TARGETS)
            model = get_peft_model(model, low)
        if shared:
            sharding.shard(model, bool(masters), half)
        arguments = AxolotlTrainingArguments(
            output_dir=str(self.out / name), per_device_train_batch_size=1,
            gradient_accumulation_steps=BINS // self.ranks, max_steps=STEPS, save_steps=2,
            report_to=[], use_cpu=True, logging_steps=1, optim=optim, learning_rate=1e-3,
            bf16=half, optim_args="bf16_stochastic_round=True" if masters is False else None,
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
        if shared:
            trainer.train_shares(None)
        return trainer

    def same(self, name: str, dropout: float | None) -> None:
        """What a training logs, by the steps that are the same on any number of ranks."""
        pictures.clear()
        trainer = self.trainer(name, "adamw_torch", dropout)
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
        (self.out / f"{name}-{self.rank}.json").write_text(json.dumps(found))

    def whole(self, name: str, **kwargs) -> None:
        """Train to the end, or on from a checkpoint, and write the whole model."""
        trainer = self.trainer(name, "adamw_torch_8bit")
        trainer.train(**kwargs)
        (self.out / name).mkdir(exist_ok=True)
        sharding.write_whole(trainer.model, self.tiny, self.out / name)

    def halved(self, name: str, masters: bool) -> None:
        """Train in bfloat16; what the losses are, and in which types weights are kept."""
        trainer = self.trainer(name, "adamw_torch_8bit", masters=masters)
        trainer.args.max_steps = 2
        trainer.train()
        losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        trained = [p for p in trainer.model.parameters() if p.requires_grad]
        types = sorted({str(parameter.dtype) for parameter in trained})
        found = {"losses": losses, "types": types}
        (self.out / f"{name}-{self.rank}.json").write_text(json.dumps(found))

    def adapter(self, name: str, **kwargs) -> None:
        """Train an adapter to the end, or on from a checkpoint, and write it."""
        trainer = self.trainer(name, "adamw_torch", DROPOUT)
        trainer.train(**kwargs)
        trainer.save_model(str(self.out / name))

    def ended(self, name: str, at, expected, dropout: float | None = None) -> str:
        """How a training ends in which something happens on the last rank."""
        trainer = self.trainer(name, "adamw_torch" if dropout else "adamw_torch_8bit", dropout)
        trainer.at = at
        trainer.obey(StopRequest())
        try:
            trainer.train()
        except expected as error:
            return str(error)
        return "it did not end"

    def run(self) -> None:
        self.same("same", None)
        self.same("adapted", 0.0)
        if self.ranks != 2:
            return
        self.halved("masters", True)
        self.halved("rounded", False)
        self.whole("straight")
        self.adapter("straight-adapter")
        last = self.ranks - 1
        told = {}
        for name, dropout in (("", None), ("-adapter", DROPOUT)):
            stop = (last, 1, _told_to_stop)
            told[f"stopped{name}"] = self.ended(f"stopped{name}", stop, Interrupted, dropout)
            nan = (last, 2, _not_a_number)
            told[f"diverged{name}"] = self.ended(f"diverged{name}", nan, Diverged, dropout)
        (self.out / f"ended-{self.rank}.json").write_text(json.dumps(told))
        self.whole("stopped", resume_from_checkpoint=str(self.out / "stopped" / "checkpoint-2"))
        checkpoint = self.out / "stopped-adapter" / "checkpoint-2"
        self.adapter("stopped-adapter", resume_from_checkpoint=str(checkpoint))


def _told_to_stop(loss):
    os.kill(os.getpid(), signal.SIGTERM)
    return loss


def _not_a_number(loss):
    return loss * math.nan
