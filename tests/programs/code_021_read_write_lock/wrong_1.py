import asyncio
from contextlib import asynccontextmanager


class ReadWriteLock:
    def __init__(self):
        self.changed, self.readers, self.writing, self.waiting = asyncio.Condition(), 0, False, 0

    @asynccontextmanager
    async def read(self):
        async with self.changed:
            await self.changed.wait_for(lambda: not self.writing and not self.waiting)
            self.readers += 1
        try:
            yield
        finally:
            async with self.changed:
                self.readers -= 1
                self.changed.notify_all()

    @asynccontextmanager
    async def write(self):
        async with self.changed:
            self.waiting += 1
            try:
                await self.changed.wait_for(lambda: not self.writing and not self.readers)
            finally:
                self.waiting -= 1
            self.writing = True
        try:
            yield
        finally:
            async with self.changed:
                self.writing = False
                self.changed.notify_all()
