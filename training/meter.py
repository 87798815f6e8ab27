"""Speed and memory of training: real tokens a second, and the share of what this GPU's matrix
products could do.
"""

import resource
import statistics
import time

import torch

from common.facts import Shape
from common.memory import GIB


def matmul_ceiling() -> float:
    """bf16 matrix products of this GPU on random data, FLOP/s: median of ten 8192-cubed products
    after three.
    """
    size = 8192
    a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    seconds = []
    for _ in range(13):
        start = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        start.record()
        torch.matmul(a, b)
        end.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return 2 * size**3 / statistics.median(seconds[3:])


class Meter:
    """The figures of training between two logs; evaluations and checkpoints are outside its time.

    `Shape.training_flops` are compared with the matrix products this GPU does at the start of the
    run.
    """

    def __init__(self, config: dict, ceiling: float | None = None, reference: bool = False):
        """`config` is the model's; `ceiling` in FLOP/s, None where there is no GPU. `reference`:
        each bin goes through the model once more, forward, for what it is compared with.
        """
        self.shape = Shape.from_config(config)
        self.reference = reference
        self.ceiling = ceiling
        self.reset()

    def begin(self) -> None:
        """Measure the ceiling where there is a GPU, and start to count."""
        if torch.cuda.is_available():
            self.ceiling = matmul_ceiling()
        self.reset()

    def reset(self) -> None:
        """Count from now on."""
        self.since = time.perf_counter()
        self.tokens = 0
        self.slots = 0
        self.pairs: torch.Tensor | int = 0

    def add(self, batch: dict[str, torch.Tensor]) -> None:
        """Count a micro-batch: input_ids (1, tokens), position_ids (1, tokens), an attention_mask
        where anything is padding.
        """
        mask = batch.get("attention_mask")
        slots = batch["input_ids"].numel()
        self.slots += slots
        self.tokens += slots if mask is None else int(mask.sum())
        # The sum stays on the GPU: reading it here would wait for the GPU.
        self.pairs = self.pairs + (batch["position_ids"] + 1).sum()

    def read(self) -> dict[str, float]:
        """The figures of this process since the last reading; empty when nothing was trained."""
        if not self.tokens:
            return {}
        rate = self.tokens / (time.perf_counter() - self.since)
        figures = {
            "speed/tokens_per_s": rate,
            "speed/padding": 1 - self.tokens / self.slots,
            "memory/host_peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB,
        }
        if self.ceiling:
            flops = self.shape.training_flops(self.tokens, float(self.pairs))
            if self.reference:
                flops += self.shape.forward_flops(self.tokens, float(self.pairs))
            figures["speed/share_of_ceiling"] = flops * rate / self.tokens / self.ceiling
            figures["memory/gpu_peak_gib"] = torch.cuda.max_memory_reserved() / GIB
        self.reset()
        return figures
