import asyncio

from harness import alone, raises, run_virtual
from solution import first_success


def _call(log, name, seconds, error=None):
    async def run():
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            log.append(name)
            raise
        if error:
            raise error
        return name

    return run


async def _success():
    log = []
    calls = [
        _call(log, "a", 9),
        _call(log, "b", 1, OSError("b")),
        _call(log, "c", 3),
        _call(log, "d", 20),
    ]
    assert await first_success(calls) == "c"
    assert sorted(log) == ["a", "d"], log
    assert asyncio.get_running_loop().time() == 4
    assert await alone()


async def _failure():
    one, two, three = OSError("1"), KeyError("2"), ValueError("3")
    error = await raises(
        ExceptionGroup,
        first_success([_call([], 1, 3, one), _call([], 2, 1, two), _call([], 3, 2, three)]),
    )
    assert list(error.exceptions) == [one, two, three]
    await raises(ValueError, first_success([]))


async def _cancelled():
    log = []
    task = asyncio.create_task(first_success([_call(log, "a", 9), _call(log, "b", 9)]))
    await asyncio.sleep(1)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert sorted(log) == ["a", "b"], log


run_virtual(_success)
run_virtual(_failure)
run_virtual(_cancelled)
