import asyncio


async def every(interval, function, stop):
    runs = 0
    while not stop.is_set():
        await function()
        runs += 1
        try:
            await asyncio.wait_for(stop.wait(), interval)
        except asyncio.TimeoutError:
            pass
    return runs
