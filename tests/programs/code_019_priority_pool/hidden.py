import asyncio

from harness import run_virtual
from solution import PriorityPool


async def _main():
    order = []

    def job(name, seconds=1, error=None):
        async def run():
            order.append(name)
            await asyncio.sleep(seconds)
            if error:
                raise error
            return name

        return run

    async with PriorityPool(1) as pool:
        first = pool.submit(5, job("first", 3))
        await asyncio.sleep(1)
        futures = [pool.submit(p, job(f"{p}{n}")) for n, p in enumerate([3, 1, 2, 1, 3])]
        bad = pool.submit(0, job("bad", 1, OSError("x")))
        futures[3].cancel()
        assert not first.done()
    assert order == ["first", "bad", "11", "22", "30", "34"], order
    assert (
        await first == "first"
        and futures[0].result() == "30"
        and isinstance(bad.exception(), OSError)
    )
    try:
        pool.submit(1, job("late"))
    except RuntimeError:
        pass
    else:
        raise AssertionError("submit after the end")


async def _workers():
    active, peak, ended = 0, 0, []
    loop = asyncio.get_running_loop()

    async def work():
        nonlocal active, peak
        active, peak = active + 1, max(peak, active + 1)
        await asyncio.sleep(2)
        active -= 1

    async def spawn():
        await asyncio.sleep(50)
        pool.submit(0, last)

    async def last():
        await asyncio.sleep(5)
        ended.append(loop.time())

    async with PriorityPool(3) as pool:
        for _ in range(9):
            pool.submit(1, work)
        await asyncio.sleep(10)
        pool.submit(1, spawn)
    assert peak == 3 and ended == [65], (peak, ended)


run_virtual(_main)
run_virtual(_workers)
