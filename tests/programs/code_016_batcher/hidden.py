import asyncio

from harness import raises, run_virtual
from solution import Batcher


async def _main():
    loop, seen = asyncio.get_running_loop(), []

    async def handler(items):
        seen.append((list(items), loop.time()))
        await asyncio.sleep(5)
        if "bad" in items:
            raise OSError("down")
        return [f"<{item}>" for item in items][: len(items) - ("short" in items)]

    batcher = Batcher(handler, 3, 10)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(7))) == [
        f"<{n}>" for n in range(7)
    ]
    assert seen == [([0, 1, 2], 0), ([3, 4, 5], 0), ([6], 10)], seen
    seen.clear()  # 15

    first = asyncio.create_task(batcher.submit("a"))
    await asyncio.sleep(6)
    second = asyncio.create_task(batcher.submit("b"))
    assert await asyncio.gather(first, second) == ["<a>", "<b>"]
    assert seen == [(["a", "b"], 25)], seen
    seen.clear()  # 30

    results = await asyncio.gather(
        batcher.submit("x"), batcher.submit("bad"), batcher.submit("y"), return_exceptions=True
    )
    assert [type(result) for result in results] == [OSError] * 3
    results = await asyncio.gather(
        batcher.submit("short"), batcher.submit(1), batcher.submit(2), return_exceptions=True
    )
    assert [type(result) for result in results] == [ValueError] * 3
    seen.clear()  # 40

    tasks = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
    await asyncio.sleep(1)
    tasks[0].cancel()
    await raises(asyncio.CancelledError, tasks[0])
    third = asyncio.create_task(batcher.submit(3))
    await asyncio.sleep(1)
    assert seen == [], "a cancelled item was counted"
    assert await batcher.submit(4) == "<4>" and seen == [([2, 3, 4], 42)], seen
    assert await tasks[1] == "<2>" and await third == "<3>"
    seen.clear()  # 47

    lonely = asyncio.create_task(batcher.submit("gone"))
    await asyncio.sleep(4)
    lonely.cancel()
    await asyncio.sleep(4)
    assert await batcher.submit("next") == "<next>"
    assert seen == [(["next"], 65)], seen
    seen.clear()

    tasks = [asyncio.create_task(batcher.submit(n)) for n in (1, 2, 3)]
    await asyncio.sleep(2)
    tasks[1].cancel()
    assert (await asyncio.gather(*tasks, return_exceptions=True))[::2] == ["<1>", "<3>"]


run_virtual(_main)
