import asyncio


class TtlCache:
    def __init__(self, load, ttl, clock):
        self.load, self.ttl, self.clock = load, ttl, clock
        self.stored, self.loading = {}, {}

    async def get(self, key):
        if key in self.stored:
            value, expires = self.stored[key]
            if self.clock() < expires:
                return value
        if key not in self.loading:
            self.loading[key] = asyncio.create_task(self._load(key))
        return await asyncio.shield(self.loading[key])

    async def _load(self, key):
        try:
            value = await self.load(key)
            if self.loading.get(key) is asyncio.current_task():
                self.stored[key] = value, self.clock() + self.ttl
            return value
        finally:
            if self.loading.get(key) is asyncio.current_task():
                del self.loading[key]

    def invalidate(self, key):
        self.stored.pop(key, None)
        self.loading.pop(key, None)
