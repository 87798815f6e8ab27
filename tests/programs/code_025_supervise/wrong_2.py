import asyncio


class Stalled(Exception):
    pass


async def supervise(work, limit):
    try:
        return await asyncio.wait_for(work(lambda: None), limit)
    except asyncio.TimeoutError:
        raise Stalled from None
