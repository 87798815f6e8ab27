import asyncio

from harness import raises, run_virtual
from solution import deadline, remaining


async def _main():
    loop, log = asyncio.get_running_loop(), []
    assert remaining() is None
    async with deadline(10):
        assert remaining() == 10
        await asyncio.sleep(4)
        assert remaining() == 6
        async with deadline(100):
            assert remaining() == 6
        async with deadline(2):
            assert remaining() == 2
            await asyncio.sleep(1)
        assert remaining() == 5
    assert remaining() is None

    async def slow(inner, outer, sleep):
        async with deadline(outer):
            try:
                async with deadline(inner):
                    await asyncio.sleep(sleep)
            except TimeoutError:
                log.append(("inner", loop.time()))
                raise KeyError("from the inner one") from None
            except asyncio.CancelledError:
                log.append(("cancelled", loop.time()))
                raise

    begun = loop.time()
    await raises(KeyError, slow(3, 20, 99))
    assert log == [("inner", begun + 3)], log
    log.clear()
    begun = loop.time()
    await raises(TimeoutError, slow(30, 5, 99))
    assert log == [("cancelled", begun + 5)], log
    await slow(30, 5, 1)

    async def child():
        await asyncio.sleep(3)
        log.append(remaining())
        await asyncio.sleep(30)
        log.append(remaining())
        return "finished"

    log.clear()
    async with deadline(8):
        task = asyncio.create_task(child())
        await asyncio.sleep(1)
    assert remaining() is None
    assert await task == "finished" and log == [5, 0], log

    async def body(seconds):
        async with deadline(seconds):
            await asyncio.sleep(1)
            return remaining()

    assert await asyncio.gather(body(5), body(9)) == [4, 8]

    async def fails():
        async with deadline(5):
            raise ValueError("body")

    await raises(ValueError, fails())
    assert remaining() is None

    async def cancelled():
        async with deadline(50):
            await asyncio.sleep(20)

    task = asyncio.create_task(cancelled())
    await asyncio.sleep(1)
    task.cancel()
    await raises(asyncio.CancelledError, task)


run_virtual(_main)
