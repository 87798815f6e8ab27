import asyncio

from harness import alone, raises, run_virtual
from solution import batches


async def _timed(waits, log=None, error=None):
    try:
        for n, wait in enumerate(waits):
            await asyncio.sleep(wait)
            if log is not None:
                log.append(n)
            yield n
        if error:
            raise error
    finally:
        if log is not None:
            log.append("closed")


async def _main():
    loop, got = asyncio.get_running_loop(), []
    async for batch in batches(_timed([0, 0, 0, 0, 20, 1, 1, 12, 1, 9.5, 1]), 3, 10):
        got.append((batch, loop.time()))
    assert got == [([0, 1, 2], 0), ([3], 10), ([4, 5, 6], 22), ([7, 8], 44), ([9, 10], 45.5)], got
    assert [batch async for batch in batches(_timed([]), 3, 10)] == []
    assert [batch async for batch in batches(_timed([1] * 7), 3, 100)] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
    ]


async def _slow_consumer():
    log, got = [], []
    async for batch in batches(_timed([1] * 40, log), 4, 10):
        got += batch
        await asyncio.sleep(30)
        assert len([n for n in log if n != "closed"]) <= len(got) + 5, (len(log), len(got))
    assert got == list(range(40))


async def _error():
    got = []

    async def consume():
        async for batch in batches(_timed([1] * 5, None, OSError("broken")), 3, 10):
            got.append(batch)

    await raises(OSError, consume())
    assert got == [[0, 1, 2], [3, 4]], got


async def _close():
    log = []
    generator = batches(_timed([1] * 40, log), 2, 10)
    assert await anext(generator) == [0, 1]
    await generator.aclose()
    assert log[-1] == "closed" and await alone(), log


run_virtual(_main)
run_virtual(_slow_consumer)
run_virtual(_error)
run_virtual(_close)
