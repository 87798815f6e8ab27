import asyncio

from harness import run_virtual
from solution import StaleCache


async def _main():
    loop = asyncio.get_running_loop()
    loads, fail = [], []

    async def load(key):
        loads.append(loop.time())
        number = len(loads)
        await asyncio.sleep(2)
        if fail:
            raise fail.pop()
        return number

    cache = StaleCache(load, 10, 60, loop.time)
    assert await asyncio.gather(cache.get("k"), cache.get("k")) == [1, 1]  # stored at 2
    await asyncio.sleep(9)
    assert await cache.get("k") == 1 and loads == [0]
    await asyncio.sleep(1)  # 12: age 10
    assert await asyncio.gather(*(cache.get("k") for _ in range(4))) == [1] * 4
    assert loop.time() == 12
    await asyncio.sleep(1)
    assert await cache.get("k") == 1 and loads == [0, 12]
    await asyncio.sleep(2)  # 15; stored at 14
    assert await cache.get("k") == 2 and loads == [0, 12]

    await asyncio.sleep(15)  # 30: age 16
    fail.append(OSError("down"))
    assert await cache.get("k") == 2
    await asyncio.sleep(3)  # 33
    assert await cache.get("k") == 2
    await asyncio.sleep(3)
    assert await cache.get("k") == 4 and loads == [0, 12, 30, 33]

    await asyncio.sleep(100)  # far too old
    error = OSError("down again")
    fail.append(error)
    assert (
        await asyncio.gather(*(cache.get("k") for _ in range(2)), return_exceptions=True)
        == [error] * 2
    )
    assert await cache.get("k") == 6
    assert await cache.get("other") == 7

    stored = (
        loop.time() - 2
    )  # of 6; let a background load run while the value goes from stale to too old
    await asyncio.sleep(stored + 59 - loop.time())
    assert await cache.get("k") == 6
    await asyncio.sleep(1)
    assert await cache.get("k") == 8 and len(loads) == 8


run_virtual(_main)
