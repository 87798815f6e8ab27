"""Axolotl's trainer with our loss, a held-out loss by category, speed figures, and checkpoints that survive what ends a run."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from axolotl.core.trainers.base import AxolotlTrainer
from transformers.trainer_utils import rotate_checkpoints

from training import checkpoints
from training.data import Collator
from training.failures import Diverged, Interrupted, StopRequest, leave_signals_to_the_trainer
from training.render import IGNORE
from training.tracking import Meter


class AetherTrainer(AxolotlTrainer):
    """The loss is averaged over trained tokens, in training and in evaluation."""

    stop: StopRequest | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.meter = Meter(self.model.config.to_dict())
        # Our forward divides by num_items_in_batch; Axolotl looks for the argument where PEFT hides it, and turns it off.
        self.model_accepts_loss_kwargs = True

    def train(self, *args, **kwargs):
        if self.stop:
            self.stop.defer()
        self.meter.begin()
        return super().train(*args, **kwargs)

    def get_train_dataloader(self):
        loader = super().get_train_dataloader()
        inner = getattr(
            loader, "base_dataloader", loader
        )  # accelerate's wrapper does not pass on what is set on it
        seed = inner.worker_init_fn
        inner.worker_init_fn = lambda n: (leave_signals_to_the_trainer(n), seed and seed(n))
        return loader

    def _run_epoch(self, *args, epoch, **kwargs):
        if (
            self.state.global_step >= self.state.max_steps
        ):  # resumed from the last step's checkpoint: stock code takes one more
            self.control.should_training_stop = True
            return None
        # accelerate tells the dataset its epoch only on one rank and only in an epoch that was not resumed.
        self.train_dataset.set_epoch(epoch)
        return super()._run_epoch(*args, epoch=epoch, **kwargs)

    def training_step(self, model, inputs, *args, **kwargs):
        self.meter.add(inputs)
        return super().training_step(model, inputs, *args, **kwargs)

    def log(self, logs, *args, **kwargs):
        if "loss" in logs:
            logs |= self.meter.read()
        return super().log(logs, *args, **kwargs)

    def _maybe_log_save_evaluate(self, tr_loss, grad_norm, *args, **kwargs):
        """Save where a signal asks for it; look at loss and gradient before they are logged or, worse, their weights saved."""
        if self.stop and self.stop.signal:
            self.control.should_save = self.control.should_log = True
        if self.control.should_log or self.control.should_save:
            for name, value in (("loss", tr_loss), ("gradient", grad_norm)):
                if value is not None and not math.isfinite(float(value)):
                    said = f"the {name} is {float(value)} at step {self.state.global_step} of {self.state.max_steps} and was not saved"
                    raise Diverged(
                        f"{said}; going on would repeat it: lower learning_rate in a new version, or look at the last rows"
                    )
        return super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)

    def _save_checkpoint(self, model, trial, evaluated: bool = True):
        """Save, verify and seal; only then remove older ones, copy to the mirror, and stop where a signal asked to.

        `evaluated` is false when the evaluation of this step was cut short: a resumed run makes it up.
        """
        folder = self._checkpoint()
        (folder / checkpoints.SEAL).unlink(missing_ok=True)
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoints.seal(folder, evaluated=evaluated)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # half of it would only keep a full disk full
            raise
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            rotate_checkpoints(str(folder.parent), limit, self.state.best_model_checkpoint)
            checkpoints.push(folder.parent, folder.name, limit or sys.maxsize)
        self.meter.reset()
        self._stop_if_asked()

    def _checkpoint(self) -> Path:
        return Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"

    def _stop_if_asked(self):
        if self.stop and self.stop.signal:
            saved = (
                f"{self._checkpoint().name} is saved"
                if self.state.global_step
                else "nothing to save yet"
            )
            raise Interrupted(
                self.stop.signal,
                f"at step {self.state.global_step} of {self.state.max_steps}, {saved}",
            )

    def _leave_evaluation(self):
        """Save this step, unless it is saved and its evaluation is being made up, and stop."""
        if self.state.global_step and checkpoints.sealed(self._checkpoint()).get("evaluated", True):
            self._save_checkpoint(self.model, None, evaluated=False)
        self._stop_if_asked()

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Held-out loss in nats a trained token: over all rows, and of each category."""
        dataset = eval_dataset if eval_dataset is not None else self.eval_dataset
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        loader = torch.utils.data.DataLoader(
            torch.utils.data.Subset(dataset, range(rank, len(dataset), ranks)),
            batch_size=1,
            collate_fn=Collator(with_rows=True),
            num_workers=self.args.dataloader_num_workers,
            worker_init_fn=leave_signals_to_the_trainer,
        )
        names = np.unique(dataset.index.categories[dataset.chosen])
        sums = np.zeros((2, len(names)))  # nats, tokens
        was_training = self.model.training
        self.model.eval()
        for batch in loader:
            if self.stop and self.stop.signal:
                self._leave_evaluation()
            owners = batch.pop("row_index")[0, :-1][batch["labels"][0, 1:] != IGNORE]
            categories = np.searchsorted(names, batch.pop("categories"))[owners.numpy()]
            with torch.no_grad(), self.compute_loss_context_manager():
                values = (
                    self.model(**self._prepare_inputs(batch), token_nll=True)
                    .logits.double()
                    .cpu()
                    .numpy()
                )
            sums += [
                np.bincount(categories, weights, len(names))
                for weights in (values, np.ones_like(values))
            ]
        self.model.train(was_training)
        self.meter.reset()
        nats, tokens = (
            self.accelerator.reduce(torch.from_numpy(sums).to(self.args.device), "sum")
            .cpu()
            .numpy()
        )
        metrics = {f"{metric_key_prefix}_loss": float(nats.sum() / tokens.sum())}
        if len(names) > 1:
            metrics |= {
                f"{metric_key_prefix}_loss_{n}": float(s / t)
                for n, s, t in zip(names, nats, tokens, strict=True)
                if t
            }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
