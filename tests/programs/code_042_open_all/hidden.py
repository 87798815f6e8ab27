import asyncio

from harness import raises, run_virtual
from solution import open_all


class _Manager:
    def __init__(self, log, name, seconds, enter_error=None, exit_error=None):
        self.log, self.name, self.seconds, self.enter_error, self.exit_error = (
            log,
            name,
            seconds,
            enter_error,
            exit_error,
        )

    async def __aenter__(self):
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.log.append(f"{self.name} given up")
            raise
        if self.enter_error:
            raise self.enter_error
        self.log.append(f"{self.name} in")
        return self.name.upper()

    async def __aexit__(self, kind, error, trace):
        await asyncio.sleep(1)
        self.log.append((self.name, kind and kind.__name__))
        if self.exit_error:
            raise self.exit_error


async def _main():
    loop, log = asyncio.get_running_loop(), []
    async with open_all(
        [_Manager(log, "a", 3), _Manager(log, "b", 1), _Manager(log, "c", 2)]
    ) as values:
        assert values == ["A", "B", "C"] and loop.time() == 3 and log == ["b in", "c in", "a in"]
        log.clear()
    assert log == [("c", None), ("b", None), ("a", None)], log
    async with open_all([]) as values:
        assert values == []

    async def body_fails():
        async with open_all([_Manager(log, "a", 1), _Manager(log, "b", 1)]):
            log.clear()
            raise KeyError("body")

    await raises(KeyError, body_fails())
    assert log == [("b", "KeyError"), ("a", "KeyError")], log

    async def exit_fails():
        async with open_all(
            [
                _Manager(log, "a", 1),
                _Manager(log, "b", 1, None, OSError("exit")),
                _Manager(log, "c", 1),
            ]
        ):
            log.clear()

    await raises(OSError, exit_fails())
    assert log == [("c", None), ("b", None), ("a", "OSError")], log

    async def enter_fails():
        managers = [
            _Manager(log, "a", 1),
            _Manager(log, "b", 3, ValueError("enter")),
            _Manager(log, "c", 2),
            _Manager(log, "d", 9),
        ]
        async with open_all(managers):
            raise AssertionError("entered")

    log.clear()
    await raises(ValueError, enter_fails())
    assert log[:3] == ["a in", "c in", "d given up"] and [entry[0] for entry in log[3:]] == [
        "c",
        "a",
    ], log

    async def enter():
        async with open_all([_Manager(log, "a", 1), _Manager(log, "b", 9)]):
            raise AssertionError("entered")

    log.clear()
    task = asyncio.create_task(enter())
    await asyncio.sleep(2)
    task.cancel()
    await raises(asyncio.CancelledError, task)
    assert log[:2] == ["a in", "b given up"] and [entry[0] for entry in log[2:]] == ["a"], log


run_virtual(_main)
