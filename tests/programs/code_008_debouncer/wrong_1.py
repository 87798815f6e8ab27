import asyncio


class Debouncer:
    def __init__(self, wait, callback):
        self.wait, self.callback, self.task, self.closed = wait, callback, None, False

    def trigger(self, value):
        if self.closed:
            raise RuntimeError("closed")
        if self.task:
            self.task.cancel()
        self.task = asyncio.create_task(self._later(value))

    async def _later(self, value):
        await asyncio.sleep(self.wait)
        try:
            await self.callback(value)
        except Exception:
            pass

    async def close(self):
        self.closed = True
        if self.task:
            await self.task
