import asyncio


async def batches(source, size, seconds):
    loop = asyncio.get_running_loop()
    waiting = None
    try:
        batch, due = [], None
        while True:
            if waiting is None:
                waiting = asyncio.ensure_future(anext(source))
            left = None if due is None else max(0, due - loop.time())
            done, _ = await asyncio.wait([waiting], timeout=left)
            if done:
                task, waiting = waiting, None
                try:
                    item = task.result()
                except StopAsyncIteration:
                    break
                except BaseException:
                    if batch:
                        yield batch
                    raise
                if not batch:
                    due = loop.time() + seconds
                batch.append(item)
            if batch and (len(batch) == size or not done):
                ready, batch, due = batch, [], None
                yield ready
        if batch:
            yield batch
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await source.aclose()
