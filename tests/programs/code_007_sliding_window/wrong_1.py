import asyncio


class SlidingWindow:
    def __init__(self, limit, seconds):
        self.limit, self.seconds, self.began, self.used, self.turn = (
            limit,
            seconds,
            None,
            0,
            asyncio.Lock(),
        )

    async def acquire(self):
        loop = asyncio.get_running_loop()
        async with self.turn:
            if self.began is None or loop.time() - self.began >= self.seconds:
                self.began, self.used = loop.time(), 0
            if self.used == self.limit:
                await asyncio.sleep(self.began + self.seconds - loop.time())
                self.began, self.used = loop.time(), 0
            self.used += 1
