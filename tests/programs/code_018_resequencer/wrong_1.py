import asyncio


class Gap(Exception):
    pass


class Resequencer:
    def __init__(self, capacity):
        self.capacity, self.next, self.held, self.closed = capacity, 0, {}, False
        self.room, self.changed = asyncio.Semaphore(capacity), asyncio.Condition()

    async def put(self, number, item):
        if self.closed:
            raise RuntimeError("closed")
        if number < self.next or number in self.held:
            raise ValueError(number)
        await self.room.acquire()
        self.held[number] = item
        async with self.changed:
            self.changed.notify_all()

    def close(self):
        self.closed = True

    def __aiter__(self):
        return self

    async def __anext__(self):
        async with self.changed:
            await self.changed.wait_for(lambda: self.closed or self.next in self.held)
        if self.next in self.held:
            self.next += 1
            self.room.release()
            return self.held.pop(self.next - 1)
        if self.held:
            raise Gap
        raise StopAsyncIteration
