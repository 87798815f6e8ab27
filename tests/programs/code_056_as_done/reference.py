import asyncio


async def as_done(calls):
    ended = asyncio.Queue()

    async def run(index, call):
        try:
            result = await call()
        except Exception as error:
            ended.put_nowait((index, None, error))
        else:
            ended.put_nowait((index, result, None))

    tasks = [asyncio.create_task(run(index, call)) for index, call in enumerate(calls)]
    try:
        for _ in tasks:
            yield await ended.get()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
