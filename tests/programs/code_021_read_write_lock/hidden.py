import asyncio

from harness import raises, run_virtual
from solution import ReadWriteLock


async def _main():
    lock, log, loop = ReadWriteLock(), [], asyncio.get_running_loop()
    readers = writers = 0

    async def use(name, seconds):
        nonlocal readers, writers
        if name[0] == "r":
            async with lock.read():
                readers += 1
                assert not writers
                log.append((name, loop.time()))
                await asyncio.sleep(seconds)
                readers -= 1
        else:
            async with lock.write():
                writers += 1
                assert not readers and writers == 1
                log.append((name, loop.time()))
                await asyncio.sleep(seconds)
                writers -= 1

    async def after(delay, name, seconds):
        await asyncio.sleep(delay)
        await use(name, seconds)

    plan = [(0, "r1", 10), (1, "r2", 4), (2, "w1", 5), (3, "r3", 3), (4, "w2", 5), (12, "r4", 1)]
    await asyncio.gather(*(after(*step) for step in plan))
    assert log[:4] == [("r1", 0), ("r2", 1), ("w1", 10), ("w2", 15)] and sorted(log[4:]) == [
        ("r3", 20),
        ("r4", 20),
    ], log

    log.clear()  # 23; a waiting writer is cancelled
    base = loop.time()
    reader = asyncio.create_task(use("r1", 20))
    await asyncio.sleep(1)
    writer = asyncio.create_task(use("w1", 1))
    await asyncio.sleep(1)
    second = asyncio.create_task(use("r2", 1))
    await asyncio.sleep(1)
    assert len(log) == 1
    writer.cancel()
    await asyncio.sleep(1)
    assert [(name, at - base) for name, at in log] == [("r1", 0), ("r2", 3)], log
    await asyncio.gather(reader, second)

    log.clear()  # a writer is cancelled at the moment it is woken
    async with lock.write():
        writer = asyncio.create_task(use("w1", 1))
        await asyncio.sleep(1)
        reader = asyncio.create_task(use("r1", 1))
        await asyncio.sleep(1)
    writer.cancel()
    await asyncio.sleep(5)
    assert reader.done() and (writer.cancelled() and [name for name, _ in log] == ["r1"]), log
    await asyncio.wait_for(use("w9", 1), 5)

    async def fails():
        async with lock.write():
            raise KeyError("inside")

    await raises(KeyError, fails())
    await asyncio.wait_for(asyncio.gather(use("r8", 1), use("r9", 1), use("w9", 1)), 5)


run_virtual(_main)
