import asyncio

from harness import raises, run_virtual
from solution import Breaker, CircuitOpen


async def _main():
    now = [0.0]
    breaker = Breaker(3, 10, lambda: now[0])
    calls = []

    async def good():
        calls.append("good")
        return 7

    async def bad():
        calls.append("bad")
        raise OSError("down")

    for _ in range(2):
        await raises(OSError, breaker.call(bad))
    assert await breaker.call(good) == 7
    for _ in range(2):
        await raises(OSError, breaker.call(bad))
    assert breaker.state == "closed"
    now[0] = 5
    await raises(OSError, breaker.call(bad))
    assert breaker.state == "open"
    calls.clear()
    now[0] = 14.5
    await raises(CircuitOpen, breaker.call(good))
    assert calls == [] and breaker.state == "open"

    now[0] = 15  # half-open: a failing trial
    assert breaker.state == "half-open"
    await raises(OSError, breaker.call(bad))
    assert breaker.state == "open"
    now[0] = 24
    await raises(CircuitOpen, breaker.call(good))

    now[0] = 25  # one trial at a time
    gate = asyncio.Event()

    async def slow():
        await gate.wait()
        return "slow"

    trial = asyncio.create_task(breaker.call(slow))
    await asyncio.sleep(0)
    await raises(CircuitOpen, breaker.call(good))
    trial.cancel()
    await raises(asyncio.CancelledError, trial)
    assert breaker.state == "half-open"
    trial = asyncio.create_task(breaker.call(slow))
    await asyncio.sleep(0)
    await raises(CircuitOpen, breaker.call(good))
    gate.set()
    assert await trial == "slow" and breaker.state == "closed"

    for _ in range(2):  # the count began anew
        await raises(OSError, breaker.call(bad))
    assert breaker.state == "closed"
    gate.clear()
    task = asyncio.create_task(breaker.call(slow))
    await asyncio.sleep(0)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert breaker.state == "closed"
    await raises(OSError, breaker.call(bad))
    assert breaker.state == "open"


run_virtual(_main)
