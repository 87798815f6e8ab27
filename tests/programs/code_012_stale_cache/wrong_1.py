import asyncio


class StaleCache:
    def __init__(self, load, fresh, stale, clock):
        self.load, self.fresh, self.stale, self.clock = load, fresh, stale, clock
        self.stored = {}

    async def get(self, key):
        value, at = self.stored.get(key, (None, None))
        age = float("inf") if at is None else self.clock() - at
        if age >= self.stale:
            return await self._load(key)
        if age >= self.fresh:
            asyncio.create_task(self._load(key))
        return value

    async def _load(self, key):
        value = await self.load(key)
        self.stored[key] = value, self.clock()
        return value
