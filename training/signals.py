"""Being told to stop: SIGTERM (a reclaimed machine), SIGINT (Ctrl-C) and SIGHUP (a closed terminal)
leave a checkpoint.

The exit code is 128 + the signal's number.
"""

import contextlib
import os
import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(BaseException):  # passes every `except Exception` on its way out
    """One of SIGNALS; `signal` is its number."""

    def __init__(self, number: int, where: str = "before training began"):
        super().__init__(f"stopped by {signal.Signals(number).name} {where}")
        self.signal = number


def handled() -> list[signal.Signals]:
    """SIGNALS without a SIGHUP that whoever started us wants ignored, as nohup does."""
    return [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]


def raise_when_told() -> None:
    """Let each of SIGNALS end what runs by raising Interrupted."""
    for number in handled():
        signal.signal(number, _end)


def _end(number: int, _frame) -> None:
    if number == signal.SIGHUP:
        leave_the_terminal()
    raise Interrupted(number)


def leave_the_terminal() -> None:
    """Write nowhere from now on: a terminal that has gone fails every print, and so what was to be
    saved.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


class StopRequest:
    """The first of SIGNALS, kept until the step at hand is done.

    Before `defer` it ends the process at once.
    """

    def __init__(self):
        self.signal: int | None = None
        raise_when_told()

    def defer(self) -> None:
        """From now on keep the signal.

        Called when training begins: Axolotl has put a handler of its own there by then.
        """
        for number in handled():
            signal.signal(number, self._keep)

    def _keep(self, number: int, _frame) -> None:
        if number == signal.SIGHUP:
            leave_the_terminal()
        if self.signal is not None:
            return
        self.signal = number
        # Not print: Axolotl and W&B hold locks while they pass on what is printed, and a signal may
        # come in the midst of it.
        name = signal.Signals(number).name
        with contextlib.suppress(OSError):
            os.write(2, f"\n{name}: saving a checkpoint, then stopping\n".encode())


def leave_signals_to_the_trainer(_worker: int) -> None:
    """For data-loading processes: a signal to the whole group must not take the trainer's rows away
    while it saves.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
