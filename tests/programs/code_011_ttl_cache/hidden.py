import asyncio

from harness import raises, run_virtual
from solution import TtlCache


async def _main():
    loop = asyncio.get_running_loop()
    loads, fail = [], []

    async def load(key):
        loads.append(key)
        number = len(loads)
        await asyncio.sleep(4)
        if fail:
            raise fail.pop()
        return f"{key}{number}"

    cache = TtlCache(load, 10, loop.time)
    assert await asyncio.gather(*(cache.get("a") for _ in range(5)), cache.get("b")) == [
        "a1"
    ] * 5 + ["b2"]
    await asyncio.sleep(9.5)  # loaded at 4, now 13.5
    assert await cache.get("a") == "a1" and loads == ["a", "b"]
    await asyncio.sleep(0.5)  # 14: age 10
    assert await asyncio.gather(*(cache.get("a") for _ in range(3))) == ["a3"] * 3
    assert loads == ["a", "b", "a"]

    error = OSError("down")
    fail.append(error)
    assert (
        await asyncio.gather(*(cache.get("c") for _ in range(3)), return_exceptions=True)
        == [error] * 3
    )
    assert await cache.get("c") == "c5"

    first, second = asyncio.create_task(cache.get("d")), asyncio.create_task(cache.get("d"))
    await asyncio.sleep(1)
    first.cancel()
    await raises(asyncio.CancelledError, first)
    assert await second == "d6" and await cache.get("d") == "d6"

    old = asyncio.create_task(cache.get("e"))
    await asyncio.sleep(1)
    cache.invalidate("e")
    new = asyncio.create_task(cache.get("e"))
    assert await old == "e7"
    assert await new == "e8"
    assert await cache.get("e") == "e8" and len(loads) == 8
    cache.invalidate("e")
    cache.invalidate("never seen")
    assert await cache.get("e") == "e9"


run_virtual(_main)
