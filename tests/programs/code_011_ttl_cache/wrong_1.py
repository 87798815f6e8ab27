import asyncio


class TtlCache:
    def __init__(self, load, ttl, clock):
        self.load, self.ttl, self.clock = load, ttl, clock
        self.stored, self.locks = {}, {}

    async def get(self, key):
        async with self.locks.setdefault(key, asyncio.Lock()):
            if key in self.stored and self.clock() < self.stored[key][1]:
                return self.stored[key][0]
            value = await self.load(key)
            self.stored[key] = value, self.clock() + self.ttl
            return value

    def invalidate(self, key):
        self.stored.pop(key, None)
