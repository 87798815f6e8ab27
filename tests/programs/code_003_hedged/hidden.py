import asyncio

from harness import raises, run_virtual
from solution import hedged


def _server(plan, log):
    async def call(n):
        log.append((n, asyncio.get_running_loop().time()))
        seconds, error = plan[n]
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            log.append((n, "cancelled"))
            raise
        if error:
            raise error
        return n

    return call


async def _fast():
    log = []
    assert await hedged(_server([(1, None), (1, None)], log), 2, 2) == 0
    assert log == [(0, 0)]


async def _slow():
    log = []
    assert await hedged(_server([(50, None), (50, None), (2.5, None), (1, None)], log), 2, 4) == 2
    assert log[:4] == [(0, 0), (1, 2), (2, 4), (3, 6)], log
    assert sorted(log[4:]) == [(0, "cancelled"), (1, "cancelled"), (3, "cancelled")], log


async def _winner():
    log = []
    assert await hedged(_server([(50, None), (3, None), (50, None)], log), 2, 3) == 1
    assert log[:3] == [(0, 0), (1, 2), (2, 4)]
    assert sorted(log[3:]) == [(0, "cancelled"), (2, "cancelled")], log


async def _failing():
    log = []
    assert await hedged(_server([(1, OSError("0")), (1, OSError("1")), (1, None)], log), 10, 3) == 2
    assert log == [(0, 0), (1, 1), (2, 2)], log
    log = []
    assert (
        await hedged(_server([(8.5, None), (1, OSError("1")), (1, None)], log), 4, 3) == 0
    )  # begins at 3
    assert log == [(0, 3), (1, 7), (2, 11), (2, "cancelled")], (
        log
    )  # a failed hedge hurries nothing while attempt 0 still runs


async def _all_fail():
    first, second, last = OSError("0"), OSError("1"), OSError("2")
    error = await raises(OSError, hedged(_server([(1, first), (9, last), (2, second)], []), 5, 3))
    assert error is last, error


run_virtual(_fast)
run_virtual(_slow)
run_virtual(_winner)
run_virtual(_failing)
run_virtual(_all_fail)
