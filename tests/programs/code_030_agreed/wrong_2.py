import asyncio


class NoAgreement(Exception):
    pass


async def agreed(reads, needed):
    tasks, values = [asyncio.create_task(read()) for read in reads], []
    try:
        for done in asyncio.as_completed(tasks):
            try:
                values.append(await done)
            except Exception:
                continue
            if values.count(values[-1]) == needed:
                return values[-1]
        raise NoAgreement
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
