import asyncio


async def first_success(calls):
    if not calls:
        raise ValueError("no calls")
    tasks = [asyncio.create_task(call()) for call in calls]
    errors = []
    for done in asyncio.as_completed(tasks):
        try:
            result = await done
        except Exception as error:
            errors.append(error)
        else:
            for task in tasks:
                task.cancel()
            return result
    raise ExceptionGroup("every call failed", errors)
