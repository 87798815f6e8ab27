import asyncio


async def gather_limited(calls, limit):
    if limit < 1:
        raise ValueError("limit must be at least 1")
    results = [None] * len(calls)
    todo = iter(enumerate(calls))

    async def worker():
        for index, call in todo:
            results[index] = await call()

    workers = [asyncio.create_task(worker()) for _ in range(min(limit, len(calls)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return results
