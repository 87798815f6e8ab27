import asyncio


class NoAgreement(Exception):
    pass


async def agreed(reads, needed):
    values = await asyncio.gather(*(read() for read in reads), return_exceptions=True)
    for value in values:
        if not isinstance(value, Exception) and values.count(value) >= needed:
            return value
    raise NoAgreement
