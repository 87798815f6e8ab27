import asyncio


async def map_ordered(function, source, limit):
    gate = asyncio.Semaphore(limit)

    async def one(item):
        async with gate:
            return await function(item)

    tasks = [asyncio.create_task(one(item)) async for item in source]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
