import asyncio
from collections import deque


class FairQueue:
    def __init__(self):
        self.items, self.waiting = (
            {},
            deque(),
        )  # items: tenant -> its items; the order of the dict is the line

    def __len__(self):
        return sum(map(len, self.items.values()))

    def put(self, tenant, item):
        self.items.setdefault(tenant, deque()).append(item)
        self._wake()

    def _wake(self):
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                break

    async def get(self):
        while not self.items:
            turn = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and self.items:
                    self._wake()
                raise
        tenant = next(iter(self.items))
        items = self.items.pop(tenant)
        item = items.popleft()
        if items:
            self.items[tenant] = items
        return tenant, item
