import asyncio

from harness import run_virtual
from solution import tee


async def _numbers(count, log, error=None):
    try:
        for n in range(count):
            log.append(n)
            yield n
            await asyncio.sleep(1)
        if error:
            raise error
    finally:
        log.append("closed")


async def _main():
    log, got = [], {0: [], 1: [], 2: []}

    async def read(index, reader, seconds):
        async for item in reader:
            got[index].append(item)
            await asyncio.sleep(seconds)

    readers = tee(_numbers(20, log), 3, 4)
    await asyncio.gather(*(read(index, reader, index) for index, reader in enumerate(readers)))
    assert got == {index: list(range(20)) for index in range(3)}, got
    assert log == [*range(20), "closed"], log


async def _ahead():
    log = []
    fast, slow, idle = tee(_numbers(50, log), 3, 2)
    assert [await anext(fast), await anext(fast)] == [0, 1]
    waiting = asyncio.ensure_future(anext(fast))
    assert await anext(slow) == 0
    await asyncio.sleep(5)
    assert not waiting.done() and log == [0, 1], log  # two ahead of the idle one
    await idle.aclose()
    assert await asyncio.wait_for(waiting, 3) == 2
    waiting = asyncio.ensure_future(anext(fast))
    await asyncio.sleep(5)
    assert not waiting.done()
    assert await anext(slow) == 1
    assert await asyncio.wait_for(waiting, 3) == 3
    await slow.aclose()
    assert [await anext(fast) for _ in range(6)] == [4, 5, 6, 7, 8, 9]
    assert log[-1] == 9
    await fast.aclose()
    assert log[-1] == "closed", log


async def _error():
    error, log = OSError("broken"), []

    async def read(reader):
        got = []
        try:
            async for item in reader:
                got.append(item)
        except OSError as caught:
            got.append(caught)
        return got

    assert (
        await asyncio.gather(*map(read, tee(_numbers(3, log, error), 2, 1)))
        == [[0, 1, 2, error]] * 2
    )


run_virtual(_main)
run_virtual(_ahead)
run_virtual(_error)
