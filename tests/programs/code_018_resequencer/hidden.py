import asyncio

from harness import raises, run_virtual
from solution import Gap, Resequencer


async def _main():
    line, got = Resequencer(3), []

    async def consume():
        async for item in line:
            got.append(item)

    consumer = asyncio.create_task(consume())
    await line.put(2, "c")
    await asyncio.sleep(1)
    assert got == []
    await line.put(0, "a")
    await asyncio.sleep(1)
    assert got == ["a"]
    for number in (0, 2):
        await raises(ValueError, line.put(number, "?"))
    far = asyncio.create_task(line.put(4, "e"))
    await line.put(3, "d")
    await asyncio.sleep(1)
    assert not far.done() and got == ["a"]
    await raises(ValueError, line.put(4, "?"))
    await line.put(1, "b")
    await asyncio.sleep(1)
    assert got == list("abcd") + ["e"] and far.done(), got
    line.close()
    await asyncio.wait_for(consumer, 5)
    await raises(RuntimeError, line.put(5, "f"))


async def _many():
    line, got = Resequencer(4), []

    async def later(number):
        await asyncio.sleep((number * 7) % 10)
        await line.put(number, number)

    async def produce():
        await asyncio.gather(*(later(number) for number in range(50)))
        line.close()

    task = asyncio.create_task(produce())
    async for item in line:
        got.append(item)
        await asyncio.sleep(0.1)
    await task
    assert got == list(range(50)), got


async def _gap():
    line, got = Resequencer(5), []
    for number in (0, 1, 3):
        await line.put(number, number)
    line.close()

    async def consume(line):
        async for item in line:
            got.append(item)

    await raises(Gap, consume(line))
    assert got == [0, 1]

    line = Resequencer(2)
    got.clear()
    waiting = [asyncio.create_task(line.put(number, number)) for number in (2, 0, 1)]
    await asyncio.sleep(1)
    line.close()
    await consume(line)
    await asyncio.gather(*waiting)
    assert got == [0, 1, 2], got

    line = Resequencer(2)
    got.clear()
    waiting = asyncio.create_task(line.put(7, 7))
    await asyncio.sleep(1)
    line.close()
    await raises(Gap, consume(line))
    waiting.cancel()


run_virtual(_main)
run_virtual(_many)
run_virtual(_gap)
