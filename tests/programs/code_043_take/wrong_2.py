async def take(source, count):
    if count:
        async for item in source:
            yield item
            count -= 1
            if not count:
                break
