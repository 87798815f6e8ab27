import asyncio

from harness import raises, run_virtual
from solution import Histogram


async def _main():
    histogram = Histogram()
    assert histogram.quantile(0.5) is None and histogram.count == 0
    for value in (1, 1.5, 2, 3.999, 4, 0.3, 0, 1000):
        histogram.observe(value)
    assert histogram.count == 8
    # 0 | 0.3 in [1/4, 1/2) | 1, 1.5 in [1, 2) | 2, 3.999 in [2, 4) | 4 in [4, 8) | 1000 in [512, 1024)
    assert [histogram.quantile(k / 8) for k in range(1, 9)] == [0, 0.5, 2, 2, 4, 4, 8, 1024]
    assert histogram.quantile(0.26) == 2 and histogram.quantile(0.01) == 0
    try:
        histogram.observe(-1)
    except ValueError:
        pass
    else:
        raise AssertionError("a negative value was taken")
    assert histogram.count == 8

    other = Histogram()
    for power in range(-30, 31):  # the bounds themselves: no rounding by a logarithm
        other.observe(2.0**power)
        assert other.quantile(1) == 2.0 ** (power + 1), power
    other.observe(2.0**29 * (2 - 2**-50))
    assert other.quantile(61 / 62) == 2.0**30
    before = other.quantile(0.5)
    histogram.merge(other)
    assert histogram.count == 8 + 62 and other.count == 62 and other.quantile(0.5) == before
    assert histogram.quantile(1) == 2.0**31

    many = Histogram()
    for n in range(20000):
        many.observe(1 + n % 3)
    assert many.quantile(0.1) == 2 and many.quantile(0.9) == 4

    now, timed = [10.0], Histogram()
    async with timed.time(lambda: now[0]):
        now[0] += 5
    assert timed.count == 1 and timed.quantile(1) == 8

    async def fails():
        async with timed.time(lambda: now[0]):
            now[0] += 100
            raise KeyError("inside")

    await raises(KeyError, fails())
    assert timed.count == 2 and timed.quantile(1) == 128

    async def waits():
        async with timed.time(lambda: now[0]):
            await asyncio.sleep(50)

    task = asyncio.create_task(waits())
    await asyncio.sleep(1)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert timed.count == 2


run_virtual(_main)
