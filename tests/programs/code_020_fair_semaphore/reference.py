import asyncio
from collections import deque


class FairSemaphore:
    def __init__(self, permits):
        self.permits, self.free, self.line = permits, permits, deque()

    async def acquire(self):
        if self.free and not self.line:
            self.free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self.line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._hand_on()
            else:
                self.line.remove(turn)
            raise

    def release(self):
        if self.free == self.permits:
            raise ValueError("nobody holds a permit")
        self._hand_on()

    def _hand_on(self):
        while self.line:
            turn = self.line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1
