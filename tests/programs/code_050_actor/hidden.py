import asyncio

from harness import alone, raises, run_virtual
from solution import Actor


async def _main():
    busy = 0

    async def account(balance, message):
        nonlocal busy
        busy += 1
        assert busy == 1, "two messages at the same time"
        await asyncio.sleep(1)
        busy -= 1
        if balance + message < 0:
            raise ValueError("not covered")
        return balance + message, f"now {balance + message}"

    actor = Actor(account, 10)
    assert actor.state == 10
    assert await actor.ask(5) == "now 15" and actor.state == 15
    actor.tell(1)
    assert await asyncio.gather(actor.ask(2), actor.ask(3)) == ["now 18", "now 21"]
    await raises(ValueError, actor.ask(-100))
    assert actor.state == 21 and actor.errors == []
    actor.tell(-50)
    assert await actor.ask(0) == "now 21"
    assert len(actor.errors) == 1 and isinstance(actor.errors[0], ValueError)

    task = asyncio.create_task(actor.ask(100))
    await asyncio.sleep(0.5)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert await actor.ask(0) == "now 121"

    for _ in range(3):
        actor.tell(1)
    last = asyncio.create_task(actor.ask(1))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(actor.stop())
    await asyncio.sleep(0.5)
    await raises(RuntimeError, actor.ask(1))
    try:
        actor.tell(1)
    except RuntimeError:
        pass
    else:
        raise AssertionError("tell after stop")
    await stopping
    assert await last == "now 125" and actor.state == 125
    assert await alone()


run_virtual(_main)
