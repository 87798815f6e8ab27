import asyncio

from harness import alone, raises, run_virtual
from solution import merge


async def _source(log, name, waits, error=None):
    try:
        for n, wait in enumerate(waits):
            await asyncio.sleep(wait)
            log.append(f"{name}{n}")
            yield f"{name}{n}"
        if error:
            raise error
    finally:
        log.append(f"{name} closed")


async def _order():
    log = []
    items = [
        item
        async for item in merge(
            _source(log, "a", [1, 4, 4]), _source(log, "b", [2, 5]), _source(log, "c", [])
        )
    ]
    assert items == ["a0", "b0", "a1", "b1", "a2"], items
    assert asyncio.get_running_loop().time() == 9
    assert {"a closed", "b closed", "c closed"} <= set(log)
    assert [item async for item in merge()] == []


async def _backpressure():
    log = []
    merged = merge(_source(log, "a", [1] * 50), _source(log, "b", [1.5] * 50))
    assert await anext(merged) == "a0"
    await asyncio.sleep(100)
    assert len(log) <= 3, log  # a0, and at most one item ahead of each
    await merged.aclose()
    assert {"a closed", "b closed"} <= set(log), log
    assert await alone()


async def _error():
    log, seen = [], []

    async def consume():
        async for item in merge(
            _source(log, "a", [1, 1], OSError("a")), _source(log, "b", [1.5, 9, 9])
        ):
            seen.append(item)

    await raises(OSError, consume())
    assert seen == ["a0", "b0", "a1"] and {"a closed", "b closed"} <= set(log), (seen, log)
    assert await alone()


async def _cancelled():
    log = []

    async def consume():
        async for _ in merge(_source(log, "a", [1, 50]), _source(log, "b", [2, 50])):
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(10)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    await asyncio.sleep(1)
    assert {"a closed", "b closed"} <= set(log), log


run_virtual(_order)
run_virtual(_backpressure)
run_virtual(_error)
run_virtual(_cancelled)
