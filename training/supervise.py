"""Running one of our commands in a process of its own: signals passed on, and its end told."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from common.files import ROOT
from common.memory import GIB
from common.processes import end_with_parent
from training.signals import handled, leave_the_terminal, raise_when_told


def supervise(words: list[str]) -> int:
    """Run a command and pass on each signal; its exit code, 128 + N where signal N killed it.

    What killed it is said, for it could not say so itself. Killed with its parent, nothing trains
    on unseen.
    """
    children: list[subprocess.Popen] = []
    received = pass_signals_to(lambda: children)
    with subprocess.Popen(words, cwd=ROOT, preexec_fn=end_with_parent) as child:
        children.append(child)
        for number in received:  # before it was there
            child.send_signal(number)
        code = child.wait()
    raise_when_told()
    if code >= 0:
        return code
    print(f"\nerror: {killed(-code)}", file=sys.stderr)
    return 128 - code


def pass_signals_to(children: Callable[[], Sequence[Any]]) -> list[int]:
    """Send each signal of this process on to what `children` lists then; a list that grows by each
    one's number.
    """
    received: list[int] = []

    def pass_on(number: int, _frame) -> None:
        if number == signal.SIGHUP:
            leave_the_terminal()
        received.append(number)
        for child in children():
            child.send_signal(number)

    for number in handled():
        signal.signal(number, pass_on)
    return received


def killed(number: int) -> str:
    """What is known of a process that a signal killed, in a sentence or two."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / GIB
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    hint = ", by the system for want of memory if nobody did" if number == signal.SIGKILL else ""
    return (
        f"killed by {signal.Signals(number).name}{hint}, after a peak of {peak:.1f} of {total:.1f} "
        "GiB. Run the same command again: it continues from the last whole checkpoint."
    )
