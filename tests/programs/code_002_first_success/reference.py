import asyncio


async def first_success(calls):
    if not calls:
        raise ValueError("no calls")
    tasks = [asyncio.create_task(call()) for call in calls]
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in done and task.exception() is None:
                    return task.result()
        raise ExceptionGroup("every call failed", [task.exception() for task in tasks])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
