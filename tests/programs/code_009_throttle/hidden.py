import asyncio

from harness import run_virtual
from solution import Throttle


async def _main():
    loop, seen = asyncio.get_running_loop(), []
    throttle = Throttle(10, lambda value: seen.append((value, loop.time())))
    throttle.call("a")
    assert seen == [("a", 0)]
    for value in "bcd":
        await asyncio.sleep(2)
        throttle.call(value)
    assert len(seen) == 1
    await asyncio.sleep(6)  # 12
    assert seen == [("a", 0), ("d", 10)], seen
    throttle.call("e")
    assert len(seen) == 2, "d ran two seconds ago"
    await asyncio.sleep(9)  # 21
    assert seen[2:] == [("e", 20)], seen
    await asyncio.sleep(19)  # 40
    assert len(seen) == 3, seen
    throttle.call("f")
    assert seen[3:] == [("f", 40)], seen
    throttle.call("g")
    throttle.call("h")
    await asyncio.sleep(100)
    assert seen[4:] == [("h", 50)], seen


run_virtual(_main)
