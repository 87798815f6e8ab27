import asyncio


async def retry(operation, attempts, base, cap, retry_on, sleep):
    for n in range(1, attempts + 1):
        try:
            return await operation()
        except asyncio.CancelledError:
            raise
        except retry_on as error:
            if n == attempts:
                error.attempts = n
                raise
        await sleep(min(cap, base * 2 ** (n - 1)))
