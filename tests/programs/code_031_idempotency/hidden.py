import asyncio

from harness import raises, run_virtual
from solution import Conflict, Idempotency


async def _main():
    loop, runs = asyncio.get_running_loop(), []
    store = Idempotency(100, loop.time)

    def charge(name, seconds=5, error=None):
        async def run():
            runs.append(name)
            await asyncio.sleep(seconds)
            if error:
                raise error
            return f"paid {name}"

        return run

    first = asyncio.create_task(store.execute("k", {"cents": 5}, charge("one")))
    await asyncio.sleep(1)
    again = asyncio.create_task(store.execute("k", {"cents": 5}, charge("two")))
    await raises(Conflict, store.execute("k", {"cents": 6}, charge("three")))
    assert await first == await again == "paid one" and runs == ["one"]
    await asyncio.sleep(99.5)
    assert await store.execute("k", {"cents": 5}, charge("four")) == "paid one"
    await raises(Conflict, store.execute("k", {"cents": 6}, charge("five")))
    await asyncio.sleep(0.5)  # 105: the operation ended at 5
    assert await store.execute("k", {"cents": 6}, charge("six")) == "paid six"
    assert runs == ["one", "six"], runs

    error = OSError("down")
    results = await asyncio.gather(
        *(store.execute("f", 1, charge("bad", 5, error)) for _ in range(3)), return_exceptions=True
    )
    assert results == [error] * 3 and runs.count("bad") == 1
    assert await store.execute("f", 2, charge("good")) == "paid good"

    hurried = asyncio.create_task(store.execute("c", 1, charge("slow")))
    await asyncio.sleep(1)
    hurried.cancel()
    await raises(asyncio.CancelledError, hurried)
    await asyncio.sleep(10)
    assert await store.execute("c", 1, charge("second try")) == "paid slow"
    assert "second try" not in runs


run_virtual(_main)
