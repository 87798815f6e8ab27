import asyncio

from harness import raises, run_virtual
from solution import retry


def _operation(outcomes):
    left = list(outcomes)

    async def operation():
        outcome = left.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return operation, left


async def _main():
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    operation, _ = _operation([OSError(), OSError(), OSError(), OSError(), "fine"])
    assert await retry(operation, 5, 0.5, 3, (OSError,), sleep) == "fine"
    assert waits == [0.5, 1, 2, 3], waits

    waits.clear()
    last = OSError("last")
    operation, left = _operation([OSError(), OSError(), last, "late"])
    error = await raises(OSError, retry(operation, 3, 1, 60, (OSError, KeyError), sleep))
    assert error is last and error.attempts == 3 and waits == [1, 2] and left == ["late"]

    waits.clear()
    operation, left = _operation([OSError(), ValueError("no"), "late"])
    await raises(ValueError, retry(operation, 9, 1, 60, (OSError,), sleep))
    assert waits == [1] and left == ["late"]

    operation, left = _operation([asyncio.CancelledError(), "late"])
    await raises(asyncio.CancelledError, retry(operation, 9, 1, 60, (BaseException,), sleep))
    assert left == ["late"]

    operation, left = _operation([0])
    assert await retry(operation, 1, 1, 60, (OSError,), sleep) == 0


run_virtual(_main)
