import asyncio

from harness import run_virtual
from solution import FairQueue


async def _main():
    queue = FairQueue()
    for n in range(4):
        queue.put("big", n)
    queue.put("small", "s0")
    queue.put("other", "o0")
    queue.put("small", "s1")
    assert len(queue) == 7
    got = [await queue.get() for _ in range(3)]
    assert got == [("big", 0), ("small", "s0"), ("other", "o0")], got
    queue.put("late", "l0")
    got = [await queue.get() for _ in range(5)]
    assert got == [("big", 1), ("small", "s1"), ("late", "l0"), ("big", 2), ("big", 3)], got
    assert len(queue) == 0

    tasks = [asyncio.create_task(queue.get()) for _ in range(4)]
    await asyncio.sleep(1)
    tasks[1].cancel()
    queue.put("a", None)
    queue.put("a", 2)
    queue.put("b", 3)
    assert await tasks[0] == ("a", None)
    assert {await tasks[2], await tasks[3]} == {("a", 2), ("b", 3)} and len(queue) == 0

    task = asyncio.create_task(queue.get())
    await asyncio.sleep(1)
    queue.put("a", "precious")
    task.cancel()  # after the item has come, before the task runs
    await asyncio.gather(task, return_exceptions=True)
    if task.cancelled():
        assert await asyncio.wait_for(queue.get(), 5) == ("a", "precious")
    queue.put("a", 1)
    queue.put("b", 2)
    queue.put("a", 3)
    assert [await queue.get() for _ in range(3)] == [("a", 1), ("b", 2), ("a", 3)]


run_virtual(_main)
