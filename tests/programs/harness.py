"""What the hidden tests of every program share; it is put between a solution and its tests."""

import asyncio


def run_virtual(main):
    """Run `main()` on a loop whose clock jumps to the next timer.

    Nothing really waits, and a deadlock fails at once.
    """
    loop = asyncio.SelectorEventLoop()
    now = [0.0]
    select = loop._selector.select

    def jump(timeout):
        assert timeout is not None, "deadlock: every task waits for ever"
        now[0] += timeout
        return select(0)

    loop._selector.select = jump
    loop.time = lambda: now[0]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


async def raises(kind, awaitable):
    """The exception of this kind that the awaitable raises."""
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


async def alone():
    """Whether no other task is left, once those just cancelled have had their turn."""
    for _ in range(3):
        await asyncio.sleep(0)
    return len(asyncio.all_tasks()) == 1
