import asyncio


async def from_thread(make, capacity):
    items = await asyncio.to_thread(lambda: list(make()))
    for item in items:
        yield item
