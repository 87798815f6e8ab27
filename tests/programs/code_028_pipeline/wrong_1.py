import asyncio


class StageError(Exception):
    def __init__(self, stage, item):
        self.stage, self.item = stage, item


async def pipeline(items, stages, capacity):
    gates = [asyncio.Lock() for _ in stages]

    async def one(item):
        value = item
        for index, stage in enumerate(stages):
            async with gates[index]:
                try:
                    value = await stage(value)
                except Exception as error:
                    raise StageError(index, value) from error
        return value

    return await asyncio.gather(*(one(item) for item in items))
