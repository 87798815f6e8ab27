import asyncio

from harness import alone, run_virtual
from solution import as_done


async def _main():
    loop, log = asyncio.get_running_loop(), []

    def call(seconds, value, error=None):
        async def run():
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                await asyncio.sleep(1)
                log.append(f"{value} cancelled")
                raise
            if error:
                raise error
            return value

        return run

    error = OSError("c")
    calls = [call(5, "a"), call(1, "b"), call(3, "c", error), call(4, None)]
    got = [(triple, loop.time()) async for triple in as_done(calls)]
    assert got == [
        ((1, "b", None), 1),
        ((2, None, error), 3),
        ((3, None, None), 4),
        ((0, "a", None), 5),
    ], got

    got = []
    async for index, _, _ in as_done(
        [call(9, "a"), call(7, "b"), call(1, "c"), call(8, "d"), call(5, "e"), call(6, "f")]
    ):
        got.append(index)
        await asyncio.sleep(20)
    assert got == [2, 4, 5, 1, 3, 0], got
    assert [triple async for triple in as_done([])] == []

    generator = as_done([call(50, "x"), call(1, "y"), call(60, "z")])
    assert await anext(generator) == (1, "y", None)
    await generator.aclose()
    assert sorted(log) == ["x cancelled", "z cancelled"] and await alone(), log


run_virtual(_main)
