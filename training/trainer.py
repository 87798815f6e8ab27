"""Axolotl's trainer with our loss, a held-out loss by category, speed figures, and checkpoints that
survive what ends a run.
"""

import functools
import math
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from axolotl.core.trainers.base import AxolotlTrainer
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, TrainerControl
from transformers.trainer import SCHEDULER_NAME

from training import checkpoints, mirror, ranks, sharding
from training.data import Collator
from training.failures import Diverged
from training.meter import Meter
from training.render import IGNORE
from training.signals import Interrupted, StopRequest, leave_signals_to_the_trainer
from training.weights import load_into

# A rank without a GPU computes on a CPU with a number, cpu:1, where torch.load restores nothing
# unless it is told that this is the memory in which a file is read.
torch.serialization.register_package(
    30,
    lambda storage: None,
    lambda storage, place: storage if "cpu:" in place else None,
)


def seal(
    folder: Path, limit: int, evaluated: bool, wanted: tuple[str, ...] = checkpoints.WANTED
) -> None:
    """Verify and seal a checkpoint; only then remove those older than the newest `limit`, and copy
    it to the mirror. One that cannot be sealed is removed.
    """
    try:
        checkpoints.seal(folder, wanted, evaluated=evaluated)
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
        self.has_shares = False
        self.base_folder: Path | None = None
        self.told_to_stop: int | None = None  # the signal that all ranks obey

    def obey(self, stop_request: StopRequest) -> None:
        """Save and stop at the end of the step in which this request gets a signal."""
        self.stop_request = stop_request

    def train_shares(self, base_folder: Path | None) -> None:
        """Train a model that is divided over the ranks (training.sharding); at the end write it
        whole, in the form of this base's files.
        """
        self.has_shares = True
        self.base_folder = base_folder
        prepare = self.accelerator.prepare_model
        # Else accelerate would wrap it for DistributedDataParallel.
        self.accelerator.prepare_model = functools.partial(prepare, evaluation_mode=True)

    def decide(self) -> None:
        """Let a signal that any rank received stop all of them at the same place."""
        own = self.stop_request.signal if self.stop_request else None
        self.told_to_stop = ranks.greatest(own or 0) or None

    def train(self, *args, **kwargs):
        if self.stop_request:
            self.stop_request.defer()
        self.meter.begin()
        try:
            trained = super().train(*args, **kwargs)
        finally:
            self.finish_sealing()
        if self.base_folder:
            sharding.write_whole(self.model, self.base_folder, Path(self.args.output_dir))
        return trained

    def create_optimizer(self, *args, **kwargs):
        optimizer = super().create_optimizer(*args, **kwargs)
        if self.has_shares:
            sharding.float32_states(optimizer)
        if self.args.bf16:
            sharding.require_masters(self.model, optimizer)
        return optimizer

    def save_model(self, output_dir=None, _internal_call=False):
        if not self.has_shares:
            super().save_model(output_dir, _internal_call)

    def _save_optimizer_and_scheduler(self, output_dir):
        if not self.has_shares:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        sharding.save(Path(output_dir), self.model, self.optimizer)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint):
        if not self.has_shares:
            super()._load_optimizer_and_scheduler(checkpoint)
        elif checkpoint:
            sharding.load(Path(checkpoint), self.model, self.optimizer)
            state = torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True)
            self.lr_scheduler.load_state_dict(state)

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if self.has_shares:
            return  # with the optimizer's
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
        self.decide()
        if self.told_to_stop:
            self.control.should_save = True
            self.control.should_log = True
        if self.control.should_log or self.control.should_save:
            self._refuse_nan("loss", tr_loss)
            self._refuse_nan("gradient", grad_norm)
        return super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)

    def _refuse_nan(self, name: str, value: torch.Tensor | float | None) -> None:
        over_ranks = ranks.total(0.0 if value is None else float(value))
        if math.isfinite(over_ranks):
            return
        raise Diverged(
            f"the {name} is {over_ranks} at step {self.state.global_step} of "
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
            self.sealing = self.sealer.submit(
                seal, folder, limit or sys.maxsize, evaluated, self._wanted()
            )
        self.meter.reset()
        self.decide()
        if self.told_to_stop:
            self._wait_for_the_seal()
        self._stop_if_told()

    def _wanted(self) -> tuple[str, ...]:
        """The files without which a checkpoint cannot be taken up."""
        if not self.has_shares:
            return checkpoints.WANTED
        ranks_here = self.accelerator.num_processes
        shares = [sharding.name_of(rank, ranks_here) for rank in range(ranks_here)]
        return ("trainer_state.json", "scheduler.pt", "rng_state*.pth", *shares)

    def _wait_for_the_seal(self) -> None:
        """Let no rank leave, or look at the seal, before the first one has set it."""
        self.finish_sealing()
        self.accelerator.wait_for_everyone()

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

    def _leave_evaluation_if_told(self) -> None:
        """Save this step, unless it is saved and its evaluation is being made up, and stop."""
        self.decide()
        if not self.told_to_stop:
            return
        self._wait_for_the_seal()
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

        Ranks that hold shares of the weights go through as many bins each: one that has none left
        repeats one, of which nothing counts.
        """
        own = list(range(self.accelerator.process_index, len(dataset), self.args.world_size))
        missing = -(-len(dataset) // self.args.world_size) - len(own)  # 0 or 1
        again = [0] * missing if self.has_shares else []
        loader = torch.utils.data.DataLoader(
            torch.utils.data.Subset(dataset, own + again),
            batch_size=1,
            collate_fn=Collator(with_rows=True),
            num_workers=self.args.dataloader_num_workers,
            worker_init_fn=leave_signals_to_the_trainer,
        )
        for number, batch in enumerate(loader):
            self._leave_evaluation_if_told()
            if number >= len(own):
                batch["labels"] = torch.full_like(batch["labels"], IGNORE)
            yield batch
        if missing and not again:
            self._leave_evaluation_if_told()  # as the others ask in their last

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
        if self.has_shares:
            sharding.divide_again(self.model)
        return sums
