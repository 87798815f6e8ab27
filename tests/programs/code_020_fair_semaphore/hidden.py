import asyncio

from harness import run_virtual
from solution import FairSemaphore


async def _main():
    gate, order = FairSemaphore(2), []

    async def take(name):
        await gate.acquire()
        order.append(name)

    await take("a")
    await take("b")
    assert gate.free == 0
    tasks = {name: asyncio.create_task(take(name)) for name in "cdef"}
    await asyncio.sleep(1)
    assert order == ["a", "b"]

    gate.release()  # handed to c, which has not run yet: nobody may overtake it
    late = asyncio.create_task(take("late"))
    assert gate.free == 0, "it has been handed over"
    await asyncio.sleep(1)
    assert order == ["a", "b", "c"], order

    tasks["d"].cancel()  # leaves the line
    await asyncio.sleep(1)
    gate.release()  # handed to e ...
    tasks["e"].cancel()  # ... which is cancelled before it runs: goes on to f
    await asyncio.sleep(1)
    assert tasks["e"].cancelled() and order == ["a", "b", "c", "f"], order
    gate.release()
    await asyncio.sleep(1)
    assert order[4:] == ["late"] and late.done() and gate.free == 0

    waiter = asyncio.create_task(take("x"))
    await asyncio.sleep(1)
    gate.release()
    waiter.cancel()
    await asyncio.sleep(1)
    assert waiter.cancelled() and gate.free == 1, gate.free
    gate.release()
    assert gate.free == 2
    try:
        gate.release()
    except ValueError:
        pass
    else:
        raise AssertionError("more permits than there are")
    assert gate.free == 2


async def _barging():
    gate, order = FairSemaphore(1), []
    await gate.acquire()

    async def take(name):
        await gate.acquire()
        order.append(name)
        await asyncio.sleep(0)
        gate.release()

    waiting = asyncio.create_task(take("first"))
    await asyncio.sleep(0)
    gate.release()
    await take("second")
    await waiting
    assert order == ["first", "second"] and gate.free == 1, order


async def _storm():
    gate, active, peak = FairSemaphore(3), 0, 0

    async def work(n):
        nonlocal active, peak
        await gate.acquire()
        try:
            active, peak = active + 1, max(peak, active + 1)
            await asyncio.sleep(n % 5)
        finally:
            active -= 1
            gate.release()

    tasks = [asyncio.create_task(work(n)) for n in range(200)]
    for n in range(1, 200, 3):
        await asyncio.sleep(0.25 * (n % 2))
        tasks[n].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert peak == 3 and gate.free == 3, (peak, gate.free)


run_virtual(_main)
run_virtual(_barging)
run_virtual(_storm)
