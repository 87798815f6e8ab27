import asyncio

from harness import alone, raises, run_virtual
from solution import map_ordered


async def _numbers(count, log):
    try:
        for n in range(count):
            log.append(n)
            yield n
    finally:
        log.append("closed")


async def _main():
    taken, active, peak = [], 0, 0

    async def work(n):
        nonlocal active, peak
        active, peak = active + 1, max(peak, active + 1)
        try:
            await asyncio.sleep([9, 1, 5, 2][n % 4])
        finally:
            active -= 1
        return n * 10

    results = [result async for result in map_ordered(work, _numbers(12, taken), 4)]
    assert results == [n * 10 for n in range(12)] and peak == 4 and taken[-1] == "closed"
    loop = asyncio.get_running_loop()
    assert loop.time() < 12 / 4 * 17, loop.time()

    taken.clear()
    got = 0
    async for _ in map_ordered(work, _numbers(30, taken), 3):
        await asyncio.sleep(20)
        got += 1
        assert len([n for n in taken if n != "closed"]) <= got + 3, (taken, got)
    assert got == 30


async def _error():
    log, taken, got = [], [], []

    async def work(n):
        try:
            await asyncio.sleep(1 if n == 2 else 5 + n)
        except asyncio.CancelledError:
            log.append(n)
            raise
        if n == 2:
            raise KeyError(n)
        return n

    async def consume():
        async for result in map_ordered(work, _numbers(9, taken), 4):
            got.append(result)

    await raises(KeyError, consume())
    assert got == [0, 1] and taken[-1] == "closed"
    assert set(log) >= {3} and await alone(), log

    log.clear()
    generator = map_ordered(work, _numbers(9, taken), 2)
    assert await anext(generator) == 0
    await generator.aclose()
    assert 1 in log and taken[-1] == "closed" and await alone(), (log, taken)


async def _overlap():
    loop = asyncio.get_running_loop()

    async def work(n):
        await asyncio.sleep(1)
        return n

    async def slow():
        for n in range(5):
            await asyncio.sleep(10)
            yield n

    times = [(result, loop.time()) async for result in map_ordered(work, slow(), 3)]
    assert times == [(0, 11), (1, 21), (2, 31), (3, 41), (4, 51)], times


run_virtual(_main)
run_virtual(_error)
run_virtual(_overlap)
