import asyncio
from contextlib import aclosing


async def no_pause(source, seconds):
    async with aclosing(source):
        while True:
            try:
                async with asyncio.timeout(seconds):
                    item = await anext(source)
            except StopAsyncIteration:
                return
            yield item
