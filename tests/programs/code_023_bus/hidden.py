import asyncio

from harness import run_virtual
from solution import Bus


async def _main():
    bus = Bus(3)
    bus.publish("nobody listens")
    fast, slow, quitter = bus.subscribe(), bus.subscribe(), bus.subscribe()
    got = {"fast": [], "slow": [], "quitter": []}

    async def read(name, subscription, seconds):
        async for item in subscription:
            got[name].append(item)
            await asyncio.sleep(seconds)

    readers = [
        asyncio.create_task(read("fast", fast, 0)),
        asyncio.create_task(read("slow", slow, 10.5)),
    ]
    readers.append(asyncio.create_task(read("quitter", quitter, 0)))
    await asyncio.sleep(1)
    quitter.cancel()
    await asyncio.wait_for(readers[2], 1)
    for n in range(10):  # from 1 s on, one a second
        bus.publish(n)
        await asyncio.sleep(1)
    assert got["fast"] == list(range(10)) and fast.dropped == 0
    assert got["slow"] == [0] and slow.dropped == 6, (got, slow.dropped)
    await asyncio.sleep(12)
    assert got["slow"] == [0, 7, 8], got
    bus.publish("last")
    bus.close()
    bus.close()
    await asyncio.gather(*readers)
    assert got["fast"][-1] == "last" and got["slow"] == [0, 7, 8, 9, "last"], got
    assert got["quitter"] == []
    try:
        bus.publish("late")
    except RuntimeError:
        pass
    else:
        raise AssertionError("publish after close")
    assert [item async for item in bus.subscribe()] == []


async def _cancel_gives_up():
    bus = Bus(5)
    one, two = bus.subscribe(), bus.subscribe()
    bus.publish(None)
    bus.publish(0)
    one.cancel()
    assert [item async for item in one] == []
    bus.publish(False)
    bus.close()
    assert [item async for item in two] == [None, 0, False]


run_virtual(_main)
run_virtual(_cancel_gives_up)
