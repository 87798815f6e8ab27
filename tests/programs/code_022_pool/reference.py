import asyncio
from contextlib import asynccontextmanager


class Pool:
    def __init__(self, create, close, size):
        self.create, self.close, self.size = create, close, size
        self.idle, self.places, self.out, self.closed = [], asyncio.Semaphore(size), 0, False
        self.back = asyncio.Event()
        self.ending = asyncio.Event()

    async def _place(self):
        if self.closed:
            raise RuntimeError("the pool is closed")
        place, end = (
            asyncio.ensure_future(self.places.acquire()),
            asyncio.ensure_future(self.ending.wait()),
        )
        try:
            await asyncio.wait([place, end], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if place.done() or not place.cancel():
                self.places.release()
            raise
        finally:
            end.cancel()
        if self.closed:
            if place.done() or not place.cancel():
                self.places.release()
            raise RuntimeError("the pool is closed")

    @asynccontextmanager
    async def connection(self):
        await self._place()
        self.out += 1
        try:
            connection = self.idle.pop() if self.idle else await self.create()
            broken = False
            try:
                yield connection
            except ConnectionError:
                broken = True
                raise
            finally:
                if broken or self.closed:
                    await self.close(connection)
                else:
                    self.idle.append(connection)
        finally:
            self.out -= 1
            self.places.release()
            self.back.set()

    async def aclose(self):
        self.closed = True
        self.ending.set()
        while self.idle:
            await self.close(self.idle.pop())
        while self.out:
            self.back.clear()
            await self.back.wait()
