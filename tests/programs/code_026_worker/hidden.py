import asyncio

from harness import alone, raises, run_virtual
from solution import worker


async def _setup(seconds, grace, items=3):
    queue, log, loop = asyncio.Queue(), [], asyncio.get_running_loop()
    for n in range(items):
        queue.put_nowait(n)

    async def handle(n):
        try:
            await asyncio.sleep(seconds)
            if n == 0:
                raise ValueError("poison")
            log.append((n, loop.time()))
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            log.append((n, "cancelled", loop.time()))
            raise

    return queue, log, asyncio.create_task(worker(queue, handle, grace))


async def _idle():
    queue, log, task = await _setup(2, 5)
    await asyncio.wait_for(queue.join(), 100)
    assert log == [(1, 4), (2, 6)], log
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert asyncio.get_running_loop().time() == 6
    queue.put_nowait("kept")
    await asyncio.sleep(10)
    assert queue.qsize() == 1


async def _finishes():
    queue, log, task = await _setup(4, 5)
    await asyncio.sleep(5)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert log == [(1, 8)] and queue.qsize() == 1 and asyncio.get_running_loop().time() == 8, log
    queue.get_nowait()
    queue.task_done()
    await asyncio.wait_for(queue.join(), 1)


async def _too_slow():
    queue, log, task = await _setup(20, 5)
    await asyncio.sleep(25)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert log == [(1, "cancelled", 31)] and queue.qsize() == 1, log
    assert await alone()


async def _twice():
    queue, log, task = await _setup(20, 15)
    await asyncio.sleep(25)
    task.cancel()
    await asyncio.sleep(2)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert log == [(1, "cancelled", 28)] and queue.qsize() == 1, log
    queue.get_nowait()
    queue.task_done()
    await asyncio.wait_for(queue.join(), 1)


async def _just_arrived():
    queue, log, task = await _setup(1, 9, items=0)
    await asyncio.sleep(1)
    queue.put_nowait("x")
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert queue.qsize() == 1 or log == [("x", 2)], "an item got lost"


run_virtual(_idle)
run_virtual(_finishes)
run_virtual(_too_slow)
run_virtual(_twice)
run_virtual(_just_arrived)
