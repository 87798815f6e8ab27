import asyncio


async def finish(coroutine):
    task, cancelled = asyncio.create_task(coroutine), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        task.exception()  # seen: no complaint about an exception that nobody fetched
        raise cancelled
    return task.result()
