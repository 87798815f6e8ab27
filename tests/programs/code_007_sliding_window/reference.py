import asyncio
from collections import deque


class SlidingWindow:
    def __init__(self, limit, seconds):
        self.seconds, self.recent, self.turn = seconds, deque(maxlen=limit), asyncio.Lock()

    async def acquire(self):
        loop = asyncio.get_running_loop()
        async with self.turn:
            if len(self.recent) == self.recent.maxlen:
                wait = self.recent[0] + self.seconds - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
            self.recent.append(loop.time())
