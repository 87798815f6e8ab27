"""How a long run ends when it does not finish: one line that says why and what to do, a state to go on from, an exit code not 0.

SIGTERM and SIGINT (a reclaimed machine, Ctrl-C) leave a checkpoint of the step at hand and the code 128 + signal; a full disk, a NaN,
want of memory leave the last whole checkpoint. A failure that is not known here keeps its traceback.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable

from common.hub import HubError
from common.rows import RowError
from training.recipe import RecipeError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PR_SET_PDEATHSIG = 1
KNOWN = {  # what the text of a failure holds: what is said
    r"Errno (28|122)\]|No space left|os error 28|PytorchStreamWriter|inline_container": "the disk is full; make room",
    r"^(torch\.)?(cuda\.)?OutOfMemoryError": "the GPU is out of memory; lower sequence_len in a new version, or free what else runs there",
    r"^MemoryError|Errno 12\]|can't allocate memory|DataLoader worker .*(signal: Killed|exited unexpectedly|bus error)": (
        "out of host memory; lower dataloader_num_workers or give the machine more"
    ),
}


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
        for number in SIGNALS:
            signal.signal(number, self._end)

    def _end(self, number: int, _frame) -> None:
        raise Interrupted(number)

    def defer(self) -> None:
        for (
            number
        ) in SIGNALS:  # when training begins: Axolotl has put a handler of its own there by then
            signal.signal(number, self._keep)

    def _keep(self, number: int, _frame) -> None:
        if self.signal is None:
            self.signal = number
            # Not print: Axolotl and W&B hold locks while they pass on what is printed, and a signal may come in the midst of it.
            os.write(
                2, f"\n{signal.Signals(number).name}: saving a checkpoint, then stopping\n".encode()
            )


def leave_signals_to_the_trainer(_worker: int) -> None:
    """For data-loading processes: a signal to the whole group must not take the trainer's rows away while it saves."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def explain(error: BaseException | None, folder: str) -> str | None:
    """One line for a failure that is known, or whose cause is; None for any other."""
    if error is None:
        return None
    if (
        isinstance(error, Interrupted | Diverged | RecipeError | RowError | HubError)
        or type(error).__name__ == "RenderError"
    ):
        return str(error)
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if type(error).__module__.startswith("wandb."):
        return f"W&B: {text}; mend WANDB_API_KEY or the network, or set WANDB_MODE=offline"
    for sign, said in KNOWN.items():
        if re.search(sign, text, re.I):
            return f"{folder}: {said} ({text[:200]})"
    return explain(error.__cause__ or error.__context__, folder)


def supervise(work: Callable[[], int]) -> int:
    """Run `work` in a child and pass on signals and its exit code; say what ended it where it could not say so itself."""
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(
            PR_SET_PDEATHSIG, signal.SIGKILL
        )  # killed with its parent: nothing trains on unseen
        return work()
    for number in SIGNALS:
        signal.signal(number, lambda received, _: os.kill(child, received))
    _, status, usage = os.wait4(child, 0)
    if (code := os.waitstatus_to_exitcode(status)) < 0:
        peak, total = (
            usage.ru_maxrss / 2**20,
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        )
        hint = ", by the system for want of memory if nobody did" if -code == signal.SIGKILL else ""
        said = f"killed by {signal.Signals(-code).name}{hint}, after a peak of {peak:.1f} of {total:.1f} GiB"
        print(
            f"\nerror: {said}. The same command continues from the last whole checkpoint.",
            file=sys.stderr,
        )
    return code if code >= 0 else 128 - code
