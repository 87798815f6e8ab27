import asyncio
from contextlib import asynccontextmanager


class Pool:
    def __init__(self, create, close, size):
        self.create, self.close, self.size = create, close, size
        self.idle, self.places, self.closed = [], asyncio.Semaphore(size), False

    @asynccontextmanager
    async def connection(self):
        if self.closed:
            raise RuntimeError("the pool is closed")
        await self.places.acquire()
        connection = self.idle.pop() if self.idle else await self.create()
        try:
            yield connection
        except ConnectionError:
            await self.close(connection)
            raise
        else:
            self.idle.append(connection)
        finally:
            self.places.release()

    async def aclose(self):
        self.closed = True
        for _ in range(self.size):
            await self.places.acquire()
        while self.idle:
            await self.close(self.idle.pop())
