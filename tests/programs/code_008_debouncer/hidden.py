import asyncio

from harness import run_virtual
from solution import Debouncer


async def _quiet():
    loop, seen = asyncio.get_running_loop(), []

    async def callback(value):
        seen.append((value, loop.time()))

    debouncer = Debouncer(5, callback)
    for value in range(4):
        debouncer.trigger(value)
        await asyncio.sleep(3)
    assert seen == []
    await asyncio.sleep(50)
    assert seen == [(3, 14)], seen
    debouncer.trigger("x")
    await asyncio.sleep(6)
    assert seen[1:] == [("x", 67)], seen
    await debouncer.close()
    assert len(seen) == 2
    try:
        debouncer.trigger(1)
    except RuntimeError:
        pass
    else:
        raise AssertionError("trigger after close")


async def _slow_callback():
    loop, seen = asyncio.get_running_loop(), []

    async def callback(value):
        seen.append((value, "begins", loop.time()))
        await asyncio.sleep(20)
        seen.append((value, "ends", loop.time()))
        if value == "a":
            raise OSError("lost")

    debouncer = Debouncer(2, callback)
    debouncer.trigger("a")
    await asyncio.sleep(3)
    debouncer.trigger("b")
    await asyncio.sleep(4)
    debouncer.trigger("c")
    await asyncio.sleep(43)
    assert seen == [
        ("a", "begins", 2),
        ("a", "ends", 22),
        ("c", "begins", 22),
        ("c", "ends", 42),
    ], seen
    debouncer.trigger("d")
    await asyncio.sleep(3)
    debouncer.trigger("e")
    await debouncer.close()
    assert seen[4:] == [
        ("d", "begins", 52),
        ("d", "ends", 72),
        ("e", "begins", 72),
        ("e", "ends", 92),
    ], seen


run_virtual(_quiet)
run_virtual(_slow_callback)
