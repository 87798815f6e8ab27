async def take(source, count):
    taken = 0
    async for item in source:
        if taken == count:
            break
        taken += 1
        yield item
    await source.aclose()
