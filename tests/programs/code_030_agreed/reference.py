import asyncio


class NoAgreement(Exception):
    pass


async def agreed(reads, needed):
    tasks = [asyncio.create_task(read()) for read in reads]
    pending, counts = set(tasks), []  # counts: [value, how many returned it]
    try:
        while max((count for _, count in counts), default=0) + len(pending) >= needed:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is not None:
                    continue
                for entry in counts:
                    if entry[0] == task.result():
                        entry[1] += 1
                        break
                else:
                    entry = [task.result(), 1]
                    counts.append(entry)
                if entry[1] == needed:
                    return entry[0]
        raise NoAgreement
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
