import asyncio
from collections import deque


class FairSemaphore:
    def __init__(self, permits):
        self.permits, self.free, self.line = permits, permits, deque()

    async def acquire(self):
        if self.free:
            self.free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self.line.append(turn)
        await turn

    def release(self):
        while self.line:
            turn = self.line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        if self.free == self.permits:
            raise ValueError("nobody holds a permit")
        self.free += 1
