import asyncio


async def finish(coroutine):
    return await asyncio.shield(coroutine)
