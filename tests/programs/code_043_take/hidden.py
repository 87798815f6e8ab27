import asyncio

from harness import raises, run_virtual
from solution import take


async def _main():
    log = []

    async def numbers(last):
        try:
            for n in range(last):
                log.append(n)
                yield n
            raise OSError("end of tape")
        finally:
            await asyncio.sleep(1)
            log.append("closed")

    assert [n async for n in take(numbers(9), 3)] == [0, 1, 2]
    assert log == [0, 1, 2, "closed"], log
    log.clear()
    source = numbers(9)
    assert await anext(source) == 0
    assert [n async for n in take(source, 0)] == []
    assert log == [0, "closed"], log

    log.clear()
    got = []

    async def read():
        async for n in take(numbers(2), 5):
            got.append(n)

    await raises(OSError, read())
    assert got == [0, 1] and log == [0, 1, "closed"], log

    async def short():
        yield "only"

    assert [n async for n in take(short(), 5)] == ["only"]

    log.clear()
    generator = take(numbers(9), 5)
    assert await anext(generator) == 0
    await generator.aclose()
    assert log == [0, "closed"], log


run_virtual(_main)
