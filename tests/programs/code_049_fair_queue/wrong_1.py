import asyncio
from collections import deque


class FairQueue:
    def __init__(self):
        self.items, self.there, self.next = {}, asyncio.Semaphore(0), 0

    def __len__(self):
        return sum(map(len, self.items.values()))

    def put(self, tenant, item):
        self.items.setdefault(tenant, deque()).append(item)
        self.there.release()

    async def get(self):
        await self.there.acquire()
        tenant = max(self.items, key=lambda t: len(self.items[t]))
        return tenant, self.items[tenant].popleft()
