import asyncio

from harness import raises, run_virtual
from solution import gather_limited


async def _order_and_limit():
    active, peak, started = 0, 0, []

    def make(n):
        async def job():
            nonlocal active, peak
            active, peak = active + 1, max(peak, active + 1)
            started.append(n)
            await asyncio.sleep(5 - n % 5)
            active -= 1
            return n * n

        return job

    assert await gather_limited([make(n) for n in range(12)], 3) == [n * n for n in range(12)]
    assert peak == 3 and started == list(range(12))
    assert await gather_limited([], 3) == []
    assert await gather_limited([make(1)], 9) == [1]
    await raises(ValueError, gather_limited([make(1)], 0))


async def _failure():
    log = []

    async def slow(name):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            log.append(name)
            raise

    async def bad():
        await asyncio.sleep(2)
        raise KeyError("bad")

    async def never():
        log.append("never")

    await raises(
        KeyError, gather_limited([lambda: slow("a"), bad, lambda: slow("b"), never, never], 3)
    )
    assert sorted(log) == ["a", "b"], log
    await asyncio.sleep(200)
    assert sorted(log) == ["a", "b"], log


run_virtual(_order_and_limit)
run_virtual(_failure)
