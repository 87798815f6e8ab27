"""The child of `common.sandbox`: ties itself down, runs the code that stands in its input, and reports on one descriptor.

Started with -S and by its path: it imports nothing but built-in parts of the standard library. Arguments: the folder, the descriptor to
report on, seconds of CPU time, megabytes of address space. Input: 16 bytes that sign the verdict, then the code.
"""

import _ctypes  # noqa: F401  loaded before the hook that refuses native libraries
import ctypes
import os
import resource
import struct
import sys
import types

LIBC = ctypes.CDLL(None, use_errno=True)
MAY_READ = [
    *sys.path,
    f"{sys.base_prefix}/lib",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
]
MAY_READ += ["/etc/localtime", "/etc/ld.so.cache", "/dev/null", "/dev/urandom"]

# The system calls of x86-64 that are refused whatever their arguments.
REFUSED = """
socket 41 connect 42 bind 49 fork 57 vfork 58 execve 59 execveat 322 ptrace 101 setpgid 109 setsid 112 setrlimit 160 prlimit64 302
chroot 161 mount 165 umount2 166 pivot_root 155 unshare 272 setns 308 tkill 200 shmget 29 semget 64 msgget 68 mq_open 240 mknod 133
mknodat 259 memfd_create 319 add_key 248 request_key 249 keyctl 250 perf_event_open 298 bpf 321 userfaultfd 323 io_uring_setup 425
process_vm_readv 310 process_vm_writev 311 pidfd_send_signal 424 pidfd_open 434 pidfd_getfd 438
"""
CLONE, CLONE3, KILL, TGKILL, CLONE_THREAD = 56, 435, 62, 234, 0x10000

# Audit events at which the run ends, with what was tried; and those whose paths are looked at.
STOPS = {
    "start a process": "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system subprocess.Popen",
    "call a native library": "ctypes.dlopen ctypes.dlsym ctypes.dlsym/handle ctypes.call_function",
    "open a socket": "socket.connect socket.bind socket.sendto socket.sendmsg",
    "reach the network": "socket.getaddrinfo socket.gethostbyname socket.gethostbyaddr socket.getnameinfo",
    "change its limits": "resource.setrlimit resource.prlimit",
    "signal another process": "os.killpg",
}
STOPS = {event: tried for tried, events in STOPS.items() for event in events.split()}
READS = "os.listdir os.scandir os.getxattr os.listxattr"
WRITES = "os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.truncate os.chmod os.chown os.utime"
WRITES += " os.setxattr os.removexattr os.chdir sqlite3.connect"


def leave_the_network() -> None:
    """Die with the parent, gain no rights by any program, and move into a user and network namespace without any interface."""
    LIBC.mallopt(-8, 1)  # M_ARENA_MAX: no 64 MB of address space for each thread
    LIBC.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG
    LIBC.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if LIBC.unshare(0x10000000 | 0x40000000):  # CLONE_NEWUSER | CLONE_NEWNET
        LIBC.unshare(0x40000000)  # root of a container whose kernel grants no user namespaces


def limit(**sizes: int) -> None:
    """Lower these limits, soft and hard, for good."""
    for name, size in sizes.items():
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        size = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(which, (size, size))


def close_the_files(folder: str) -> None:
    """Landlock: everything inside the folder, reading in MAY_READ, nothing else. Without effect on a kernel that has it not."""
    if (version := LIBC.syscall(444, None, 0, 1)) < 1:
        return
    everything = (1 << (12 + min(version, 3))) - 1
    ruleset = LIBC.syscall(444, struct.pack("Q", everything), 8, 0)
    for path in [folder, *MAY_READ]:
        if not os.path.exists(path):
            continue
        opened = os.open(path, os.O_PATH)
        rights = (
            everything
            if path == folder
            else 4 | 8
            if os.path.isdir(path)
            else 4 | 2 * (path == "/dev/null")
        )
        LIBC.syscall(445, ruleset, 1, struct.pack("=Qi", rights, opened), 0)
        os.close(opened)
    LIBC.syscall(446, ruleset, 0)
    os.close(ruleset)


