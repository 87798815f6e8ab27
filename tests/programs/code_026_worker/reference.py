import asyncio


async def worker(queue, handle, grace):
    while True:
        item = await queue.get()
        task = asyncio.ensure_future(handle(item))
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=grace)
            raise
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            queue.task_done()
