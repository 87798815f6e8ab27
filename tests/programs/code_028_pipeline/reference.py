import asyncio


class StageError(Exception):
    def __init__(self, stage, item):
        super().__init__(f"stage {stage} failed on {item!r}")
        self.stage, self.item = stage, item


async def pipeline(items, stages, capacity):
    links, end, results = [asyncio.Queue(capacity) for _ in stages], object(), []

    async def feed():
        for item in items:
            await links[0].put((item, item))
        await links[0].put(end)

    async def work(index):
        while (pair := await links[index].get()) is not end:
            item, value = pair
            try:
                value = await stages[index](value)
            except Exception as error:
                raise StageError(index, item) from error
            if index + 1 < len(stages):
                await links[index + 1].put((item, value))
            else:
                results.append(value)
        if index + 1 < len(stages):
            await links[index + 1].put(end)

    if not stages:
        return list(items)
    tasks = [
        asyncio.create_task(feed()),
        *(asyncio.create_task(work(index)) for index in range(len(stages))),
    ]
    try:
        await asyncio.gather(*tasks)
        return results
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
