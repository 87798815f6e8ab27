"""How a run ends when it does not finish: one line that says why and what to do.

A full disk, a NaN, want of memory leave the last whole checkpoint. A failure that is not known here
keeps its traceback.
"""

import re

from common.errors import AetherError
from training.signals import Interrupted

FULL_DISK = r"Errno (28|122)\]|No space left|os error 28|PytorchStreamWriter|inline_container"
LOST_WORKER = r"DataLoader worker .*(signal: Killed|exited unexpectedly|bus error)"
LOST_RANK = (
    r"Connection (closed|reset) by|Broken pipe|Timed out waiting|Watchdog caught|NCCL|"
    r"remote process|DistBackendError|DistNetworkError"
)
# What the text of a failure holds: what is said.
KNOWN = {
    FULL_DISK: "the disk is full; make room",
    r"^(torch\.)?(cuda\.)?OutOfMemoryError": (
        "the GPU is out of memory; lower sequence_len in a new version, or free what else runs "
        "there"
    ),
    rf"^MemoryError|Errno 12\]|can't allocate memory|{LOST_WORKER}": (
        "out of host memory; lower dataloader_num_workers or give the machine more"
    ),
    LOST_RANK: (
        "another rank ended, or kept this one waiting for longer than AXOLOTL_NCCL_TIMEOUT seconds "
        "(1,800 where it is not set)"
    ),
}


class Diverged(AetherError):
    """The loss or the gradient is not a number."""


def explain(error: BaseException | None, folder: str) -> str | None:
    """One line for a failure that is known, or whose cause is; None for any other."""
    if error is None:
        return None
    if isinstance(error, Interrupted | AetherError):
        return str(error)
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if type(error).__module__.startswith("wandb."):
        return f"W&B: {text}; mend WANDB_API_KEY or the network, or set WANDB_MODE=offline"
    for sign, sentence in KNOWN.items():
        if re.search(sign, text, re.I):
            return f"{folder}: {sentence} ({text[:200]})"
    return explain(error.__cause__ or error.__context__, folder)
