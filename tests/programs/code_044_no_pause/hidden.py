import asyncio

from harness import alone, raises, run_virtual
from solution import no_pause


async def _main():
    loop, log = asyncio.get_running_loop(), []

    async def source(waits):
        try:
            for n, wait in enumerate(waits):
                await asyncio.sleep(wait)
                yield n
        finally:
            await asyncio.sleep(1)
            log.append("closed")

    got = []
    async for n in no_pause(source([1, 4, 4, 4]), 5):
        got.append(n)
        await asyncio.sleep(20)
    assert got == [0, 1, 2, 3] and log == ["closed"]

    async def read(waits):
        got.clear()
        async for n in no_pause(source(waits), 5):
            got.append(n)

    log.clear()
    before = loop.time()
    await raises(TimeoutError, read([1, 1, 9, 1]))
    assert got == [0, 1] and log == ["closed"] and loop.time() == before + 8, (
        got,
        log,
        loop.time() - before,
    )
    assert await alone()

    log.clear()
    generator = no_pause(source([1, 1, 1]), 5)
    assert await anext(generator) == 0
    await generator.aclose()
    assert log == ["closed"], log
    await read([1, 1])
    assert got == [0, 1]

    async def ends_late():
        yield 1
        await asyncio.sleep(50)

    async def read_late():
        async for _ in no_pause(ends_late(), 5):
            pass

    await raises(TimeoutError, read_late())


run_virtual(_main)
