import asyncio


class TooFew(Exception):
    def __init__(self, errors):
        super().__init__("too few results")
        self.errors = errors


async def scatter(calls, seconds, needed):
    loop = asyncio.get_running_loop()
    tasks = {name: asyncio.create_task(call()) for name, call in calls.items()}
    pending, due, cut = set(tasks.values()), loop.time() + seconds, asyncio.CancelledError
    failed = 0
    while pending and len(tasks) - failed >= needed:
        done, pending = await asyncio.wait(
            pending, timeout=max(0, due - loop.time()), return_when=asyncio.FIRST_COMPLETED
        )
        failed += sum(task.exception() is not None for task in done)
        if not done:
            cut = TimeoutError
            break
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    results, errors = {}, {}
    for name, task in tasks.items():
        if task in pending:
            errors[name] = cut()
        elif task.exception() is not None:
            errors[name] = task.exception()
        else:
            results[name] = task.result()
    if len(results) < needed:
        raise TooFew(errors)
    return results, errors