def filter_calls() -> bool:
    """Refuse the system calls that make sockets and processes or reach other processes; threads stay. False where it cannot be had."""
    if os.uname().machine != "x86_64":
        return False

    def deny(error):
        return (0x06, 0, 0, 0x50000 | error)

    def only_if(number, test, value):  # the call is granted when its first argument passes the test
        return [(0x15, 0, 4, number), (0x20, 0, 0, 16), (test, 0, 1, value), allow, deny(1)]

    allow = (0x06, 0, 0, 0x7FFF0000)
    program = [
        (0x20, 0, 0, 4),
        (0x15, 1, 0, 0xC000003E),
        (0x06, 0, 0, 0x80000000),
    ]  # another architecture's calls: kill
    program += [(0x20, 0, 0, 0), (0x35, 0, 1, 0x40000000), deny(1)]
    for number in REFUSED.split()[1::2]:
        program += [(0x15, 0, 1, int(number)), deny(1)]
    program += [
        (0x15, 0, 1, CLONE3),
        deny(38),
    ]  # "no such call": the C library then uses clone, whose flags can be read
    program += (
        only_if(KILL, 0x15, os.getpid())
        + only_if(TGKILL, 0x15, os.getpid())
        + only_if(CLONE, 0x45, CLONE_THREAD)
        + [allow]
    )
    packed = b"".join(struct.pack("HBBI", *line) for line in program)
    lines = ctypes.create_string_buffer(packed, len(packed))
    header = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(program), ctypes.addressof(lines))
    )
    return LIBC.prctl(22, 2, header, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def watch(folder: str, stop) -> None:
    """The audit hook: `stop(reason)` for what ordinary code never does, PermissionError for files outside."""
    realpath, fspath, own = os.path.realpath, os.fspath, os.getpid()
    inside, readable = os.path.realpath(folder), [os.path.realpath(path) for path in MAY_READ]
    reads, writes = set(READS.split()), set(WRITES.split())
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
        elif event in STOPS:
            stop(f"tried to {STOPS[event]}")
        elif (
            event == "socket.__new__" and arguments[1] != 1
        ):  # AF_UNIX: the pair by which an event loop wakes itself
            stop("tried to open a socket")
        elif event == "os.kill" and arguments[0] != own:
            stop("tried to signal another process")
        elif event in reads or event in writes:
            for path in arguments:
                if isinstance(path, (str, bytes, os.PathLike)):
                    check(path, event in writes)

    sys.addaudithook(hook)


def describe(error: BaseException, code: bytes) -> str:
    """The last line of its traceback, with the line of the code that raised it."""
    kind, lines = type(error), code.decode("utf-8", "replace").splitlines()
    if issubclass(kind, MemoryError):
        return "out of memory"
    if issubclass(kind, SystemExit):
        return "exited before its end"
    try:
        text = str(error)
    except BaseException:
        text = "(without a readable message)"
    at, trace = 0, error.__traceback__
    while trace:
        at, trace = (
            trace.tb_lineno if trace.tb_frame.f_code.co_filename == "<code>" else at,
            trace.tb_next,
        )
    where = f" (line {at}: {lines[at - 1].strip()})" if 0 < at <= len(lines) else ""
    return f"{kind.__name__}: {text}{where}" if text else f"{kind.__name__}{where}"


def main() -> None:
    folder, tell, cpu_seconds, megabytes = sys.argv[1], *map(int, sys.argv[2:])
    with open(0, "rb", closefd=False) as source:
        nonce, code = source.read(16), source.read()
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    write, leave, flush, spare = os.write, os._exit, sys.stdout.flush, bytearray(1 << 20)

    def finish(verdict: str) -> None:
        try:
            flush()
        finally:
            write(
                tell,
                nonce + " ".join(verdict.split())[:300].encode("utf-8", "backslashreplace") + b"\n",
            )
            leave(0)

    leave_the_network()
    close_the_files(folder)
    limit(CPU=cpu_seconds, AS=megabytes << 20, FSIZE=16 << 20, NOFILE=64, CORE=0)
    if not filter_calls():
        limit(
            NPROC=256
        )  # counted over all of the user's processes, and not for root: better than nothing
    module, _this = (
        types.ModuleType("__main__"),
        sys.modules["__main__"],
    )  # kept alive, its globals are ours
    sys.modules["__main__"], sys.argv = module, [""]
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
