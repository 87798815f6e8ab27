import asyncio

from harness import alone, raises, run_virtual
from solution import every


async def _main():
    loop, log = asyncio.get_running_loop(), []
    stop, lengths = asyncio.Event(), [1, 3, 25, 0, 10, 4, 0]

    async def run():
        log.append(loop.time())
        await asyncio.sleep(lengths.pop(0) if lengths else 0)

    task = asyncio.create_task(every(10, run, stop))
    await asyncio.sleep(93)
    stop.set()
    assert await task == 8 and loop.time() == 93, (log, loop.time())
    assert log == [0, 10, 20, 50, 60, 70, 80, 90], log

    log.clear()
    assert await every(10, run, stop) == 0 and log == []

    stop.clear()
    lengths[:] = [7]
    task = asyncio.create_task(every(10, run, stop))
    await asyncio.sleep(2)
    stop.set()
    assert await task == 1 and loop.time() == 100, loop.time()

    async def fails():
        raise KeyError("tick")

    stop.clear()
    await raises(KeyError, every(10, fails, stop))
    task = asyncio.create_task(every(10, run, stop))
    await asyncio.sleep(15)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert await alone()


run_virtual(_main)
