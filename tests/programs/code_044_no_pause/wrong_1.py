import asyncio


async def no_pause(source, seconds):
    loop = asyncio.get_running_loop()
    last = loop.time()
    async for item in source:
        if loop.time() - last > seconds:
            raise TimeoutError
        last = loop.time()
        yield item
