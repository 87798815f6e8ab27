import asyncio
from contextlib import asynccontextmanager


class Overload(Exception):
    pass


class Adaptive:
    def __init__(self, start, least, most):
        self.limit, self.least, self.most = float(start), least, most
        self.active, self.changed = 0, asyncio.Condition()

    @asynccontextmanager
    async def slot(self):
        async with self.changed:
            await self.changed.wait_for(lambda: self.active < int(self.limit))
            self.active += 1
        try:
            yield
            self.limit = min(self.most, self.limit + 1 / self.limit)
        except Overload:
            self.limit = max(self.least, self.limit / 2)
            raise
        finally:
            self.active -= 1
            async with self.changed:
                self.changed.notify_all()
