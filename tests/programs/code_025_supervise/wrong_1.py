import asyncio


class Stalled(Exception):
    pass


async def supervise(work, limit):
    beats = asyncio.Event()
    task = asyncio.create_task(work(beats.set))
    while not task.done():
        beats.clear()
        await asyncio.wait(
            [task, asyncio.ensure_future(beats.wait())],
            timeout=limit,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not beats.is_set() and not task.done():
            task.cancel()
            raise Stalled
    return task.result()
