import asyncio


class Reader:
    def __init__(self, shared):
        self.shared, self.position, self.closed = shared, 0, False

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.closed:
            raise StopAsyncIteration
        item = await self.shared.item(self)
        return item

    async def aclose(self):
        self.closed = True
        await self.shared.left(self)


class Shared:
    def __init__(self, source, count, ahead):
        self.source, self.ahead, self.items, self.first, self.end = source, ahead, [], 0, None
        self.readers, self.changed, self.taking = (
            [Reader(self) for _ in range(count)],
            asyncio.Event(),
            asyncio.Lock(),
        )

    def _moved(self):
        lowest = min(
            (reader.position for reader in self.readers if not reader.closed), default=None
        )
        if lowest is not None:
            del self.items[: lowest - self.first]
            self.first = lowest
        self.changed.set()

    async def item(self, reader):
        while True:
            index = reader.position - self.first
            if index < len(self.items):
                reader.position += 1
                item = self.items[index]
                self._moved()
                return item
            if self.end is not None:
                raise self.end
            if index >= self.ahead:
                self.changed.clear()
                await self.changed.wait()
                continue
            async with self.taking:
                if reader.position - self.first == len(self.items) and self.end is None:
                    try:
                        self.items.append(await anext(self.source))
                    except (StopAsyncIteration, Exception) as error:
                        self.end = error

    async def left(self, reader):
        self._moved()
        if all(reader.closed for reader in self.readers):
            await self.source.aclose()


def tee(source, count, ahead):
    return Shared(source, count, ahead).readers
