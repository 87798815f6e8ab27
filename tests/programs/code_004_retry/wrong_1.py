import asyncio


async def retry(operation, attempts, base, cap, retry_on, sleep):
    for n in range(1, attempts + 1):
        try:
            return await operation()
        except retry_on as error:
            last = error
            await sleep(min(cap, base * 2 ** (n - 1)))
    last.attempts = attempts
    raise last
