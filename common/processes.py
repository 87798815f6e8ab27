"""Processes that end with their parent, and the state of the code they run."""

import ctypes
import os
import signal
import subprocess
from pathlib import Path

from common.files import ROOT

PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGKILL, parent: int | None = None) -> None:
    """Ask the kernel to send this process `number` when its parent ends. For preexec_fn, pool
    initialisers and forks; a process that asks later names its parent, which may have ended before.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def is_first() -> bool:
    """Whether this process speaks and writes for all ranks of a training."""
    return os.environ.get("RANK", "0") == "0"


def are_several() -> bool:
    """Whether this process is one of several ranks."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind this process, so that the servers it started are taken down on the way."""
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def git_state(root: Path = ROOT) -> dict[str, str | bool | None]:
    """{"commit", "dirty"}: the commit, and whether tracked files differ from it; None outside git.

    The image holds no git but the commit in AETHER_COMMIT and the hashes of its files in
    .commit.sha256.
    """
    if not (root / ".git").exists() and os.environ.get("AETHER_COMMIT"):
        commit, _, dirty = os.environ["AETHER_COMMIT"].partition("-")
        checked = subprocess.run(["sha256sum", "--check", "--status", ".commit.sha256"], cwd=root)
        return {"commit": commit, "dirty": bool(dirty) or checked.returncode != 0}
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return {"commit": None, "dirty": None}
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": head, "dirty": bool(changed)}


def _git(root: Path, *words: str) -> str | None:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
