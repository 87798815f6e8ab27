import asyncio

from harness import raises, run_virtual
from solution import Countdown


async def _main():
    loop, log = asyncio.get_running_loop(), []
    countdown = Countdown(3)

    async def waiter(name):
        await countdown.wait()
        log.append((name, loop.time()))

    tasks = [asyncio.create_task(waiter(name)) for name in "abc"]
    await asyncio.sleep(1)
    countdown.down()
    assert countdown.left == 2
    tasks[1].cancel()
    await asyncio.sleep(1)
    async with countdown:
        await asyncio.sleep(1)
    assert countdown.left == 1 and log == []
    countdown.down()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(log) == [("a", 3), ("c", 3)] and countdown.left == 0
    await countdown.wait()
    assert loop.time() == 3
    try:
        countdown.down()
    except ValueError:
        pass
    else:
        raise AssertionError("below 0")
    assert countdown.left == 0
    await Countdown(0).wait()

    countdown = Countdown(2)
    waiting = asyncio.create_task(countdown.wait())
    await asyncio.sleep(1)
    first = KeyError("first")

    async def body(error):
        async with countdown:
            await asyncio.sleep(1)
            raise error

    assert await raises(KeyError, body(first)) is first
    error = await raises(RuntimeError, waiting)
    assert error.__cause__ is first
    await raises(OSError, body(OSError("second")))
    assert (await raises(RuntimeError, countdown.wait())).__cause__ is first

    countdown = Countdown(1)
    task = asyncio.create_task(body(KeyError("never")))
    await asyncio.sleep(0.5)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert isinstance(
        (await raises(RuntimeError, countdown.wait())).__cause__, asyncio.CancelledError
    )


run_virtual(_main)
