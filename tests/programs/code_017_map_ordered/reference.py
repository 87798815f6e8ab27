import asyncio
from collections import deque


async def map_ordered(function, source, limit):
    running, taking, ended = deque(), None, False
    try:
        while True:
            if taking is None and not ended and len(running) < limit:
                taking = asyncio.ensure_future(anext(source))
            if taking is None and not running:
                return
            await asyncio.wait(
                [task for task in (taking, *list(running)[:1]) if task],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if taking is not None and taking.done():
                task, taking = taking, None
                try:
                    running.append(asyncio.create_task(function(task.result())))
                except StopAsyncIteration:
                    ended = True
            elif running and running[0].done():
                yield running.popleft().result()
    finally:
        left = [task for task in (taking, *running) if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await source.aclose()
