"""The cage itself: which one this machine grants, and the command line that starts Python in it.

namespaces + uid   root with bubblewrap: namespaces made by root, the code under a uid of its own
user namespace     bubblewrap as an ordinary user, or as root where the other is refused
uid                root without namespaces (a container): a uid of its own, under the second wall
none               only where ALLOW_UNSANDBOXED=1 says so: the second wall alone
"""

import contextlib
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from common.errors import AetherError

HERE = Path(__file__).parent
INSIDE = "/box"  # the folder of the code, in namespaces
ROOM = 64 << 20  # bytes of that folder
NAMESPACES = (
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
)
NEEDED = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/ld.so.cache",
)
DEVICES = ("/dev/null", "/dev/urandom")
NAMESPACED = ("namespaces + uid", "user namespace")
OWN_UID = ("namespaces + uid", "uid")
LOWEST_UID = 1 << 20  # of the uids drawn for code: above those that machines give to people


class NoSandbox(AetherError):
    """This machine grants no cage, so code that nobody has read is not run."""


def missing() -> str | None:
    """Why no code can be run on this machine, in one line; None where it can."""
    try:
        mode()
    except NoSandbox as error:
        return str(error)
    return None


@cache
def mode() -> str:
    """The strongest cage that this machine grants, tried once. Raises NoSandbox."""
    if platform.machine() != "x86_64" or not Path("/proc/sys/kernel/seccomp").exists():
        return _unsandboxed("its kernel has no filter of system calls for x86-64")
    root = os.geteuid() == 0
    for name in ("namespaces + uid", "user namespace", "uid") if root else ("user namespace",):
        if _works(name):
            return name
    return _unsandboxed("install bubblewrap, or use a kernel that grants user namespaces")


def _unsandboxed(why: str) -> str:
    if os.environ.get("ALLOW_UNSANDBOXED") == "1":
        return "none"
    raise NoSandbox(f"no sandbox on this machine: {why}; ALLOW_UNSANDBOXED=1 runs the code anyway")


def _works(of: str) -> bool:
    """Whether Python starts in that cage, gives up its rights there, and reads its library."""
    tried = "import asyncio"
    if of in OWN_UID:
        uids = [LOWEST_UID] * 3
        tried = (
            f"import os; os.setgroups([]); os.setresgid(*{uids}); os.setresuid(*{uids}); {tried}"
        )
    words = [*_python("-c"), tried]
    if of in NAMESPACED:
        if not shutil.which("bwrap"):
            return False
        words = [*_bubblewrap(of), *words]
    done = subprocess.run(words, capture_output=True, env={}, stdin=subprocess.DEVNULL)
    return done.returncode == 0


@contextlib.contextmanager
def folder(of: str) -> Iterator[str]:
    """The empty folder of a run: inside the namespaces, or on this disk, removed afterwards."""
    if of in NAMESPACED:
        yield INSIDE
        return
    made = tempfile.mkdtemp(prefix="sandbox-")
    try:
        os.chmod(made, 0o777 if of == "uid" else 0o700)
        yield made
    finally:
        # Not shutil.rmtree, which recurses into folders and gives up at a thousand.
        subprocess.run(["chmod", "-R", "u+rwX", made], capture_output=True)
        subprocess.run(["rm", "-rf", "--one-file-system", made], capture_output=True)


def command(of: str, inside: str, words: list[str]) -> list[str]:
    """The command line of a run: `words` are those of child.py after folder and uid."""
    uid = LOWEST_UID + secrets.randbelow(1 << 30) if of in OWN_UID else -1
    if of in NAMESPACED:
        return [*_bubblewrap(of), *_python("/cage/child.py"), inside, str(uid), *words]
    return [*_python(str(HERE / "child.py")), inside, str(uid), *words]


def environment(inside: str) -> dict[str, str]:
    """What the code finds in its environment, and no more. The seed of hashes makes runs
    repeatable.
    """
    return {"HOME": inside, "TMPDIR": inside, "PYTHONHASHSEED": "0"}


def signal_of(status: int) -> int:
    """The signal that ended a run, 0 for none; bubblewrap gives its child's as 128 + signal."""
    if status < 0:
        return -status
    return status - 128 if status > 128 else 0


def _python(script: str) -> list[str]:
    """The caller's interpreter alone: no site-packages, nothing of the working directory."""
    interpreter = os.path.realpath(sys.executable)
    return [interpreter, "-P", "-s", "-S", "-B", "-X", "utf8", script]


def _bubblewrap(of: str) -> list[str]:
    """bubblewrap's words up to the command: all that the code may see, none of it to change."""
    words = [
        shutil.which("bwrap") or "bwrap",
        "--die-with-parent",
        "--new-session",
        *NAMESPACES,
        "--cap-drop",
        "ALL",
    ]
    if of == "namespaces + uid":
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    interpreter = [f"{sys.base_prefix}/lib", os.path.realpath(sys.executable)]
    shown = [
        path for path in dict.fromkeys([*NEEDED, *interpreter, *DEVICES]) if os.path.exists(path)
    ]
    parents = dict.fromkeys(
        parent for path in shown for parent in reversed(Path(path).parents[:-1])
    )
    for parent in parents:  # bubblewrap would close them to the code's uid
        if not parent.is_symlink():
            words += ["--perms", "0755", "--dir", str(parent)]
    for path in shown:
        if os.path.islink(path) and os.path.isdir(path):
            words += ["--symlink", os.readlink(path), path]
        else:
            words += ["--dev-bind" if path in DEVICES else "--ro-bind", path, path]
    words += ["--ro-bind", str(HERE), "/cage"]
    words += ["--perms", "0777", "--size", str(ROOM), "--tmpfs", INSIDE]
    return [*words, "--remount-ro", "/", "--chdir", INSIDE, "--"]
