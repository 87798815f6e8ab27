import asyncio

from harness import alone, raises, run_virtual
from solution import NoAgreement, agreed


def _read(value, seconds, log=None):
    async def run():
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if log is not None:
                log.append(seconds)
            raise
        if isinstance(value, Exception):
            raise value
        return value

    return run


async def _main():
    loop, log = asyncio.get_running_loop(), []
    assert await agreed(
        [_read({"v": 1}, 1), _read({"v": 2}, 2), _read({"v": 1}, 3), _read({"v": 1}, 50, log)], 2
    ) == {"v": 1}
    assert loop.time() == 3 and log == [50]
    assert await agreed([_read(OSError(), 1), _read([7], 2), _read([7], 4)], 2) == [7]
    assert loop.time() == 7

    before = loop.time()
    await raises(
        NoAgreement, agreed([_read(1, 1), _read(2, 2), _read(3, 3), _read(1, 40), _read(2, 50)], 4)
    )
    assert loop.time() == before + 3, (
        loop.time() - before
    )  # two left, the best has one: three at most

    before = loop.time()
    await raises(
        NoAgreement,
        agreed([_read(OSError(), 1), _read(OSError(), 2), _read(1, 30), _read(1, 40)], 3),
    )
    assert loop.time() == before + 2, loop.time() - before
    assert await alone()

    before = loop.time()  # a value nobody has returned yet can still win
    assert await agreed([_read(1, 1), _read(OSError(), 2), _read(5, 3), _read(5, 4)], 2) == 5
    assert loop.time() == before + 4
    await raises(NoAgreement, agreed([_read(1, 1)], 2))
    assert loop.time() <= before + 5
    assert await agreed([_read(None, 1), _read(None, 1)], 2) is None


run_virtual(_main)
