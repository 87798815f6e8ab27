import asyncio

from harness import raises, run_virtual
from solution import TokenBucket


async def _now():
    now, naps = [100.0], []

    async def sleep(seconds):
        naps.append(seconds)
        now[0] += seconds

    bucket = TokenBucket(2, 10, lambda: now[0], sleep)
    assert bucket.try_take(10) and not bucket.try_take()
    now[0] += 0.25
    assert not bucket.try_take()
    now[0] += 0.25
    assert bucket.try_take() and not bucket.try_take()
    now[0] += 1000
    assert bucket.try_take(10) and not bucket.try_take(0.5)
    now[0] += 5
    await bucket.take(4)
    assert naps == []
    await bucket.take(9)
    assert naps == [1.5], naps
    assert not bucket.try_take(0.5)
    try:
        bucket.try_take(11)
    except ValueError:
        pass
    else:
        raise AssertionError("an amount above the capacity was let pass")
    await raises(ValueError, bucket.take(10.5))


async def _queue():
    loop = asyncio.get_running_loop()
    bucket = TokenBucket(1, 5, loop.time, asyncio.sleep)
    order = []

    async def take(name, amount):
        await bucket.take(amount)
        order.append((name, loop.time()))

    assert bucket.try_take(5)
    tasks = [
        asyncio.create_task(take(*args))
        for args in (("big", 4), ("small", 1), ("gone", 5), ("last", 2))
    ]
    await asyncio.sleep(3)
    assert not bucket.try_take(1), "three tokens are there, but others wait for them"
    await asyncio.sleep(3)
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [("big", 4), ("small", 5), ("last", 7)], order


run_virtual(_now)
run_virtual(_queue)
