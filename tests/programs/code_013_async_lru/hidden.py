import asyncio

from harness import raises, run_virtual
from solution import async_lru


async def _main():
    calls = []

    @async_lru(2)
    async def double(n, other=0):
        calls.append(n)
        await asyncio.sleep(3)
        if n < 0:
            raise ValueError(n)
        return 2 * n + other

    assert double.cache_info() == (0, 0, 0)
    assert await asyncio.gather(double(1), double(1), double(1)) == [2, 2, 2]
    assert double.cache_info() == (2, 1, 1), double.cache_info()
    assert await double(2) == 4 and await double(1) == 2
    assert await double(3) == 6  # drops 2
    assert double.cache_info() == (3, 3, 2), double.cache_info()
    assert await double(1) == 2 and calls == [1, 2, 3]
    assert await double(2) == 4 and calls == [1, 2, 3, 2]  # drops 3
    assert await double(1) == 2 and len(calls) == 4
    assert await double(1, 5) == 7 and len(calls) == 5  # other arguments; drops 2

    before = double.cache_info()
    results = await asyncio.gather(double(-1), double(-1), return_exceptions=True)
    assert [type(r) for r in results] == [ValueError] * 2 and calls.count(-1) == 1
    assert double.cache_info() == (before[0] + 1, before[1] + 1, 2)
    await raises(ValueError, double(-1))
    assert calls.count(-1) == 2
    assert (
        await double(1) == 2 and await double(1, 5) == 7 and len(calls) == 7
    )  # failures have pushed nothing out

    task, other = asyncio.create_task(double(9)), asyncio.create_task(double(9))
    await asyncio.sleep(1)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert await other == 18 and calls.count(9) == 1


run_virtual(_main)
