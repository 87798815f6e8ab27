import asyncio


async def worker(queue, handle, grace):
    while True:
        item = await queue.get()
        try:
            await asyncio.wait_for(asyncio.shield(handle(item)), None)
        except Exception:
            pass
        finally:
            queue.task_done()
