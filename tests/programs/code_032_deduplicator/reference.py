import asyncio
from collections import OrderedDict


class Deduplicator:
    def __init__(self, handle, remember):
        self.handle, self.remember = handle, remember
        self.done, self.locks = OrderedDict(), {}  # locks: id -> [lock, how many deliveries use it]

    def __len__(self):
        return len(self.done) + len(self.locks)

    async def deliver(self, message_id, body):
        if message_id in self.done:
            return False
        entry = self.locks.setdefault(message_id, [asyncio.Lock(), 0])
        entry[1] += 1
        try:
            async with entry[0]:
                if message_id in self.done:
                    return False
                await self.handle(body)
                self.done[message_id] = None
                if len(self.done) > self.remember:
                    self.done.popitem(last=False)
                return True
        finally:
            entry[1] -= 1
            if not entry[1]:
                del self.locks[message_id]
