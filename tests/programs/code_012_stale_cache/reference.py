import asyncio


class StaleCache:
    def __init__(self, load, fresh, stale, clock):
        self.load, self.fresh, self.stale, self.clock = load, fresh, stale, clock
        self.stored, self.loading = {}, {}

    async def get(self, key):
        value, at = self.stored.get(key, (None, None))
        age = float("inf") if at is None else self.clock() - at
        if age < self.fresh:
            return value
        if key not in self.loading:
            task = self.loading[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(
                lambda task: task.cancelled() or task.exception()
            )  # seen, even when nobody waits
        return value if age < self.stale else await asyncio.shield(self.loading[key])

    async def _load(self, key):
        try:
            value = await self.load(key)
            self.stored[key] = value, self.clock()
            return value
        finally:
            del self.loading[key]
