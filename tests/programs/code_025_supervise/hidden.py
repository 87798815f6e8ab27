import asyncio

from harness import alone, raises, run_virtual
from solution import Stalled, supervise


async def _main():
    loop, log = asyncio.get_running_loop(), []

    async def lively(beat):
        for _ in range(5):
            await asyncio.sleep(4)
            beat()
        await asyncio.sleep(4.5)
        return "done"

    assert await supervise(lively, 5) == "done" and loop.time() == 24.5

    async def stalls(beat):
        await asyncio.sleep(3)
        beat()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(2)
            log.append(loop.time())
            return "swallowed"

    await raises(Stalled, supervise(stalls, 5))
    assert log == [24.5 + 3 + 5 + 2], log
    assert await alone()

    async def fails(beat):
        beat()
        raise KeyError("mine")

    await raises(KeyError, supervise(fails, 5))

    async def silent(beat):
        await asyncio.sleep(100)

    before = loop.time()
    await raises(Stalled, supervise(silent, 5))
    assert loop.time() == before + 5

    async def own_timeout(beat):
        raise TimeoutError("of its own")

    await raises(TimeoutError, supervise(own_timeout, 5))

    log.clear()
    task = asyncio.create_task(supervise(stalls, 50))
    await asyncio.sleep(10)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert len(log) == 1 and await alone()
    keeps = []

    async def keeper(beat):
        keeps.append(beat)

    await supervise(keeper, 5)
    keeps[0]()  # a late beat harms nobody
    await asyncio.sleep(100)


run_virtual(_main)
