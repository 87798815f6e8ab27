import asyncio

from harness import raises, run_virtual
from solution import gather_named


async def _main():
    loop, ended = asyncio.get_running_loop(), []

    def call(name, seconds, error=None):
        async def run():
            await asyncio.sleep(seconds)
            ended.append(name)
            if error:
                raise error
            return name * 2

        return run

    results = await gather_named({"b": call("b", 3), "a": call("a", 1), "c": call("c", 2)})
    assert list(results.items()) == [("b", "bb"), ("a", "aa"), ("c", "cc")] and loop.time() == 3
    assert await gather_named({}) == {}

    ended.clear()
    late, early = OSError("late"), KeyError("early")
    error = await raises(
        ExceptionGroup,
        gather_named({"x": call("x", 5, late), "y": call("y", 9), "z": call("z", 1, early)}),
    )
    assert list(error.exceptions) == [late, early] and ended == ["z", "x", "y"], (
        error.exceptions,
        ended,
    )
    assert late.__notes__ == ["x"] and early.__notes__ == ["z"]


run_virtual(_main)
