import asyncio

from harness import raises, run_virtual
from solution import Rpc


async def _main():
    loop, sent, hooks = asyncio.get_running_loop(), [], []

    async def send(message):
        sent.append(message)
        if hooks:
            await hooks.pop(0)(message)

    rpc = Rpc(send)
    calls = [asyncio.create_task(rpc.call(method, 50)) for method in ("a", "b", "c")]
    await asyncio.sleep(1)
    assert [message["method"] for message in sent] == ["a", "b", "c"] and rpc.pending == 3
    ids = [message["id"] for message in sent]
    assert len(set(ids)) == 3
    rpc.feed({"id": ids[2], "result": "C"})
    rpc.feed({"id": ids[0], "result": None})
    rpc.feed({"id": ids[1], "error": "no such thing"})
    rpc.feed({"id": ids[1], "result": "twice"})
    rpc.feed({"id": 987654, "result": "unknown"})
    assert await calls[0] is None and await calls[2] == "C"
    error = await raises(RuntimeError, calls[1])
    assert str(error) == "no such thing" and rpc.pending == 0

    begun = loop.time()
    await raises(TimeoutError, rpc.call("slow", 5))
    assert loop.time() == begun + 5 and rpc.pending == 0
    rpc.feed({"id": sent[-1]["id"], "result": "late"})

    async def early(message):
        rpc.feed({"id": message["id"], "result": "early"})
        await asyncio.sleep(1)

    hooks.append(early)
    assert await rpc.call("quick", 5) == "early"

    async def stuck(_):
        await asyncio.sleep(100)

    hooks.append(stuck)
    begun = loop.time()
    await raises(TimeoutError, rpc.call("stuck", 5))
    assert loop.time() == begun + 5 and rpc.pending == 0

    async def broken(_):
        raise OSError("closed")

    hooks.append(broken)
    await raises(OSError, rpc.call("broken", 5))
    assert rpc.pending == 0

    task, other = asyncio.create_task(rpc.call("x", 50)), asyncio.create_task(rpc.call("y", 50))
    await asyncio.sleep(1)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert rpc.pending == 1
    gone = ConnectionResetError("gone")
    rpc.fail(gone)
    assert await raises(ConnectionResetError, other) is gone and rpc.pending == 0
    count = len(sent)
    assert await raises(ConnectionResetError, rpc.call("z", 50)) is gone and len(sent) == count
    assert len({message["id"] for message in sent}) == len(sent)


run_virtual(_main)
