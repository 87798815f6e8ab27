"""Training on pairs of replies: our rows, mask, bins and kernels, with a loss on pairs.

A pair goes into a bin as two rows, chosen before rejected, so that no micro-batch parts them. The
model gives the log-likelihood of every trained token, by chunks; a reply's is the sum over its own.
The reference of DPO is the same model with its adapter switched off, on the same bin.
"""

import contextlib
import logging
from collections.abc import Iterator

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from common.intervals import wilson
from training.meter import Meter
from training.preference_loss import WATCHED, Outcome, judge
from training.recipe_schema import Preference
from training.render import IGNORE
from training.trainer import AetherTrainer

LOG = logging.getLogger("training")
FALLEN = 0.01  # nats a token by which the chosen replies may lose likelihood before it is said


@contextlib.contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """Inside, the adapter adds nothing.

    Its scale is zero, so that the products are the very ones of the policy: at the start of a
    training both give the same bits, which PEFT's own switch, another way through other kernels,
    does not.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    scales = [dict(layer.scaling) for layer in layers]
    for layer in layers:
        layer.scaling.update(dict.fromkeys(layer.scaling, 0.0))
    try:
        yield
    finally:
        for layer, scale in zip(layers, scales, strict=True):
            layer.scaling.update(scale)


class PreferenceTrainer(AetherTrainer):
    """The loss is averaged over pairs, in training and in evaluation. `prefer` says which."""

    how: Preference

    def prefer(self, how: Preference) -> None:
        """Train by this loss."""
        self.how = how
        self.meter = Meter(self.model.config.to_dict(), reference=how.loss == "dpo")
        self.seen = self._nothing()

    def _nothing(self) -> torch.Tensor:
        """Sums over no pairs: of each of WATCHED, and their number."""
        return torch.zeros(len(WATCHED) + 1, dtype=torch.float64, device=self.args.device)

    def outcome(self, model: nn.Module, batch: dict) -> Outcome:
        """The pairs of a bin, which `training.data.collate` made with its rows numbered."""
        inputs = {k: v for k, v in batch.items() if k not in ("row_index", "categories")}
        rows = batch["row_index"][0]
        owners = rows[:-1][inputs["labels"][0, 1:] != IGNORE]  # of the trained tokens
        count = int(rows[-1]) + 1

        def likelihoods() -> torch.Tensor:
            nats = model(**inputs, token_nll=True).logits.double()
            return -nats.new_zeros(count).index_add(0, owners, nats).view(-1, 2)

        reference = None
        if self.how.loss == "dpo":
            with torch.no_grad(), without_adapter(model):
                reference = likelihoods()
        tokens = torch.bincount(owners, minlength=count).view(-1, 2).double()
        return judge(self.how, likelihoods(), tokens, reference)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outcome = self.outcome(model, inputs)
        self.seen += _summed(outcome)
        # The ranks' gradients are averaged, and the pairs are those of all ranks.
        loss = outcome.losses.sum() * self.accelerator.num_processes / num_items_in_batch
        return (loss.float(), {}) if return_outputs else loss.float()

    def _get_num_items_in_batch(self, batch_samples, device):
        """Pairs of an optimizer step, over all ranks."""
        rows = sum(int(batch["row_index"].max()) + 1 for batch in batch_samples)
        return self.accelerator.reduce(torch.tensor(rows // 2, device=device), "sum")

    def log(self, logs, *args, **kwargs):
        if "loss" in logs:
            found = self._read(self.seen)
            logs |= {f"pairs/{name}": value for name, value in found.items() if name != "loss"}
            self.seen = self._nothing()
        return super().log(logs, *args, **kwargs)

    def held_out(self, dataset) -> dict[str, float]:
        """The means of WATCHED over held-out pairs; the share that is right has its interval."""
        sums = self._nothing()
        for batch in self.batches(dataset):
            with torch.no_grad(), self.compute_loss_context_manager():
                sums += _summed(self.outcome(self.model, self._prepare_inputs(batch)))
        found = self._read(sums)
        pairs = int(found["count"])
        low, high = wilson(found["right"] * pairs, pairs)
        self._warn(found["nats_chosen"])
        return found | {"right_low": low, "right_high": high}

    def _read(self, sums: torch.Tensor) -> dict[str, float]:
        """Means over the pairs of all ranks, and their number."""
        *totals, count = self.accelerator.reduce(sums, "sum").tolist()
        means = {name: total / count for name, total in zip(WATCHED, totals, strict=True)}
        return means | {"count": count}

    def _warn(self, now: float) -> None:
        """Say where held-out chosen replies are less likely than in the first evaluation."""
        key = "eval_nats_chosen"
        first = next((logs[key] for logs in self.state.log_history if key in logs), now)
        if now < first - FALLEN and self.is_world_process_zero():
            LOG.warning(
                "the chosen replies themselves became less likely: %.3f nats a token, %.3f at the "
                "start; raise preference.sft or lower learning_rate",
                now,
                first,
            )


def _summed(outcome: Outcome) -> torch.Tensor:
    """Sums of each of WATCHED, and the number of pairs."""
    values = outcome.watched()
    return torch.cat([values.sum(0), values.new_tensor([len(values)])])
