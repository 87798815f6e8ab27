import asyncio


class Stalled(Exception):
    pass


async def supervise(work, limit):
    loop = asyncio.get_running_loop()
    latest = loop.time()

    def beat():
        nonlocal latest
        latest = loop.time()

    task = asyncio.create_task(work(beat))
    try:
        while not task.done():
            left = latest + limit - loop.time()
            if left <= 0:
                raise Stalled(f"no beat for {limit} s")
            await asyncio.wait([task], timeout=left)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
