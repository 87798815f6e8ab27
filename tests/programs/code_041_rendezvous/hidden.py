import asyncio

from harness import raises, run_virtual
from solution import Rendezvous


async def _main():
    meeting = Rendezvous(3)
    log = []

    async def runner(name):
        for lap in range(4):
            log.append(tuple(await meeting.arrive(f"{name}{lap}")))

    await asyncio.gather(*(runner(name) for name in "abc"))
    assert len(log) == 12
    for lap in range(4):
        groups = {group for group in log if group[0][1] == str(lap)}
        assert len(groups) == 1 and sorted(groups.pop()) == [f"{name}{lap}" for name in "abc"], log

    first, second = asyncio.create_task(meeting.arrive(1)), asyncio.create_task(meeting.arrive(2))
    await asyncio.sleep(1)
    first.cancel()
    await raises(asyncio.CancelledError, first)
    third = asyncio.create_task(meeting.arrive(3))
    await asyncio.sleep(1)
    assert not second.done() and not third.done()
    assert await meeting.arrive(4) == [2, 3, 4]
    assert await second == [2, 3, 4] and await third == [2, 3, 4]

    again = [asyncio.create_task(meeting.arrive(n)) for n in range(6)]
    assert [await task for task in again] == [[0, 1, 2]] * 3 + [[3, 4, 5]] * 3
    assert await Rendezvous(1).arrive("alone") == ["alone"]


async def _cancelled_when_complete():
    meeting = Rendezvous(2)
    first = asyncio.create_task(meeting.arrive("a"))
    await asyncio.sleep(1)
    second = asyncio.create_task(meeting.arrive("b"))
    asyncio.get_running_loop().call_soon(
        first.cancel
    )  # right after b has completed the group, before a runs
    assert await second == ["a", "b"]
    await raises(asyncio.CancelledError, first)
    await asyncio.sleep(1)
    third = asyncio.create_task(meeting.arrive("c"))
    await asyncio.sleep(1)
    assert not third.done()
    assert await meeting.arrive("d") == ["c", "d"] and await third == ["c", "d"]


run_virtual(_main)
run_virtual(_cancelled_when_complete)
