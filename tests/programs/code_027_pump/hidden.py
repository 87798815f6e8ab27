import asyncio

from harness import alone, raises, run_virtual
from solution import pump


async def _source(log, name, count, wait, error=None):
    try:
        for n in range(count):
            await asyncio.sleep(wait)
            log.append((name, n))
            yield name, n
        if error:
            raise error
    finally:
        log.append(name + " closed")


async def _main():
    log, handled, active, peak = [], [], 0, 0

    async def handle(item):
        nonlocal active, peak
        active, peak = active + 1, max(peak, active + 1)
        await asyncio.sleep(3)
        active -= 1
        handled.append(item)

    sources = [_source(log, "a", 10, 0.5), _source(log, "b", 7, 0.5), _source(log, "c", 0, 0)]
    assert await pump(sources, handle, 3, 4) == 17
    assert peak == 3 and sorted(handled) == sorted(
        [("a", n) for n in range(10)] + [("b", n) for n in range(7)]
    )
    assert asyncio.get_running_loop().time() < 22
    assert await pump([], handle, 3, 4) == 0 and await alone()


async def _backpressure():
    log, gate = [], asyncio.Event()

    async def handle(_):
        await gate.wait()

    task = asyncio.create_task(
        pump([_source(log, "a", 99, 0.1), _source(log, "b", 99, 0.1)], handle, 2, 5)
    )
    await asyncio.sleep(100)
    assert 7 <= len(log) <= 9, log  # two in work, five waiting, one in the hand of each source
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert {"a closed", "b closed"} <= {entry for entry in log if isinstance(entry, str)}


async def _errors():
    log, ended = [], []

    async def handle(item):
        if item == ("a", 3):
            raise KeyError("handle")
        try:
            await asyncio.sleep(50)
        finally:
            ended.append(item)

    await raises(KeyError, pump([_source(log, "a", 9, 1), _source(log, "b", 0, 1)], handle, 9, 5))
    assert len(ended) == 3 and "a closed" in log and await alone()

    log.clear()
    ended.clear()
    await raises(
        OSError,
        pump([_source(log, "x", 2, 1, OSError("source")), _source(log, "y", 99, 1)], handle, 2, 1),
    )
    assert {"x closed", "y closed"} <= {entry for entry in log if isinstance(entry, str)}, log
    assert await alone()


run_virtual(_main)
run_virtual(_backpressure)
run_virtual(_errors)
