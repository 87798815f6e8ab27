import asyncio


async def as_done(calls):
    pending = {asyncio.create_task(call()): index for index, call in enumerate(calls)}
    try:
        while pending:
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=pending.get):
                index = pending.pop(task)
                yield (
                    (index, None, task.exception())
                    if task.exception()
                    else (index, task.result(), None)
                )
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
