import asyncio
import math


async def every(interval, function, stop):
    loop, runs = asyncio.get_running_loop(), 0
    start = loop.time()
    tick = 0
    while not stop.is_set():
        await function()
        runs += 1
        tick = max(tick + 1, math.ceil((loop.time() - start) / interval))
        try:
            async with asyncio.timeout_at(start + tick * interval):
                await stop.wait()
        except TimeoutError:
            pass
    return runs
