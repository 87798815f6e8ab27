import asyncio
import contextlib


class Debouncer:
    def __init__(self, wait, callback):
        self.wait, self.callback = wait, callback
        self.pending, self.timer, self.task, self.due, self.closed = [], None, None, False, False

    def trigger(self, value):
        if self.closed:
            raise RuntimeError("closed")
        self.pending, self.due = [value], False
        if self.timer:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(self.wait, self._quiet)

    def _quiet(self):
        self.timer, self.due = None, True
        if self.task is None:
            self.task = asyncio.create_task(self._work())

    async def _work(self):
        while self.pending and self.due:
            value, self.pending, self.due = self.pending[0], [], False
            with contextlib.suppress(Exception):
                await self.callback(value)
        self.task = None

    async def close(self):
        self.closed = True
        if self.timer:
            self.timer.cancel()
        self.due = True
        if self.task is None:
            self.task = asyncio.create_task(self._work())
        await self.task
