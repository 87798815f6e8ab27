import asyncio


async def every(interval, function, stop):
    loop, runs = asyncio.get_running_loop(), 0
    due = loop.time()
    while not stop.is_set():
        await function()
        runs += 1
        due += interval
        try:
            async with asyncio.timeout_at(due):
                await stop.wait()
        except TimeoutError:
            pass
    return runs
