import asyncio
import threading

from solution import from_thread


async def _main():
    before, loop_thread = threading.active_count(), threading.current_thread()
    gate, taken, closed = threading.Event(), [], []

    def numbers(count, error=None, wait=False):
        assert threading.current_thread() is not loop_thread
        try:
            for n in range(count):
                if wait:
                    assert gate.wait(2), "the event loop was blocked"
                taken.append(n)
                yield n
            if error:
                raise error
        finally:
            closed.append(threading.current_thread() is not loop_thread)

    asyncio.get_running_loop().call_later(0.02, gate.set)
    assert [n async for n in from_thread(lambda: numbers(500, wait=True), 7)] == list(range(500))
    assert [n async for n in from_thread(lambda: numbers(0), 1)] == []

    taken.clear()
    async for n in from_thread(lambda: numbers(20), 3):
        await asyncio.sleep(0.005)
        assert len(taken) <= n + 1 + 3, (n, taken)

    got, error = [], OSError("disk")
    for make, expected in ((lambda: numbers(3, error), [0, 1, 2]), (lambda: 1 / 0, [])):
        got.clear()
        try:
            async for n in from_thread(make, 2):
                got.append(n)
        except (OSError, ZeroDivisionError) as caught:
            assert (caught is error) == bool(expected)
        else:
            raise AssertionError("the exception got lost")
        assert got == expected

    taken.clear()
    closed.clear()
    generator = from_thread(lambda: numbers(10**9), 4)
    assert await anext(generator) == 0
    await generator.aclose()
    assert closed == [True] and len(taken) <= 6, (closed, len(taken))
    assert [n async for n in from_thread(lambda: iter([1, 2, 3]), 1)] == [1, 2, 3]
    assert threading.active_count() <= before + 1  # one may be the loop's own default executor


asyncio.run(_main())
