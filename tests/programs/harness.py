"""What the hidden tests of every program share; it is put between a solution and its tests.

`MARK` is given to them where they run: it begins a line that hands out a value.
"""

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


def hand_out(place, value):
    """Hand a value out of this process, to be compared where no solution can look."""
    print("\n" + MARK + ascii((place, plain(value))), flush=True)  # noqa: F821


def plain(value):
    """A value made of Python's own types alone, as `==` sees it; `...` for what is none."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {plain(key): plain(of) for key, of in value.items()}
    for kind in (list, tuple):
        if isinstance(value, kind):
            return kind(map(plain, value))
    if isinstance(value, (set, frozenset)):
        return set(map(plain, value))
    if isinstance(value, bytearray):
        return bytes(value)
    for kind in (bool, int, float, str, bytes):
        if isinstance(value, kind):
            return kind(value)
    return ...
