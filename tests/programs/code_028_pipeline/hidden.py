import asyncio

from harness import alone, raises, run_virtual
from solution import StageError, pipeline


async def _main():
    log, busy, loop = [], [0, 0, 0], asyncio.get_running_loop()

    def stage(index, seconds):
        async def run(value):
            busy[index] += 1
            assert busy[index] == 1, "two values at the same time in one stage"
            log.append((index, value, loop.time()))
            await asyncio.sleep(seconds)
            busy[index] -= 1
            return value + 100

        return run

    assert await pipeline([0, 1, 2, 3], [stage(0, 2), stage(1, 2), stage(2, 2)], 1) == [
        300,
        301,
        302,
        303,
    ]
    assert loop.time() == 12, loop.time()
    assert (1, 100, 2) in log and (0, 1, 2) in log and (2, 200, 4) in log
    assert await pipeline([], [stage(0, 1)], 1) == [] and await pipeline([3, 4], [], 1) == [3, 4]

    log.clear()
    begun = loop.time()
    results = await pipeline(list(range(12)), [stage(0, 1), stage(1, 10)], 2)
    assert results == [200 + n for n in range(12)]
    before = [entry for entry in log if entry[0] == 0 and entry[2] < begun + 11]
    assert len(before) == 4, before  # one in stage 1, two waiting, one in the hand of stage 0


async def _error():
    ended, cause = [], ValueError("broken")

    async def double(value):
        try:
            await asyncio.sleep(2)
            return value * 2
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            ended.append(value)
            raise

    async def check(value):
        await asyncio.sleep(1)
        if value == 4:
            raise cause
        return value

    error = await raises(StageError, pipeline([1, 2, 3, 4], [double, check, double], 1))
    assert (error.stage, error.item, error.__cause__) == (1, 2, cause), (error.stage, error.item)
    assert 3 in ended, ended
    assert await alone()

    task = asyncio.create_task(pipeline([7], [double], 1))
    await asyncio.sleep(1)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert 7 in ended and await alone()


run_virtual(_main)
run_virtual(_error)
