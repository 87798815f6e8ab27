"""How a long run ends when it does not finish: one line that says why and what to do, a state to go on from, an exit code not 0.

| end | code | what is left |
|---|---|---|
| SIGTERM, SIGINT (a reclaimed machine, Ctrl-C) | 128 + signal | a checkpoint of the step it stopped at |
| disk full, NaN, out of memory, W&B refuses | 1 | the last whole checkpoint |
| killed (host memory), crashed | 128 + signal | the last whole checkpoint |

A failure that is not known here keeps its traceback.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable

from apriel.rows import RowError
from training.recipe import RecipeError

PR_SET_PDEATHSIG = 1


class Interrupted(BaseException):  # passes every `except Exception` on its way out
    """SIGTERM or SIGINT; `signal` is its number."""

    def __init__(self, number: int, where: str = "before training began"):
        super().__init__(f"stopped by {signal.Signals(number).name} {where}")
        self.signal = number


class Diverged(ArithmeticError):
    """The loss or the gradient is not a number."""


class StopRequest:
    """The first SIGTERM or SIGINT, kept until the step at hand is done. Before `defer` it ends the process at once."""

    def __init__(self):
        self.signal: int | None = None
        self._deferred = False
        self.defer(False)

    def defer(self, deferred: bool = True) -> None:
        self._deferred = deferred
        for number in (signal.SIGTERM, signal.SIGINT):  # again when training begins: Axolotl puts a handler of its own there
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame) -> None:
        if not self._deferred:
            raise Interrupted(number)
        if self.signal is None:
            self.signal = number
            print(f"{signal.Signals(number).name}: saving a checkpoint, then stopping", file=sys.stderr, flush=True)


def leave_signals_to_the_trainer(_worker: int) -> None:
    """For data-loading processes: a signal to the whole group must not take the trainer's rows away while it saves."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def explain(error: BaseException, folder: str) -> str | None:
    """One line for a failure that is known, None for any other."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return next((line for one in chain if (line := _explain(one, folder))), None)


def _explain(error: BaseException, folder: str) -> str | None:
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, Interrupted | Diverged | RecipeError | RowError):
        return str(error)
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
        sign in text for sign in ("No space left", "os error 28", "Disk quota", "PytorchStreamWriter", "inline_container")
    ):
        free = shutil.disk_usage(folder if os.path.exists(folder) else ".").free / 2**30
        return f"{folder}: the disk is full ({free:.2f} GiB free); make room"
    if type(error).__name__ == "OutOfMemoryError":
        return f"the GPU is out of memory; lower sequence_len in a new version, or free what else runs there ({text[:200]})"
    worker = "DataLoader worker" in text and any(sign in text for sign in ("killed", "exited unexpectedly", "Bus error"))
    if (
        worker
        or isinstance(error, MemoryError)
        or "can't allocate memory" in text
        or getattr(error, "errno", None) == errno.ENOMEM
    ):
        return f"out of host memory; lower dataloader_num_workers or give the machine more ({text[:200]})"
    if type(error).__module__.startswith("wandb."):
        return f"W&B: {text}; mend WANDB_API_KEY or the network, or train with WANDB_MODE=offline"
    return None


def supervise(work: Callable[[], int]) -> int:
    """Run `work` in a child and pass on signals and its exit code; say what ended it where it could not say so itself."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # killed with its parent: nothing trains on unseen
        return work()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: os.kill(child, received))
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    hint = "; without another cause: for want of host memory" if -code == signal.SIGKILL else ""
    print(
        f"error: killed by {signal.Signals(-code).name} after a peak of {usage.ru_maxrss / 2**20:.1f} of {total:.1f} GiB of host "
        f"memory{hint}. The same command continues from the last whole checkpoint.",
        file=sys.stderr,
    )
    return 128 - code
