import asyncio

from harness import raises, run_virtual
from solution import SagaFailed, saga


def _step(log, name, error=None, undo_error=None):
    async def action():
        await asyncio.sleep(2)
        if error:
            raise error
        log.append(name)
        return name.upper()

    async def compensate(result):
        log.append(f"undoing {result}")
        await asyncio.sleep(3)
        if undo_error:
            raise undo_error
        log.append(f"undone {result}")

    return action, compensate


async def _main():
    log = []
    assert await saga([_step(log, "a"), _step(log, "b")]) == ["A", "B"] and log == ["a", "b"]
    assert await saga([]) == []

    log.clear()
    cause, stuck = OSError("full"), KeyError("stuck")
    steps = [
        _step(log, "a"),
        _step(log, "b", None, stuck),
        _step(log, "c"),
        _step(log, "d", cause),
        _step(log, "e"),
    ]
    error = await raises(SagaFailed, saga(steps))
    assert log == ["a", "b", "c", "undoing C", "undone C", "undoing B", "undoing A", "undone A"], (
        log
    )
    assert error.step == 3 and error.__cause__ is cause and error.unsettled == [(1, stuck)], (
        error.step,
        error.unsettled,
    )
    error = await raises(SagaFailed, saga([_step(log, "x", cause)]))
    assert (error.step, error.unsettled) == (0, [])

    log.clear()
    task = asyncio.create_task(saga([_step(log, "a"), _step(log, "b"), _step(log, "c")]))
    await asyncio.sleep(5)
    task.cancel()
    await asyncio.sleep(1)
    task.cancel()  # while B is being undone
    await asyncio.sleep(3)
    task.cancel()  # while A is being undone
    await raises(asyncio.CancelledError, task)
    assert log == ["a", "b", "undoing B", "undone B", "undoing A", "undone A"], log


run_virtual(_main)
