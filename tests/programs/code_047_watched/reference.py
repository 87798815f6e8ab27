import asyncio


class Watched:
    def __init__(self, value):
        self.value, self.version, self.waiters = value, 0, {}

    def set(self, value):
        self.value, self.version = value, self.version + 1
        for future, predicate in list(self.waiters.items()):
            if not future.done() and predicate(value):
                future.set_result(value)

    async def until(self, predicate):
        if predicate(self.value):
            return self.value
        return await self._wait(predicate)

    async def _wait(self, predicate):
        future = asyncio.get_running_loop().create_future()
        self.waiters[future] = predicate
        try:
            return await future
        finally:
            del self.waiters[future]

    async def changes(self):
        while True:
            version = self.version
            yield self.value
            if self.version == version:
                await self._wait(lambda _: True)
