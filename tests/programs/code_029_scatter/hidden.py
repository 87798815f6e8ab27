import asyncio

from harness import alone, raises, run_virtual
from solution import TooFew, scatter


def _call(seconds, error=None, log=None):
    async def run():
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            if log is not None:
                log.append("cleaned")
            return "late"
        if error:
            raise error
        return seconds

    return run


def _kinds(errors):
    return {name: type(error).__name__ for name, error in errors.items()}


async def _main():
    loop, log, down = asyncio.get_running_loop(), [], OSError("down")
    calls = {"a": _call(4), "b": _call(1, down), "c": _call(99, None, log), "d": _call(2)}
    results, errors = await scatter(calls, 10, 2)
    assert results == {"a": 4, "d": 2} and list(results) == ["a", "d"]
    assert (
        errors["b"] is down
        and _kinds(errors) == {"b": "OSError", "c": "TimeoutError"}
        and list(errors) == ["b", "c"]
    )
    assert loop.time() == 11 and log == ["cleaned"]

    assert await scatter({"a": _call(4), "b": _call(1)}, 10, 2) == ({"a": 4, "b": 1}, {})
    assert loop.time() == 15
    assert await scatter({}, 10, 0) == ({}, {})

    error = await raises(TooFew, scatter({"a": _call(99), "b": _call(2), "c": _call(99)}, 10, 2))
    assert _kinds(error.errors) == {"a": "TimeoutError", "c": "TimeoutError"}, error.errors
    before = loop.time()
    calls = {"a": _call(99, None, log), "b": _call(2, down), "c": _call(3, down), "d": _call(1)}
    error = await raises(TooFew, scatter(calls, 50, 3))
    assert loop.time() == before + 4, loop.time() - before
    assert (
        _kinds(error.errors) == {"a": "CancelledError", "b": "OSError", "c": "OSError"}
        and len(log) == 2
    )
    assert list(error.errors) == ["a", "b", "c"] and await alone()


run_virtual(_main)
