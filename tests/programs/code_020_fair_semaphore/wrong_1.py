import asyncio
from collections import deque


class FairSemaphore:
    def __init__(self, permits):
        self.permits, self.free, self.line = permits, permits, deque()

    async def acquire(self):
        while not self.free:
            turn = asyncio.get_running_loop().create_future()
            self.line.append(turn)
            await turn
        self.free -= 1

    def release(self):
        if self.free == self.permits:
            raise ValueError("nobody holds a permit")
        self.free += 1
        while self.line:
            turn = self.line.popleft()
            if not turn.done():
                turn.set_result(None)
                break
