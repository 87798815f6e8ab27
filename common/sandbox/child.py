"""The child of `common.sandbox`: ties itself down, runs the code in its input, reports.

Started with -S and by its path: it imports nothing but built-in parts of the standard library and
the list of allowed calls beside it. Arguments: the folder, the uid to become (-1: stay), the
descriptor to report on, seconds of CPU time, megabytes of address space. Input: 16 bytes that sign
the verdict, then the code.
"""

import _ctypes  # noqa: F401  loaded before the hook that refuses native libraries
import ctypes
import os
import resource
import struct
import sys
import types

sys.path.insert(0, os.path.dirname(__file__))
import calls

del sys.path[0], sys.modules["calls"]

LIBC = ctypes.CDLL(None, use_errno=True)
THREADS = 128
FILE_SIZE = 16 << 20  # bytes
OPEN_FILES = 64
MAY_READ = [
    *sys.path,
    f"{sys.base_prefix}/lib",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
]
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 38, 22
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # of Landlock
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8

# Audit events at which the run ends, with what was tried; and those whose paths are looked at.
STOPS = {
    "start a process": (
        "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system subprocess.Popen"
    ),
    "call a native library": "ctypes.dlopen ctypes.dlsym ctypes.dlsym/handle ctypes.call_function",
    "open a socket": "socket.connect socket.bind socket.sendto socket.sendmsg",
    "reach the network": (
        "socket.getaddrinfo socket.gethostbyname socket.gethostbyaddr socket.getnameinfo"
    ),
    "change its limits": "resource.setrlimit resource.prlimit",
    "signal another process": "os.killpg",
}
STOPPED_BY = {event: tried for tried, events in STOPS.items() for event in events.split()}
READS = {"os.listdir", "os.scandir", "os.getxattr", "os.listxattr"}
WRITES = {
    "os.chdir",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.removexattr",
    "os.rename",
    "os.rmdir",
    "os.setxattr",
    "os.symlink",
    "os.truncate",
    "os.utime",
    "sqlite3.connect",
}


def drop_rights(uid: int) -> None:
    """Become `uid`, gain no rights by any program, and die with the parent (which changing the uid
    forgets).
    """
    LIBC.mallopt(-8, 1)  # M_ARENA_MAX: no 64 MB of address space for each thread
    if uid >= 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    LIBC.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def limit(**sizes: int) -> None:
    """Lower these limits, soft and hard, for good."""
    for name, size in sizes.items():
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        size = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(which, (size, size))


def close_the_files(folder: str) -> None:
    """Landlock: everything inside the folder, reading in MAY_READ, nothing else. No effect on a
    kernel without it.
    """
    version = LIBC.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    everything = (1 << (12 + min(version, 3))) - 1
    ruleset = LIBC.syscall(CREATE_RULESET, struct.pack("Q", everything), 8, 0)
    for path in [folder, *MAY_READ]:
        if not os.path.exists(path):
            continue
        rights = READ_FILE
        if path == folder:
            rights = everything & ~EXECUTE
        elif os.path.isdir(path):
            rights = READ_FILE | READ_DIR
        elif path == "/dev/null":
            rights = READ_FILE | WRITE_FILE
        opened = os.open(path, os.O_PATH)
        LIBC.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, opened), 0)
        os.close(opened)
    LIBC.syscall(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def filter_calls() -> None:
    """Allow the calls listed in calls.py and no other. Raises OSError where the kernel does not
    take the filter.
    """
    packed = calls.program(os.getpid())
    lines = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("HxxxxxxQ", len(packed) // 8, ctypes.addressof(lines))
    taken = LIBC.prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(header, 16), 0, 0)
    if taken != 0:
        raise OSError(ctypes.get_errno(), "the kernel does not take the filter of system calls")


def watch(folder: str, stop) -> None:
    """The audit hook: `stop(reason)` for what ordinary code never does, PermissionError for files
    outside.
    """
    realpath = os.path.realpath
    fspath = os.fspath
    own = os.getpid()
    inside = realpath(folder)
    readable = [realpath(path) for path in MAY_READ]
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def under(path, roots):
        return any(path == root or path.startswith(root + "/") for root in roots)

    def check(path, write):
        if path is None or isinstance(path, int):
            return
        text = fspath(path)
        real = realpath(
            text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
        )
        if not under(real, [inside] if write else [inside, *readable]) and real != "/dev/null":
            raise PermissionError(
                f"tried to {'write' if write else 'read'} {real} outside its folder"
            )

    def hook(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            check(path, bool(set(mode or "") & set("wax+")) or bool((flags or 0) & writing))
        elif event in STOPPED_BY:
            stop(f"tried to {STOPPED_BY[event]}")
        elif (
            event == "socket.__new__" and arguments[1] != 1
        ):  # AF_UNIX: the pair by which an event loop wakes itself
            stop("tried to open a socket")
        elif event == "os.kill" and arguments[0] != own:
            stop("tried to signal another process")
        elif event in READS or event in WRITES:
            for path in arguments:
                if isinstance(path, (str, bytes, os.PathLike)):
                    check(path, event in WRITES)

    sys.addaudithook(hook)


def describe(error: BaseException, code: bytes) -> str:
    """The last line of its traceback, with the line of the code that raised it."""
    kind = type(error)
    lines = code.decode("utf-8", "replace").splitlines()
    if issubclass(kind, MemoryError):
        return "out of memory"
    if issubclass(kind, SystemExit):
        return "exited before its end"
    try:
        text = str(error)
    except BaseException:
        text = "(without a readable message)"
    at = 0
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<code>":
            at = trace.tb_lineno
        trace = trace.tb_next
    where = f" (line {at}: {lines[at - 1].strip()})" if 0 < at <= len(lines) else ""
    return f"{kind.__name__}: {text}{where}" if text else f"{kind.__name__}{where}"


def main() -> None:
    folder = sys.argv[1]
    uid, tell, cpu_seconds, megabytes = map(int, sys.argv[2:])
    with open(0, "rb", closefd=False) as source:
        nonce = source.read(16)
        code = source.read()
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    write = os.write
    leave = os._exit
    flush = sys.stdout.flush
    spare = bytearray(1 << 20)

    def finish(verdict: str) -> None:
        text = " ".join(verdict.split())[:300].encode("utf-8", "backslashreplace")
        try:
            flush()
        finally:
            write(tell, nonce + text + b"\n")
            leave(0)

    drop_rights(uid)
    close_the_files(folder)
    limit(
        CPU=cpu_seconds,
        AS=megabytes << 20,
        FSIZE=FILE_SIZE,
        NOFILE=OPEN_FILES,
        CORE=0,
        NPROC=THREADS,
    )
    filter_calls()
    module = types.ModuleType("__main__")
    _this = sys.modules["__main__"]  # kept alive: its globals are ours
    sys.modules["__main__"] = module
    sys.argv = [""]
    os.environ.pop("PYTHONHASHSEED", None)
    watch(folder, lambda reason: finish(f"no {reason}"))
    write(tell, b".")
    try:
        exec(compile(code, "<code>", "exec"), vars(module))
    except BaseException as error:
        del spare  # so that there is room to say "out of memory"
        finish("no " + describe(error, code))
    finish("ok")


main()
