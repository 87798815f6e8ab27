import asyncio

from harness import raises, run_virtual
from solution import relay


async def _main():
    loop, log = asyncio.get_running_loop(), []

    async def publish(key, payload):
        log.append(("begin", key, payload, loop.time()))
        await asyncio.sleep(2)
        if payload == "bad":
            raise OSError("broker")
        log.append(("published", key, payload))

    async def mark_sent(row_id):
        await asyncio.sleep(1)
        if row_id == 99:
            raise KeyError("gone")
        log.append(("marked", row_id))

    rows = [
        (1, "a", "a1"),
        (2, "b", "b1"),
        (3, "a", "a2"),
        (4, "c", "bad"),
        (5, "c", "c2"),
        (6, "b", "b2"),
        (7, "a", "a3"),
    ]
    failed = await relay(rows, publish, mark_sent)
    assert list(failed) == [4] and isinstance(failed[4], OSError), failed
    begun = [entry[1:] for entry in log if entry[0] == "begin"]
    assert sorted(begun) == [
        ("a", "a1", 0),
        ("a", "a2", 3),
        ("a", "a3", 6),
        ("b", "b1", 0),
        ("b", "b2", 3),
        ("c", "bad", 0),
    ], begun
    for row_id, key, payload in rows:
        if row_id not in (4, 5):
            assert log.index(("published", key, payload)) < log.index(("marked", row_id))
    assert ("marked", 4) not in log and ("marked", 5) not in log
    assert await relay([], publish, mark_sent) == {}

    log.clear()
    failed = await relay([(99, "x", "x1"), (100, "x", "x2")], publish, mark_sent)
    assert list(failed) == [99] and isinstance(failed[99], KeyError)
    assert not any("x2" in entry for entry in log)

    log.clear()
    task = asyncio.create_task(
        relay([(1, "a", "a1"), (2, "a", "a2"), (3, "b", "b1"), (4, "b", "b2")], publish, mark_sent)
    )
    await asyncio.sleep(1)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert {entry for entry in log if entry[0] == "marked"} == {("marked", 1), ("marked", 3)}, log
    await asyncio.sleep(20)
    assert not any("a2" in entry or "b2" in entry for entry in log)


run_virtual(_main)
