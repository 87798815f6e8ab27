import asyncio

from harness import raises, run_virtual
from solution import GaveUp, keep_running


async def _main():
    now, pauses, starts = [0.0], [], []

    async def sleep(seconds):
        pauses.append(seconds)
        now[0] += seconds

    def runs(*lengths):
        left = list(lengths)

        async def start():
            starts.append(now[0])
            length = left.pop(0)
            if length is None:
                return "done"
            now[0] += length
            raise OSError(len(left))

        return start

    def clock():
        return now[0]

    assert await keep_running(runs(None), 0, 60, 1, clock, sleep) == "done" and pauses == []
    assert await keep_running(runs(5, 5, None), 2, 60, 1, clock, sleep) == "done"
    assert pauses == [1, 1] and starts == [0, 0, 6, 12], starts

    now[0], pauses[:], starts[:] = 0.0, [], []
    error = await raises(GaveUp, keep_running(runs(5, 5, 5, 5), 2, 60, 1, clock, sleep))
    assert (
        error.restarts == 2
        and isinstance(error.__cause__, OSError)
        and error.__cause__.args == (1,)
    )
    assert starts == [0, 6, 12] and pauses == [1, 1], (starts, pauses)
    error = await raises(GaveUp, keep_running(runs(5), 0, 60, 1, clock, sleep))
    assert error.restarts == 0

    assert (
        await keep_running(runs(5, 6, None), 1, 6, 1, clock, sleep) == "done"
    )  # the restart was exactly 6 s ago

    now[0], starts[:] = 0.0, []  # seldom failures go on for ever
    assert await keep_running(runs(*[29] * 20, None), 2, 50, 1, clock, sleep) == "done"
    assert starts == [30.0 * n for n in range(21)]

    now[0], starts[:] = 0.0, []
    error = await raises(GaveUp, keep_running(runs(*[29] * 3, 5, 5, 5), 2, 50, 1, clock, sleep))
    # restarts at 30, 60, 90; the failure at 95 finds those of 60 and 90 within the last 50 s
    assert error.restarts == 3 and starts == [0, 30, 60, 90], (error.restarts, starts)

    async def cancelled():
        raise asyncio.CancelledError

    pauses.clear()
    await raises(asyncio.CancelledError, keep_running(cancelled, 9, 60, 1, clock, sleep))
    assert pauses == []


run_virtual(_main)
