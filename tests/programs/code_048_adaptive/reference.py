import asyncio
from collections import deque
from contextlib import asynccontextmanager


class Overload(Exception):
    pass


class Adaptive:
    def __init__(self, start, least, most):
        self.limit, self.least, self.most = float(start), least, most
        self.active, self.line, self.halvings = 0, deque(), 0

    def _let_in(self):
        while self.line and self.active < int(self.limit):
            turn = self.line.popleft()
            if not turn.done():
                self.active += 1
                turn.set_result(None)

    def _leave(self):
        self.active -= 1
        self._let_in()

    @asynccontextmanager
    async def slot(self):
        turn = asyncio.get_running_loop().create_future()
        self.line.append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise
        seen = self.halvings
        try:
            yield
            self.limit = min(self.most, self.limit + 1 / self.limit)
        except Overload:
            if seen == self.halvings:
                self.limit = max(self.least, self.limit / 2)
                self.halvings += 1
            raise
        finally:
            self._leave()
