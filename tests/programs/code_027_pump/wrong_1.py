import asyncio


async def pump(sources, handle, consumers, capacity):
    queue, handled, end = asyncio.Queue(capacity), 0, object()

    async def produce(source):
        async for item in source:
            await queue.put(item)

    async def consume():
        nonlocal handled
        while (item := await queue.get()) is not end:
            await handle(item)
            handled += 1

    workers = [asyncio.create_task(consume()) for _ in range(consumers)]
    await asyncio.gather(*(produce(source) for source in sources))
    for _ in workers:
        await queue.put(end)
    await asyncio.gather(*workers)
    return handled
