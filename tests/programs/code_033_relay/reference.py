import asyncio


async def relay(outbox, publish, mark_sent):
    keys, failed, stop = {}, {}, False
    for row_id, key, payload in outbox:
        keys.setdefault(key, []).append((row_id, payload))

    async def one_key(key, rows):
        for row_id, payload in rows:
            if stop:
                return
            try:
                await publish(key, payload)
                await mark_sent(row_id)
            except Exception as error:
                failed[row_id] = error
                return

    tasks = [asyncio.create_task(one_key(key, rows)) for key, rows in keys.items()]
    try:
        if tasks:
            await asyncio.wait(tasks)
    except asyncio.CancelledError:
        stop = True
        await asyncio.wait(tasks)
        raise
    return failed
