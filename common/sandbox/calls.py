"""The system calls that caged code may make, as a seccomp filter: what is not listed here is
refused.

Numbers and struct layouts are those of x86-64 Linux (asm/unistd_64.h, linux/seccomp.h,
linux/filter.h).
"""

import struct

ALLOWED = """
read 0 write 1 close 3 stat 4 fstat 5 lstat 6 poll 7 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12
rt_sigaction 13 rt_sigprocmask 14 rt_sigreturn 15 pread64 17 pwrite64 18 readv 19 writev 20
access 21 pipe 22 select 23 sched_yield 24 mremap 25 msync 26 madvise 28 dup 32 dup2 33 pause 34
nanosleep 35 getitimer 36 alarm 37 setitimer 38 getpid 39 recvfrom 45 recvmsg 47 shutdown 48
getsockname 51 getpeername 52 getsockopt 55 exit 60 uname 63 flock 73 fsync 74 fdatasync 75
truncate 76 ftruncate 77 getdents 78 getcwd 79 chdir 80 fchdir 81 rename 82 mkdir 83 rmdir 84
creat 85 link 86 unlink 87 symlink 88 readlink 89 umask 95 gettimeofday 96 getrlimit 97
getrusage 98 sysinfo 99 times 100 getuid 102 getgid 104 geteuid 107 getegid 108 getppid 110
getpgrp 111 getpgid 121 getresuid 118 getresgid 120 rt_sigpending 127 rt_sigtimedwait 128
rt_sigsuspend 130 sigaltstack 131 statfs 137 fstatfs 138 arch_prctl 158 gettid 186 time 201
futex 202 sched_getaffinity 204 getdents64 217 set_tid_address 218 restart_syscall 219
fadvise64 221 clock_gettime 228 clock_getres 229 clock_nanosleep 230 exit_group 231
epoll_wait 232 epoll_ctl 233 openat 257 mkdirat 258 newfstatat 262 unlinkat 263 renameat 264
linkat 265 symlinkat 266 readlinkat 267 faccessat 269 pselect6 270 ppoll 271 set_robust_list 273
get_robust_list 274 epoll_pwait 281 timerfd_create 283 fallocate 285 timerfd_settime 286
timerfd_gettime 287 eventfd2 290 epoll_create1 291 dup3 292 pipe2 293 renameat2 316
getrandom 318 statx 332 rseq 334 faccessat2 439 epoll_pwait2 441 open 2
"""
IOCTL, FCNTL, CLONE, KILL, PRCTL, TGKILL, SENDTO, SOCKETPAIR, CLONE3 = (
    16, 72, 56, 62, 157, 234, 44, 53, 435,
)  # fmt: skip
TERMINAL_SIZE, NONBLOCKING, CLOSE_ON_EXEC, WAITING = 0x5413, 0x5421, 0x5451, 0x541B
IOCTLS = (0x5401, TERMINAL_SIZE, NONBLOCKING, CLOSE_ON_EXEC, WAITING)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_GETLK, F_SETLK, F_SETLKW, F_DUPFD_CLOEXEC. Not F_SETOWN,
# F_SETSIG: they make the kernel send any signal to any process.
FCNTLS = (0, 1, 2, 3, 5, 6, 7, 1030)
F_SETFL = 4
O_ASYNC = 0x2000
PRCTLS = (
    15,
    16,
    0x53564D41,
)  # the name of a thread, set and read; of a mapping. Not the death signal.
CLONE_THREAD = 0x10000
AF_UNIX = 1

LOAD, EQUAL, GREATER_OR_EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
X86_64 = 0xC000003E
X32_BIT = 0x40000000
ALLOW = (RETURN, 0, 0, 0x7FFF0000)
KILL_PROCESS = (RETURN, 0, 0, 0x80000000)
NOT_PERMITTED = (RETURN, 0, 0, 0x50000 | 1)
NO_SUCH_CALL = (RETURN, 0, 0, 0x50000 | 38)

Line = tuple[int, int, int, int]


def argument(number: int) -> Line:
    """Load the lower half of a call's argument."""
    return (LOAD, 0, 0, 16 + 8 * number)


def when(call: int, test: list[Line]) -> list[Line]:
    """For that call, the test alone decides; it must end in a return."""
    return [(EQUAL, 0, len(test), call), *test]


def one_of(number: int, wanted: tuple[int, ...]) -> list[Line]:
    """Allow a call whose argument is one of those."""
    lines = [argument(number)]
    for place, value in enumerate(wanted):
        lines.append((EQUAL, len(wanted) - place, 0, value))
    return [*lines, NOT_PERMITTED, ALLOW]


def program(own_pid: int) -> bytes:
    """The filter for the process `own_pid`, as an array of struct sock_filter."""
    lines: list[Line] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, X86_64),
        KILL_PROCESS,  # the calls of another architecture
        (LOAD, 0, 0, NUMBER),
        (GREATER_OR_EQUAL, 0, 1, X32_BIT),
        NOT_PERMITTED,
    ]
    for number in ALLOWED.split()[1::2]:
        lines += [(EQUAL, 0, 1, int(number)), ALLOW]
    lines += when(CLONE3, [NO_SUCH_CALL])  # the C library then uses clone, whose flags can be read
    lines += when(CLONE, [argument(0), (ANY_BIT, 0, 1, CLONE_THREAD), ALLOW, NOT_PERMITTED])
    lines += when(KILL, one_of(0, (own_pid,)))
    lines += when(TGKILL, one_of(0, (own_pid,)))
    lines += when(PRCTL, one_of(0, PRCTLS))
    lines += when(IOCTL, one_of(1, IOCTLS))
    lines += when(SOCKETPAIR, one_of(0, (AF_UNIX,)))
    # Only to the other end of a pair: an address could name a socket outside.
    no_address = [argument(4), (EQUAL, 0, 3, 0), (LOAD, 0, 0, 16 + 8 * 4 + 4), (EQUAL, 0, 1, 0)]
    lines += when(SENDTO, [*no_address, ALLOW, NOT_PERMITTED])
    flags = [argument(2), (ANY_BIT, 1, 0, O_ASYNC), ALLOW, NOT_PERMITTED]
    set_flags = [argument(1), (EQUAL, 0, len(flags), F_SETFL), *flags]
    lines += when(FCNTL, [*set_flags, *one_of(1, FCNTLS)])
    lines.append(NOT_PERMITTED)
    return b"".join(struct.pack("HBBI", *line) for line in lines)
