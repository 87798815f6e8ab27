import asyncio

from harness import raises, run_virtual
from solution import Adaptive, Overload


async def _main():
    adaptive = Adaptive(2, 1, 4)
    active, peak, order = 0, 0, []

    async def work(name, seconds=1, error=None):
        nonlocal active, peak
        async with adaptive.slot():
            order.append(name)
            active, peak = active + 1, max(peak, active + 1)
            try:
                await asyncio.sleep(seconds)
            finally:
                active -= 1
            if error:
                raise error

    await asyncio.gather(work(0), work(1), work(2))
    assert peak == 2 and order == [0, 1, 2]
    expected = 2.0
    for _ in range(3):
        expected += 1 / expected
    assert abs(adaptive.limit - expected) < 1e-9, adaptive.limit  # about 3.2
    await asyncio.gather(*(work(n) for n in range(9)))
    assert adaptive.limit == 4 and peak == 4, (adaptive.limit, peak)

    results = await asyncio.gather(
        *(work("x", 1 + n / 10, Overload()) for n in range(4)), return_exceptions=True
    )
    assert all(isinstance(result, Overload) for result in results)
    assert adaptive.limit == 2, adaptive.limit  # four at the same time are one overload
    peak = 0
    await asyncio.gather(*(work(n) for n in range(2)), return_exceptions=True)
    assert peak == 2
    before = adaptive.limit
    await asyncio.gather(work("k", 1, KeyError()), return_exceptions=True)
    task = asyncio.create_task(work("c", 50))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert adaptive.limit == before and active == 0

    for _ in range(5):
        await raises(Overload, work("y", 1, Overload()))
    assert adaptive.limit == 1
    order.clear()
    tasks = [asyncio.create_task(work(name, 5)) for name in "abcd"]
    await asyncio.sleep(1)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a", "c", "d"], order

    adaptive, peak = Adaptive(4, 1, 8), 0
    jobs = (
        [work("old", 10, KeyError()) for _ in range(3)]
        + [work("over", 1, Overload())]
        + [work("new", 3, KeyError()) for _ in range(4)]
    )
    tasks = [asyncio.create_task(job) for job in jobs]
    await asyncio.sleep(2)  # the limit is 2 now, three still run
    assert adaptive.limit == 2 and active == 3
    await asyncio.sleep(9)
    assert active == 2, active
    await asyncio.gather(*tasks, return_exceptions=True)


run_virtual(_main)
