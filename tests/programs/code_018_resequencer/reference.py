import asyncio


class Gap(Exception):
    pass


class Resequencer:
    def __init__(self, capacity):
        self.capacity, self.next, self.held, self.waiting, self.closed = capacity, 0, {}, {}, False
        self.news = asyncio.Event()

    async def put(self, number, item):
        if self.closed:
            raise RuntimeError("closed")
        if number < self.next or number in self.held or number in self.waiting:
            raise ValueError(f"{number} was put before")
        if number < self.next + self.capacity:
            self.held[number] = item
            self.news.set()
            return
        future = asyncio.get_running_loop().create_future()
        self.waiting[number] = item, future
        try:
            await future
        except asyncio.CancelledError:
            self.waiting.pop(number, None)
            raise

    def close(self):
        self.closed = True
        self.news.set()

    def __aiter__(self):
        return self

    async def __anext__(self):
        while self.next not in self.held:
            if self.closed:
                if self.held or self.waiting:
                    raise Gap(self.next)
                raise StopAsyncIteration
            self.news.clear()
            await self.news.wait()
        item = self.held.pop(self.next)
        self.next += 1
        for number in [n for n in self.waiting if n < self.next + self.capacity]:
            self.held[number], future = self.waiting.pop(number)
            if not future.done():
                future.set_result(None)
        return item
