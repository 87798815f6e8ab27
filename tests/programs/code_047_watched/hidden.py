import asyncio

from harness import raises, run_virtual
from solution import Watched


async def _main():
    watched = Watched(1)
    assert watched.value == 1 and await watched.until(lambda v: v == 1) == 1
    three = asyncio.create_task(watched.until(lambda v: v == 3))
    big = asyncio.create_task(watched.until(lambda v: v > 3))
    gone = asyncio.create_task(watched.until(lambda v: v > 4))
    await asyncio.sleep(1)
    gone.cancel()
    watched.set(2)
    watched.set(3)
    watched.set(5)
    watched.set(7)
    watched.set(0)
    assert watched.value == 0
    assert await three == 3 and await big == 5

    seen = []

    async def follow(seconds):
        async for value in watched.changes():
            seen.append(value)
            await asyncio.sleep(seconds)

    task = asyncio.create_task(follow(5))
    await asyncio.sleep(1)  # at 1 s of follow
    for value in (1, 2, 3):
        watched.set(value)
        await asyncio.sleep(1)
    assert seen == [0], seen
    await asyncio.sleep(2)  # 6
    assert seen == [0, 3], seen
    await asyncio.sleep(10)  # 16
    assert seen == [0, 3], seen
    watched.set(3)
    await asyncio.sleep(1)
    assert seen == [0, 3, 3], seen
    task.cancel()
    await raises(asyncio.CancelledError, task)

    one, two = watched.changes(), watched.changes()
    assert await anext(one) == 3 and await anext(two) == 3
    watched.set(8)
    watched.set(9)
    assert await anext(one) == 9 and await anext(two) == 9
    waiting = asyncio.ensure_future(anext(one))
    await asyncio.sleep(1)
    assert not waiting.done()
    watched.set(10)
    assert await waiting == 10 and await anext(two) == 10
    await one.aclose()
    await two.aclose()


run_virtual(_main)
