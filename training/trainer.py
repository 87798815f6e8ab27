"""Axolotl's trainer with our loss, a held-out loss by category, speed figures, and checkpoints that
survive what ends a run.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from axolotl.core.trainers.base import AxolotlTrainer
from transformers import PreTrainedModel, TrainerControl

from training import checkpoints, mirror
from training.data import Collator
from training.failures import Diverged
from training.meter import Meter
from training.render import IGNORE
from training.signals import Interrupted, StopRequest, leave_signals_to_the_trainer
from training.weights import load_into


def seal(folder: Path, limit: int, evaluated: bool) -> None:
    """Verify and seal a checkpoint; only then remove those older than the newest `limit`, and copy
    it to the mirror. One that cannot be sealed is removed.
    """
    try:
        checkpoints.seal(folder, evaluated=evaluated)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    checkpoints.keep_newest(folder.parent, limit)
    mirror.push(folder.parent, folder.name, limit)


class AetherTrainer(AxolotlTrainer):
    """The loss is averaged over trained tokens, in training and in evaluation."""

    stop_request: StopRequest | None = None
    control: TrainerControl

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.meter = Meter(self.model.config.to_dict())
        # Our forward divides by num_items_in_batch; Axolotl looks for the argument where PEFT hides
        # it, and turns it off.
        self.model_accepts_loss_kwargs = True
        self.sealer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="seal")
        self.sealing: Future[None] | None = None

    def obey(self, stop_request: StopRequest) -> None:
        """Save and stop at the end of the step in which this request gets a signal."""
        self.stop_request = stop_request

    @property
    def told_to_stop(self) -> int | None:
        """The signal that asks for the end of the training, None while there is none."""
        return self.stop_request.signal if self.stop_request else None

    def train(self, *args, **kwargs):
        if self.stop_request:
            self.stop_request.defer()
        self.meter.begin()
        try:
            return super().train(*args, **kwargs)
        finally:
            self.finish_sealing()

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if isinstance(self.model, PreTrainedModel) and not self.is_fsdp_enabled:
            load_into(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def get_train_dataloader(self):
        loader = super().get_train_dataloader()
        # accelerate's wrapper does not pass on what is set on it.
        inner = getattr(loader, "base_dataloader", loader)
        stock = inner.worker_init_fn

        def begin(worker: int) -> None:
            leave_signals_to_the_trainer(worker)
            if stock:
                stock(worker)

        inner.worker_init_fn = begin
        return loader

    def _run_epoch(self, *args, epoch, **kwargs):
        if self.state.global_step >= self.state.max_steps:
            # Resumed from the last step's checkpoint: stock code takes one step more.
            self.control.should_training_stop = True
            return None
        # accelerate tells the dataset its epoch only on one rank and only in an epoch that was not
        # resumed.
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
        """Save where a signal asks for it; look at loss and gradient before they are logged or,
        worse, their weights saved.
        """
        if self.told_to_stop:
            self.control.should_save = True
            self.control.should_log = True
        if self.control.should_log or self.control.should_save:
            self._refuse_nan("loss", tr_loss)
            self._refuse_nan("gradient", grad_norm)
        return super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)

    def _refuse_nan(self, name: str, value: torch.Tensor | float | None) -> None:
        if value is None or math.isfinite(float(value)):
            return
        raise Diverged(
            f"the {name} is {float(value)} at step {self.state.global_step} of "
            f"{self.state.max_steps} and was not saved; "
            "going on would repeat it: lower learning_rate in a new version, or look at the last "
            "rows"
        )

    def _save_checkpoint(self, model, trial, evaluated: bool = True):
        """Save; verify and seal while the training goes on; stop where a signal asked to.

        `evaluated` is false when the evaluation of this step was cut short: a resumed run makes it
        up.
        """
        self.finish_sealing()
        folder = self._checkpoint()
        (folder / checkpoints.SEAL).unlink(missing_ok=True)
        limit = self.args.save_total_limit
        self.args.save_total_limit = None
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # half of it would only keep a full disk full
            raise
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            self.sealing = self.sealer.submit(seal, folder, limit or sys.maxsize, evaluated)
        self.meter.reset()
        if self.told_to_stop:
            self.finish_sealing()
        self._stop_if_told()

    def finish_sealing(self) -> None:
        """Wait until the checkpoint saved last is sealed. Raises what kept it from being."""
        sealing = self.sealing
        self.sealing = None
        if sealing:
            sealing.result()

    def _checkpoint(self) -> Path:
        return Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"

    def _stop_if_told(self) -> None:
        number = self.told_to_stop
        if number is None:
            return
        step = self.state.global_step
        saved = f"{self._checkpoint().name} is saved" if step else "nothing to save yet"
        where = f"at step {step} of {self.state.max_steps}, {saved}"
        raise Interrupted(number, where)

    def _leave_evaluation(self) -> None:
        """Save this step, unless it is saved and its evaluation is being made up, and stop."""
        self.finish_sealing()
        if self.state.global_step and checkpoints.sealed(self._checkpoint()).get("evaluated", True):
            self._save_checkpoint(self.model, None, evaluated=False)
        self._stop_if_told()

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Log `held_out` of a dataset under the prefix, and return it."""
        dataset = eval_dataset if eval_dataset is not None else self.eval_dataset
        was_training = self.model.training
        self.model.eval()
        found = self.held_out(dataset)
        self.model.train(was_training)
        self.meter.reset()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def held_out(self, dataset) -> dict[str, float]:
        """Held-out loss in nats a trained token: over all rows, and of each category."""
        names = np.unique(dataset.index.categories[dataset.chosen])
        sums = torch.from_numpy(self._nats_and_tokens(dataset, names)).to(self.args.device)
        nats, tokens = self.accelerator.reduce(sums, "sum").cpu().numpy()
        found = {"loss": float(nats.sum() / tokens.sum())}
        if len(names) > 1:
            for name, of_name, count in zip(names, nats, tokens, strict=True):
                if count:
                    found[f"loss_{name}"] = float(of_name / count)
        return found

    def batches(self, dataset) -> Iterator[dict]:
        """This rank's share of a dataset, a bin at a time, its rows numbered. Stops where a signal
        asks for it.
        """
        ranks = self.accelerator.num_processes
        loader = torch.utils.data.DataLoader(
            torch.utils.data.Subset(
                dataset, range(self.accelerator.process_index, len(dataset), ranks)
            ),
            batch_size=1,
            collate_fn=Collator(with_rows=True),
            num_workers=self.args.dataloader_num_workers,
            worker_init_fn=leave_signals_to_the_trainer,
        )
        for batch in loader:
            if self.told_to_stop:
                self._leave_evaluation()
            yield batch

    def _nats_and_tokens(self, dataset, names: np.ndarray) -> np.ndarray:
        """This rank's share of a dataset: summed nats and trained tokens of each category, shape
        (2, categories).
        """
        sums = np.zeros((2, len(names)))
        for batch in self.batches(dataset):
            # The row that each trained token belongs to, then that row's category.
            rows = batch.pop("row_index")[0, :-1][batch["labels"][0, 1:] != IGNORE]
            categories = np.searchsorted(names, batch.pop("categories"))[rows.numpy()]
            with torch.no_grad(), self.compute_loss_context_manager():
                output = self.model(**self._prepare_inputs(batch), token_nll=True)
            nats = output.logits.double().cpu().numpy()
            sums[0] += np.bincount(categories, nats, len(names))
            sums[1] += np.bincount(categories, minlength=len(names))
        return sums
