import asyncio


async def hedged(call, delay, attempts):
    async def late(n):
        await asyncio.sleep(n * delay)
        return await call(n)

    tasks = [asyncio.create_task(late(n)) for n in range(attempts)]
    last = None
    try:
        for done in asyncio.as_completed(tasks):
            try:
                return await done
            except Exception as error:
                last = error
        raise last
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
