import asyncio

from harness import run_virtual
from solution import KeyedExecutor


async def _main():
    loop, log = asyncio.get_running_loop(), []

    def job(name, seconds, error=None):
        async def run():
            log.append((name, loop.time()))
            await asyncio.sleep(seconds)
            if error:
                raise error
            return name

        return run

    executor = KeyedExecutor(2)
    futures = [
        executor.submit("a", job("a1", 4)),
        executor.submit("a", job("a2", 4)),
        executor.submit("b", job("b1", 3)),
    ]
    futures += [
        executor.submit("c", job("c1", 3)),
        executor.submit("a", job("a3", 1)),
        executor.submit("b", job("b2", 1)),
    ]
    assert len(executor) == 3
    await executor.join()
    # a2 came before c1 but has to wait for a1; at 3 c1 is the first that can run, at 4 it is a2
    assert log == [("a1", 0), ("b1", 0), ("c1", 3), ("a2", 4), ("b2", 6), ("a3", 8)], log
    assert [future.result() for future in futures] == ["a1", "a2", "b1", "c1", "a3", "b2"]
    assert len(executor) == 0

    log.clear()
    start = loop.time()
    bad = executor.submit("k", job("bad", 1, OSError("x")))
    gone, after = executor.submit("k", job("gone", 1)), executor.submit("k", job("after", 1))
    gone.cancel()
    assert await after == "after" and isinstance(bad.exception(), OSError)
    assert [(name, at - start) for name, at in log] == [("bad", 0), ("after", 1)], log
    await executor.join()
    assert len(executor) == 0

    only = executor.submit("z", job("z", 1))
    only.cancel()
    await asyncio.wait_for(executor.join(), 5)
    assert len(executor) == 0 and all(name != "z" for name, _ in log)
    await asyncio.wait_for(executor.join(), 5)

    order = []
    for n in range(40):

        async def record(n=n):
            await asyncio.sleep((n * 7) % 3)
            order.append(n)

        executor.submit(n % 4, record)
    await executor.join()
    for key in range(4):
        assert [n for n in order if n % 4 == key] == list(range(key, 40, 4)), order


run_virtual(_main)
