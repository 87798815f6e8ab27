import asyncio


async def relay(outbox, publish, mark_sent):
    keys, failed = {}, {}
    for row_id, key, payload in outbox:
        keys.setdefault(key, []).append((row_id, payload))

    async def one_key(key, rows):
        for row_id, payload in rows:
            try:
                await publish(key, payload)
                await mark_sent(row_id)
            except Exception as error:
                failed[row_id] = error
                break

    await asyncio.gather(*(one_key(key, rows) for key, rows in keys.items()))
    return failed
