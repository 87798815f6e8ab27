"""Run Python that nobody has read: `run(code)` in a process of its own, without network, with limits, and say how it ended.

The code passes only when it ran to its last line: `sys.exit(0)`, `os._exit(0)` or a killed process is no pass, and what it prints says
nothing. It runs as `__main__` under the interpreter of the caller with the standard library only, in an empty folder that
is its working directory and its HOME and is removed afterwards. The environment holds nothing of the caller's.

Three layers hold it, each as far as the kernel grants it: a user and network namespace of its own; a system call filter (no sockets, no
processes, no signals to others; x86-64) and Landlock (no file outside the folder, the interpreter's own files readable); and an audit
hook, always there, that names what was tried. So it works as root and as a user, with or without user namespaces.

What it is not: a jail. It stops careless and ordinarily hostile code. The verdict comes from the process in which the code runs, so code
written against this very module could forge it, and a folder can be filled with many files of 16 MB. Run an evaluation of a model you
do not trust inside the container.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")
KEPT, PRINTED = (
    8 << 10,
    1 << 20,
)  # bytes of output that are kept, and that are let pass before the process is stopped


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `reason` is one short line, empty when ok; `output` the first 8 KB of stdout and stderr."""

    ok: bool
    reason: str
    output: str


def run(code: str, seconds: float = 10, megabytes: int = 512) -> Outcome:
    """Run `code` to its end, at most `seconds` of wall time and of CPU time, in at most `megabytes` of address space.

    Raises OSError or RuntimeError only when the sandbox itself cannot start: that says nothing about the code.
    """
    nonce = secrets.token_bytes(16)
    with (
        tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as source,
    ):
        source.write(nonce + code.encode("utf-8", "surrogatepass"))
        source.seek(0)
        told, tell = os.pipe()
        try:
            try:
                process = _start(folder, source, tell, seconds, megabytes)
            finally:
                os.close(tell)
            said, output, stopped = b"", b"", "killed"
            try:
                said, output, stopped = _follow(process, told, time.monotonic() + seconds)
            finally:
                alone = _end(process, grace=0 if stopped or said.endswith(b"\n") else 0.5)
        finally:
            os.close(told)
    if not said and not stopped:
        raise RuntimeError(
            f"the sandbox did not start: {output.decode('utf-8', 'replace').strip()[-300:]}"
        )
    verdict = (
        said[17:]
        if said[1:17] == nonce
        else b""
        if alone
        else b"no spoiled the line on which it is judged"
    )
    return _outcome(
        verdict, output.decode("utf-8", "replace"), stopped, process.returncode, seconds
    )


def _start(folder: str, source, tell: int, seconds: float, megabytes: int) -> subprocess.Popen:
    """The child. What -I would do follows from the environment being ours; PYTHONHASHSEED, which -I ignores, makes runs repeatable."""
    command = [
        sys.executable,
        "-P",
        "-s",
        "-S",
        "-B",
        "-X",
        "utf8",
        str(CHILD),
        folder,
        str(tell),
        str(int(seconds) + 1),
        str(megabytes),
    ]
    environment = {"HOME": folder, "TMPDIR": folder, "PYTHONHASHSEED": "0"}
    pipes = {
        "stdin": source,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "pass_fds": [tell],
        "bufsize": 0,
    }
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def _follow(process: subprocess.Popen, told: int, deadline: float) -> tuple[bytes, bytes, str]:
    """Read until the verdict is whole, the child is gone or a limit is passed: (what it told, first output, which limit)."""
    printed = process.stdout.fileno()
    texts, sizes = {told: b"", printed: b""}, {told: 0, printed: 0}
    with selectors.DefaultSelector() as selector:
        for descriptor in texts:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        while told in selector.get_map() and not texts[told].endswith(b"\n"):
            if (left := deadline - time.monotonic()) <= 0:
                return texts[told], texts[printed], "time"
            for key, _ in selector.select(left):
                if not _read(key.fd, texts, sizes):
                    selector.unregister(key.fd)
            if max(sizes.values()) > PRINTED:
                return texts[told], texts[printed], "output"
    while sizes[printed] <= PRINTED and _read(printed, texts, sizes):
        pass  # what was printed just before the verdict
    return texts[told], texts[printed], ""


def _read(descriptor: int, texts: dict[int, bytes], sizes: dict[int, int]) -> bool:
    """Take in what is there now; False at the end of the stream or when nothing is there."""
    try:
        chunk = os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return False
    sizes[descriptor] += len(chunk)
    texts[descriptor] += chunk[: KEPT - len(texts[descriptor])]
    return bool(chunk)


def _end(process: subprocess.Popen, grace: float) -> bool:
    """Kill the child and whatever shares its group; True when the child had ended by itself within `grace` seconds."""
    until = time.monotonic() + grace
    while (
        not (alone := os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        and time.monotonic() < until
    ):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the group is still ours
    process.stdout.close()
    process.wait()
    return alone is not None


def _outcome(verdict: bytes, output: str, stopped: str, status: int, seconds: float) -> Outcome:
    if stopped == "output":
        return Outcome(False, f"printed more than {PRINTED >> 20} MB", output)
    if stopped == "time" or status == -signal.SIGXCPU:
        return Outcome(False, f"timed out after {seconds:g} s", output)
    if verdict == b"ok\n":
        return Outcome(True, "", output)
    if verdict:
        return Outcome(
            False, verdict.decode("utf-8", "replace").strip().removeprefix("no "), output
        )
    return Outcome(
        False, f"killed by signal {-status}" if status < 0 else "exited before its end", output
    )
