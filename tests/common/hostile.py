"""Programs that try to get out of the sandbox, by kind. Each prints ESCAPED where it got what it
wanted.

CANARY is a world-writable file of the caller's, PARENT the caller's pid, PORT a port it listens on.
"""

RAW = """
import ctypes, mmap
_page = mmap.mmap(-1, 4096, prot=7)
_page.write(bytes.fromhex("4889f84889f74889d64889ca4d89c24d89c84c8b4c24080f05c3"))
_kind = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 7)
_call = _kind(ctypes.addressof(ctypes.c_char.from_buffer(_page)))
_kept = []
def raw(number, *arguments):
    words = []
    for one in arguments:
        if isinstance(one, bytes):
            one = ctypes.create_string_buffer(one)
            _kept.append(one)
        words.append(one if isinstance(one, int) else ctypes.addressof(one))
    return _call(number, *words, *[0] * (6 - len(words)))
"""


def tried(body: str) -> str:
    """The body, and ESCAPED after it when nothing was raised."""
    return f"{body}\nprint('ESCAPED', flush=True)"


def granted(call: str) -> str:
    """A raw system call, and ESCAPED where the kernel grants it (negative results are errors)."""
    return f"{RAW}\nif {call} >= 0: print('ESCAPED', flush=True)"


PROCESSES = {
    "fork": tried("import os\nif os.fork() == 0: os._exit(0)"),
    "fork by _posixsubprocess": tried(
        "import _posixsubprocess as p, os\nr, w = os.pipe()\n"
        "p.fork_exec([b'/bin/true'], [b'/bin/true'], True, (), None, None, -1, -1, -1, -1, -1, -1,"
        " r, w, True, False, -1, None, None, None, -1, None, True)"
    ),
    "raw fork": granted("raw(57)"),
    "raw vfork": granted("raw(58)"),
    "raw clone of a process": granted("raw(56, 17)"),
    "raw clone3": granted("raw(435, bytes(64), 64)"),
    "raw execve": granted("raw(59, b'/usr/bin/env\\0', 0, 0)"),
    "raw execveat": granted("raw(322, -100, b'/usr/bin/env\\0', 0, 0, 0)"),
    "raw ptrace": granted("raw(101, 16, PARENT, 0, 0)"),
    "raw unshare": granted("raw(272, 0x10000000)"),
    "raw setns": granted("raw(308, 0, 0)"),
    "raw setsid": granted("raw(112)"),
    "raw setpgid": granted("raw(109, 0, 0)"),
    "raw process_vm_readv": granted("raw(310, PARENT, bytes(16), 1, bytes(16), 1, 0)"),
    "raw pidfd_open": granted("raw(434, PARENT, 0)"),
    "raw setuid 0": granted("raw(105, 0)"),
    "raw capset": granted("raw(126, bytes(8), bytes(24))"),
}
SIGNALS = {
    "kill of the parent": tried("import os\nos.kill(PARENT, 9)"),
    "kill of all": tried("import os\nos.kill(-1, 0)"),
    "raw kill of the parent": granted("raw(62, PARENT, 9)"),
    "raw kill of every process": granted("raw(62, -1, 9)"),
    "raw tkill": granted("raw(200, PARENT, 9)"),
    "raw tgkill": granted("raw(234, PARENT, PARENT, 9)"),
    "raw rt_sigqueueinfo": granted("raw(129, PARENT, 9, bytes(128))"),
    "raw rt_tgsigqueueinfo": granted("raw(297, PARENT, PARENT, 9, bytes(128))"),
    "raw pidfd_send_signal": granted("raw(424, 0, 9, 0, 0)"),
    "owner of a pipe": tried(
        "import fcntl, os\nr, w = os.pipe()\nfcntl.fcntl(r, 8, os.getppid())\nfcntl.fcntl(r, 10, 9)\n"
        "fcntl.fcntl(r, fcntl.F_SETFL, fcntl.fcntl(r, fcntl.F_GETFL) | 0x2000)\nos.write(w, b'x')"
    ),
    "owner by F_SETOWN_EX": tried(
        "import fcntl, os, struct\nr, w = os.pipe()\nfcntl.fcntl(r, 15, struct.pack('ii', 1, PARENT))"
    ),
    "FIOASYNC": tried(
        "import fcntl, os\nr, w = os.pipe()\nfcntl.ioctl(r, 0x5452, b'\\1\\0\\0\\0')"
    ),
    "FIOSETOWN": tried(
        "import fcntl, socket, struct\na, b = socket.socketpair()\n"
        "fcntl.ioctl(a, 0x8901, struct.pack('i', PARENT))"
    ),
    "death signal cleared": granted("raw(157, 1, 0)"),
    "priority of the parent": tried("import os\nos.setpriority(os.PRIO_PROCESS, PARENT, 19)"),
    "cores of the parent": tried("import os\nos.sched_setaffinity(PARENT, {0})"),
    "scheduler of the parent": tried(
        "import os\nos.sched_setscheduler(PARENT, os.SCHED_IDLE, os.sched_param(0))"
    ),
    "raw prlimit of the parent": granted("raw(302, PARENT, 7, bytes(16), 0)"),
    "raw ioprio_set": granted("raw(251, 1, PARENT, 0)"),
}
FILES = {
    "reading the canary": tried("open(CANARY).read()"),
    "writing the canary": tried("open(CANARY, 'a').write('x')"),
    "removing the canary": tried("import os\nos.remove(CANARY)"),
    "mode of the canary": tried("import os\nos.chmod(CANARY, 0o4777)"),
    "mode by a folder's descriptor": tried(
        "import os\nos.makedirs('a/b')\nhere = os.open('a/b', 0)\n"
        "os.chmod('../' * 9 + CANARY[1:], 0o4777, dir_fd=here)"
    ),
    "mode of what may be read": tried(
        "import os, sys\nf = open(os.__file__)\nos.fchmod(f.fileno(), 0)"
    ),
    "stat of the canary": tried("import os\nos.stat(CANARY)"),
    "stat of the passwords": tried("import os\nos.stat('/etc/shadow')"),
    "raw chmod": granted("raw(90, CANARY.encode() + b'\\0', 0o4777)"),
    "raw utime": granted("raw(132, CANARY.encode() + b'\\0', 0)"),
    "raw utimensat": granted("raw(280, -100, CANARY.encode() + b'\\0', 0, 0)"),
    "raw setxattr": granted("raw(188, CANARY.encode() + b'\\0', b'user.x\\0', b'1', 1, 0)"),
    "raw chown": granted("raw(92, CANARY.encode() + b'\\0', 0, 0)"),
    "raw open": granted("raw(2, CANARY.encode() + b'\\0', 1, 0)"),
    "raw open_by_handle_at": granted("raw(304, -100, bytes(32), 0)"),
    "raw mount": granted("raw(165, b'/\\0', b'/box\\0', 0, 4096, 0)"),
    "raw chroot": granted("raw(161, b'/\\0')"),
    "raw pivot_root": granted("raw(155, b'/\\0', b'/\\0')"),
    "raw mknod": granted("raw(133, b'disk\\0', 0o60666, 0x800)"),
    "raw memfd_create": granted("raw(319, b'x\\0', 0)"),
    "a link to the canary": tried("import os\nos.symlink(CANARY, 'x')\nopen('x').read()"),
    "a hard link": tried("import os\nos.link(CANARY, 'x')\nopen('x').read()"),
    "the parent's environment": tried("open(f'/proc/{PARENT}/environ', 'rb').read()"),
    "the parent's memory": tried("open(f'/proc/{PARENT}/mem', 'rb').read(1)"),
    "the root's files": tried("import os\nassert set(os.listdir('/')) & {'home', 'root', 'var'}"),
}
SOCKETS = {
    "a connection": tried("import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)"),
    "a connection by _socket": tried(
        "import _socket\n_socket.socket(2, 1).connect(('127.0.0.1', PORT))"
    ),
    "raw socket": granted("raw(41, 2, 1, 0)"),
    "raw netlink": granted("raw(41, 16, 3, 0)"),
    "an address for the pair's end": tried(
        "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\na.sendto(b'x', '/tmp/s')"
    ),
    "raw sendto with an address": granted(
        "raw(44, (lambda p: (_kept.append(p), p[0].fileno())[1])(__import__('socket').socketpair(1, 2)),"
        " b'x', 1, 0, b'\\1\\0/tmp/s\\0', 9)"
    ),
    "raw io_uring_setup": granted("raw(425, 1, bytes(120))"),
    "raw bpf": granted("raw(321, 0, bytes(64), 64)"),
    "raw keyctl": granted("raw(250, 0, -3, 1)"),
    "raw shmget": granted("raw(29, 77, 4096, 0o1666)"),
}
OTHER_ABIS = {
    "32-bit getpid": (
        RAW
        + "_page.seek(64)\n_page.write(bytes.fromhex('89f8cd80c3'))\n"
        + "_kind(ctypes.addressof(ctypes.c_char.from_buffer(_page, 64)))(20, 0, 0, 0, 0, 0, 0)\n"
        + "print('ESCAPED', flush=True)"
    ),
    "x32 getpid": granted("raw(0x40000000 | 39)"),
    "a number that no kernel knows": granted("raw(9999)"),
}
RESOURCES = {
    "4,000 threads": (
        "import threading, time\nstarted = 0\n"
        "for _ in range(4000):\n    threading.Thread(target=time.sleep, args=(3,), daemon=True).start()\n"
        "    started += 1\n    if started > 500: print('ESCAPED', flush=True); break"
    ),
    "a gigabyte in files": (
        "for n in range(100):\n    open(f'{n}', 'wb').write(bytes(15 << 20))\nprint('ESCAPED', flush=True)"
    ),
    "two gigabytes of memory": tried("x = [bytearray(64 << 20) for _ in range(32)]"),
    "higher limits": tried("import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))"),
    "raw setrlimit": granted("raw(160, 7, bytes([255] * 16))"),
    "raw mlockall": granted("raw(151, 3)"),
    "a million open files": tried("x = [open('x', 'w') for _ in range(1000)]"),
}
LEFTOVERS = {
    "nested folders": (
        "import os\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\nwhile True: pass"
    ),
    "a closed folder": "import os\nos.makedirs('a/b')\nos.chmod('a', 0)",
    "names that no shell likes": "open('-rf\\n*', 'w').close()\nopen(b'\\xff\\xfe', 'w').close()",
    "a thread that stays": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nraise SystemExit"
    ),
    "no signal stops it": (
        "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except OSError: pass\nwhile True: pass"
    ),
}
FAKE_VERDICTS = {
    "the word by hand": (
        "import os\nfor n in range(3, 64):\n    try: os.write(n, b'ok\\n')\n    except OSError: pass\nwhile 1: pass"
    ),
    "an early end": "import os\nprint('ok')\nos._exit(0)",
    "an end at exit": "import atexit, os\natexit.register(os._exit, 0)\nassert 0",
    "a system exit": "import sys\nsys.exit(0)",
    "escape sequences": "raise ValueError('\\x1b[2J\\x1b]0;pwned\\x07\\x00')",
    "a printed verdict": "print('.' + 'x' * 16 + 'ok')\nassert 0",
}
KINDS = {
    "processes": PROCESSES,
    "signals": SIGNALS,
    "files": FILES,
    "sockets": SOCKETS,
    "other ABIs": OTHER_ABIS,
    "resources": RESOURCES,
    "leftovers": LEFTOVERS,
    "fake verdicts": FAKE_VERDICTS,
}
# Without a mount namespace of its own, code sees which files there are; it cannot open or change
# them.
SEEN_WITHOUT_NAMESPACES = {"stat of the canary", "stat of the passwords"}
