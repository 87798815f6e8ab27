import asyncio


async def gather_limited(calls, limit):
    if limit < 1:
        raise ValueError(limit)
    gate = asyncio.Semaphore(limit)

    async def one(call):
        async with gate:
            return await call()

    return await asyncio.gather(*(one(call) for call in calls))
