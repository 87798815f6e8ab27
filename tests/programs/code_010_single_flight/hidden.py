import asyncio

from harness import raises, run_virtual
from solution import SingleFlight


async def _shared():
    flight, calls = SingleFlight(), []

    def work(name, error=None):
        async def run():
            calls.append(name)
            await asyncio.sleep(5)
            if error:
                raise error
            return name

        return run

    assert await asyncio.gather(
        *(flight.do("k", work(n)) for n in range(4)), flight.do("other", work("o"))
    ) == [0, 0, 0, 0, "o"]
    assert calls == [0, "o"]
    assert await flight.do("k", work("again")) == "again"
    error = OSError("down")
    results = await asyncio.gather(
        *(flight.do("k", work("e", error)) for _ in range(3)), return_exceptions=True
    )
    assert results == [error] * 3 and calls.count("e") == 1
    assert await flight.do("k", work("after")) == "after"


async def _cancelled():
    flight, log = SingleFlight(), []

    async def run():
        log.append("begin")
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            await asyncio.sleep(3)
            log.append("cancelled")
            raise
        return "done"

    first, second = [asyncio.create_task(flight.do("k", run)) for _ in range(2)]
    await asyncio.sleep(1)
    first.cancel()
    await raises(asyncio.CancelledError, first)
    assert asyncio.get_running_loop().time() == 1
    assert await second == "done" and log == ["begin"]

    log.clear()
    first, second = [asyncio.create_task(flight.do("k", run)) for _ in range(2)]
    await asyncio.sleep(1)
    first.cancel()
    second.cancel()
    await asyncio.sleep(1)
    assert first.cancelled() and second.cancelled()
    assert await flight.do("k", run) == "done"
    assert log == ["begin", "begin", "cancelled"], log


run_virtual(_shared)
run_virtual(_cancelled)
