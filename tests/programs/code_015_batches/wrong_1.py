import asyncio


async def batches(source, size, seconds):
    loop = asyncio.get_running_loop()
    batch, due = [], None
    try:
        while True:
            left = None if due is None else due - loop.time()
            try:
                item = await asyncio.wait_for(anext(source), left)
            except asyncio.TimeoutError:
                yield batch
                batch, due = [], None
                continue
            except StopAsyncIteration:
                break
            if not batch:
                due = loop.time() + seconds
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch, due = [], None
        if batch:
            yield batch
    finally:
        await source.aclose()
