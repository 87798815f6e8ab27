import asyncio

from harness import raises, run_virtual
from solution import Pool


async def _main():
    made, closed, fail = [], [], []

    async def create():
        await asyncio.sleep(1)
        if fail:
            raise fail.pop()
        made.append(len(made))
        return made[-1]

    async def close(connection):
        await asyncio.sleep(1)
        closed.append(connection)

    pool, order = Pool(create, close, 2), []

    async def use(name, seconds, error=None):
        async with pool.connection() as connection:
            order.append((name, connection))
            await asyncio.sleep(seconds)
            if error:
                raise error

    await asyncio.gather(*(use(n, 5 + n) for n in range(5)))
    assert made == [0, 1] and [name for name, _ in order] == [0, 1, 2, 3, 4], order

    order.clear()
    await asyncio.gather(use("a", 5), use("b", 9))
    last = order[-1][1]  # b came back last
    await use("c", 1)
    assert order[-1] == ("c", last), order
    await raises(KeyError, use("d", 1, KeyError("kept")))
    assert closed == [] and made == [0, 1]
    await raises(ConnectionResetError, use("e", 1, ConnectionResetError("broken")))
    assert closed == [last]
    await asyncio.gather(use("f", 1), use("g", 1))
    assert made == [0, 1, 2], made

    await asyncio.gather(
        *(use("h", 1, ConnectionError()) for _ in range(2)), return_exceptions=True
    )
    assert sorted(closed) == [0, 1, 2]
    fail[:] = [OSError("refused"), OSError("refused")]
    results = await asyncio.gather(*(use("i", 1) for _ in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError, type(None), type(None)], (
        results
    )
    assert made == [0, 1, 2, 3, 4]

    held = asyncio.create_task(use("held", 20))
    await asyncio.sleep(1)
    other = asyncio.create_task(use("other", 20))
    await asyncio.sleep(1)
    waiting = asyncio.create_task(use("waiting", 1))
    await asyncio.sleep(1)
    ending = asyncio.create_task(pool.aclose())
    await asyncio.sleep(5)
    assert isinstance(waiting.exception(), RuntimeError) and not ending.done() and not held.done()
    await raises(RuntimeError, use("late", 1))
    await ending
    assert held.done() and other.done() and sorted(closed) == [0, 1, 2, 3, 4], closed


async def _cancelled_waiter():
    async def create():
        return object()

    async def close(_):
        pass

    pool = Pool(create, close, 1)
    got = []

    async def use():
        async with pool.connection() as connection:
            got.append(connection)

    async with pool.connection():
        tasks = [asyncio.create_task(use()) for _ in range(3)]
        await asyncio.sleep(1)
        tasks[0].cancel()
    tasks[1].cancel()
    await asyncio.wait_for(tasks[2], 5)
    await asyncio.wait_for(use(), 5)
    assert len(set(map(id, got))) == 1
    await asyncio.wait_for(pool.aclose(), 5)


run_virtual(_main)
run_virtual(_cancelled_waiter)
