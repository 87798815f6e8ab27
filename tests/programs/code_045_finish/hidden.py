import asyncio

from harness import raises, run_virtual
from solution import finish


async def _main():
    loop, log = asyncio.get_running_loop(), []

    async def commit(seconds, error=None):
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            log.append("cut")
            raise
        log.append(loop.time())
        if error:
            raise error
        return "committed"

    assert await finish(commit(2)) == "committed"
    await raises(KeyError, finish(commit(2, KeyError("full"))))
    assert log == [2, 4]

    for error in (None, KeyError("full")):
        log.clear()
        begun = loop.time()
        task = asyncio.create_task(finish(commit(10, error)))
        for _ in range(3):
            await asyncio.sleep(2)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
        await raises(asyncio.CancelledError, task)
        assert log == [begun + 10] and task.cancelled(), log

    async def limited():
        async with asyncio.timeout(3):
            await finish(commit(8))

    begun = loop.time()
    await raises(TimeoutError, limited())
    assert loop.time() == begun + 8
    assert "cut" not in log


run_virtual(_main)
