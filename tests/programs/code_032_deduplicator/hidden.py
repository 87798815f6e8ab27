import asyncio

from harness import raises, run_virtual
from solution import Deduplicator


async def _main():
    handled, fail = [], []

    async def handle(body):
        await asyncio.sleep(2)
        if fail:
            raise fail.pop()
        handled.append(body)

    dedupe = Deduplicator(handle, 3)
    assert await dedupe.deliver(1, "a") is True and await dedupe.deliver(1, "a again") is False
    assert handled == ["a"]
    results = await asyncio.gather(
        *(dedupe.deliver(2, f"b{n}") for n in range(4)), dedupe.deliver(3, "c")
    )
    assert results == [True, False, False, False, True] and sorted(handled) == ["a", "b0", "c"]
    assert asyncio.get_running_loop().time() == 4
    assert await dedupe.deliver(1, "a") is False
    assert await dedupe.deliver(4, "d") is True  # pushes out 1, whose duplicate has not renewed it
    assert len(dedupe) == 3
    assert await dedupe.deliver(2, "b") is False
    assert await dedupe.deliver(1, "a new") is True and handled[-1] == "a new" and len(dedupe) == 3

    error = OSError("down")
    fail.append(error)
    results = await asyncio.gather(
        *(dedupe.deliver(5, f"e{n}") for n in range(4)), return_exceptions=True
    )
    assert results == [error, True, False, False] and handled[-1] == "e1", (results, handled)
    fail.append(error)
    await raises(OSError, dedupe.deliver(6, "f"))
    assert len(dedupe) == 3
    assert await dedupe.deliver(6, "f") is True

    first, second = [asyncio.create_task(dedupe.deliver(7, f"g{n}")) for n in range(2)]
    await asyncio.sleep(1)
    assert len(dedupe) == 4
    first.cancel()
    assert await second is True and handled[-1] == "g1"
    first, second, third = [asyncio.create_task(dedupe.deliver(8, f"h{n}")) for n in range(3)]
    await asyncio.sleep(1)
    second.cancel()
    assert await first is True and await third is False and len(dedupe) == 3


run_virtual(_main)
