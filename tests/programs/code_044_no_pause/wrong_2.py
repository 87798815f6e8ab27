import asyncio


async def no_pause(source, seconds):
    async with asyncio.timeout(seconds) as limit:
        async for item in source:
            yield item
            limit.reschedule(asyncio.get_running_loop().time() + seconds)
    await source.aclose()
