import asyncio


async def relay(outbox, publish, mark_sent):
    failed = {}

    async def one(row_id, key, payload):
        try:
            await publish(key, payload)
            await mark_sent(row_id)
        except Exception as error:
            failed[row_id] = error

    await asyncio.shield(asyncio.gather(*(one(*row) for row in outbox)))
    return failed
