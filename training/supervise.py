"""Running one of our commands in a process of its own: signals passed on, and its end told."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

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
    early: list[int] = []

    def pass_on(number: int, _frame) -> None:
        if number == signal.SIGHUP:
            leave_the_terminal()
        for child in children:
            child.send_signal(number)
        if not children:
            early.append(number)

    for number in handled():
        signal.signal(number, pass_on)
    with subprocess.Popen(words, cwd=ROOT, preexec_fn=end_with_parent) as child:
        children.append(child)
        for received in early:
            child.send_signal(received)
        code = child.wait()
    raise_when_told()
    if code >= 0:
        return code
    print(f"\nerror: {_killed(-code)}", file=sys.stderr)
    return 128 - code


def _killed(number: int) -> str:
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / GIB
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    hint = ", by the system for want of memory if nobody did" if number == signal.SIGKILL else ""
    return (
        f"killed by {signal.Signals(number).name}{hint}, after a peak of {peak:.1f} of {total:.1f} "
        "GiB. Run the same command again: it continues from the last whole checkpoint."
    )
