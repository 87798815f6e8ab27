"""Run Python that nobody has read: `run(code)` in a cage of its own, with limits, and say how it
ended.

The code passes only when it ran to its last line: `sys.exit(0)`, `os._exit(0)` or a killed process
is no pass, and what it prints says nothing. It runs as `__main__` under the interpreter of the
caller with the standard library only, in an empty folder that is its working directory and its HOME
and is gone afterwards. The environment holds nothing of the caller's.

The cage (cage.py) is bubblewrap: namespaces of its own for users, processes, mounts, network and
IPC, a read-only root of what Python needs, an empty folder of bounded size, no privileges. Inside
it stands a second wall (child.py, calls.py): a list of the system calls that are allowed, Landlock,
resource limits, and an audit hook that names what was tried. Where this machine grants no cage,
nothing is run.

What it is not: a proof against code written to forge its verdict. The verdict comes from the
process in which the code runs. Who compares what it printed keeps what is expected out of there.
"""

import os
import re
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import IO

from common.sandbox import cage
from common.sandbox.cage import NoSandbox, missing

__all__ = ["KEPT", "PRINTED", "NoSandbox", "Outcome", "missing", "run"]

KEPT = 8 << 10  # bytes of output that are kept
PRINTED = 1 << 20  # bytes of output after which the process is stopped
SECONDS = 10.0
MEGABYTES = 512
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a report is read in terminals and browsers


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `reason` is one short line, empty when ok; `output` what was printed."""

    ok: bool
    reason: str
    output: str


def run(
    code: str, seconds: float = SECONDS, megabytes: int = MEGABYTES, kept: int = KEPT
) -> Outcome:
    """Run `code` to its end, at most `seconds` of wall time and CPU time, in `megabytes` of address
    space; the first `kept` bytes of its output are given back.

    Raises NoSandbox where this machine grants no cage, OSError or RuntimeError when the cage itself
    cannot start: neither says anything about the code."""
    mode = cage.mode()
    nonce = secrets.token_bytes(16)
    with cage.folder(mode) as folder, tempfile.TemporaryFile() as source:
        source.write(nonce + code.encode("utf-8", "surrogatepass"))
        source.seek(0)
        told, tell = os.pipe()
        try:
            try:
                process = _start(mode, folder, source, tell, seconds, megabytes)
            finally:
                os.close(tell)
            said = b""
            stopped = "killed"
            try:
                said, output, stopped = _follow(process, told, time.monotonic() + seconds, kept)
            finally:
                alone = _end(process, grace=0 if stopped or said.endswith(b"\n") else 0.5)
        finally:
            os.close(told)
    text = _plain(output.decode("utf-8", "replace"))
    if not said and not stopped:
        raise RuntimeError(f"the sandbox did not start: {text.strip()[-300:]}")
    if said[1:17] == nonce:
        verdict = said[17:]
    else:
        verdict = b"" if alone else b"no spoiled the line on which it is judged"
    return _outcome(verdict, text, stopped, process.returncode, seconds)


def _start(
    mode: str, folder: str, source: IO[bytes], tell: int, seconds: float, megabytes: int
) -> subprocess.Popen[bytes]:
    words = cage.command(mode, folder, [str(tell), str(int(seconds) + 1), str(megabytes)])
    return subprocess.Popen(
        words,
        cwd=folder if os.path.isdir(folder) else "/",
        env=cage.environment(folder),
        start_new_session=True,
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[tell],
        bufsize=0,
    )


def _follow(
    process: subprocess.Popen[bytes], told: int, deadline: float, kept: int
) -> tuple[bytes, bytes, str]:
    """Read until the verdict is whole, the child is gone or a limit is passed.

    Returns what it told, its first output, and which limit: "time", "output" or "".
    """
    assert process.stdout is not None
    printed = process.stdout.fileno()
    texts = {told: b"", printed: b""}
    sizes = {told: 0, printed: 0}
    with selectors.DefaultSelector() as selector:
        for descriptor in texts:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        while told in selector.get_map() and not texts[told].endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                return texts[told], texts[printed], "time"
            for key, _ in selector.select(left):
                if not _read(key.fd, texts, sizes, kept):
                    selector.unregister(key.fd)
            if max(sizes.values()) > PRINTED:
                return texts[told], texts[printed], "output"
    while sizes[printed] <= PRINTED and _read(printed, texts, sizes, kept):
        pass  # what was printed just before the verdict
    return texts[told], texts[printed], ""


def _read(descriptor: int, texts: dict[int, bytes], sizes: dict[int, int], kept: int) -> bool:
    """Take in what is there now; False at the end of the stream or when nothing is there."""
    try:
        chunk = os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return False
    sizes[descriptor] += len(chunk)
    texts[descriptor] += chunk[: kept - len(texts[descriptor])]
    return bool(chunk)


def _end(process: subprocess.Popen[bytes], grace: float) -> bool:
    """Kill the cage and all in it; True when it had ended by itself within `grace` seconds."""
    until = time.monotonic() + grace
    alone = None
    while alone is None:
        alone = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if time.monotonic() >= until:
            break
        if alone is None:
            time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the group is still ours
    assert process.stdout is not None
    process.stdout.close()
    process.wait()
    return alone is not None


def _outcome(verdict: bytes, output: str, stopped: str, status: int, seconds: float) -> Outcome:
    if stopped == "output":
        return Outcome(False, f"printed more than {PRINTED >> 20} MB", output)
    killed = cage.signal_of(status)
    if stopped == "time" or killed == signal.SIGXCPU:
        return Outcome(False, f"timed out after {seconds:g} s", output)
    if verdict == b"ok\n":
        return Outcome(True, "", output)
    if verdict:
        reason = _plain(verdict.decode("utf-8", "replace")).strip()
        return Outcome(False, reason.removeprefix("no "), output)
    if killed:
        return Outcome(False, f"killed by signal {killed}", output)
    return Outcome(False, "exited before its end", output)


def _plain(text: str) -> str:
    """The text without control characters: no escape sequence and no NUL reaches a report."""
    return CONTROL.sub("�", text)
