"""What surrounds a step, for the bench: the start, the wait for data, evaluation, a checkpoint."""

import time

import psutil
from transformers import Trainer


def watch_batches() -> list[float]:
    """A list that grows by the seconds which a Trainer of this process waits for each step's
    micro-batches.
    """
    waits: list[float] = []
    stock = Trainer.get_batch_samples

    def get_batch_samples(self, *args, **kwargs):
        begin = time.perf_counter()
        found = stock(self, *args, **kwargs)
        waits.append(time.perf_counter() - begin)
        return found

    Trainer.get_batch_samples = get_batch_samples
    return waits


def since_start() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def around_steps(trainer) -> dict:
    """Seconds of a checkpoint's save, and real tokens a second of an evaluation."""
    begin = time.perf_counter()
    trainer._save_checkpoint(trainer.model, None)
    saved = time.perf_counter()
    trainer.evaluate()
    seconds = time.perf_counter() - saved
    tokens = int(trainer.eval_dataset.lengths.sum())
    return {"save_s": saved - begin, "evaluation_tokens_per_s": tokens / seconds}
