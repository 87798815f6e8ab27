import asyncio


async def hedged(call, delay, attempts):
    running, started, last = set(), 0, None
    try:
        while True:
            if started < attempts:
                running.add(asyncio.create_task(call(started)))
                started += 1
                due = asyncio.get_running_loop().time() + delay
            while running:
                left = (
                    None if started == attempts else max(0, due - asyncio.get_running_loop().time())
                )
                done, _ = await asyncio.wait(
                    running, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    running.discard(task)
                    if task.exception() is None:
                        return task.result()
                    last = task.exception()
                if not done:
                    break
            if not running and started == attempts:
                raise last
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
