import asyncio

from harness import run_virtual
from solution import SlidingWindow


async def _main():
    loop = asyncio.get_running_loop()
    window = SlidingWindow(3, 10)
    seen = []

    async def one(name):
        await window.acquire()
        seen.append((name, round(loop.time(), 6)))

    await one("a")
    await asyncio.sleep(4)
    await one("b")
    tasks = [asyncio.create_task(one(name)) for name in "cdefgh"]
    await asyncio.sleep(1)
    assert [name for name, _ in seen] == ["a", "b", "c"], seen
    tasks[2].cancel()  # e
    await asyncio.gather(*tasks, return_exceptions=True)
    assert seen == [("a", 0), ("b", 4), ("c", 4), ("d", 10), ("f", 14), ("g", 14), ("h", 20)], seen
    await asyncio.sleep(100)
    for name in "wxyz":
        await one(name)
    assert [at for _, at in seen[-4:]] == [120, 120, 120, 130], seen


run_virtual(_main)
