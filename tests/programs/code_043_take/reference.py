from contextlib import aclosing


async def take(source, count):
    async with aclosing(source):
        if count < 1:
            return
        async for item in source:
            yield item
            count -= 1
            if not count:
                return
