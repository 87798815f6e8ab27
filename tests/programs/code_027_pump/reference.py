import asyncio


async def pump(sources, handle, consumers, capacity):
    queue, handled = asyncio.Queue(capacity), 0

    async def produce(source):
        async for item in source:
            await queue.put(item)

    async def consume():
        nonlocal handled
        while True:
            item = await queue.get()
            await handle(item)
            handled += 1
            queue.task_done()

    async def finish(producers):
        await asyncio.gather(*producers)
        await queue.join()

    producers = [asyncio.create_task(produce(source)) for source in sources]
    workers = [asyncio.create_task(consume()) for _ in range(consumers)]
    end = asyncio.create_task(finish(producers))
    tasks = [*producers, *workers, end]
    try:
        done, _ = await asyncio.wait([*workers, end], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return handled
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for source in sources:
            await source.aclose()
