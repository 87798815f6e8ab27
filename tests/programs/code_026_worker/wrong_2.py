import asyncio


async def worker(queue, handle, grace):
    while True:
        item = await queue.get()
        task = asyncio.ensure_future(handle(item))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait_for(task, grace)
            raise
        except Exception:
            pass
        queue.task_done()
