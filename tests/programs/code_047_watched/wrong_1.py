import asyncio


class Watched:
    def __init__(self, value):
        self.value, self.changed = value, asyncio.Event()

    def set(self, value):
        self.value = value
        self.changed.set()
        self.changed = asyncio.Event()

    async def until(self, predicate):
        while not predicate(self.value):
            await self.changed.wait()
        return self.value

    async def changes(self):
        while True:
            changed = self.changed
            yield self.value
            await changed.wait()
