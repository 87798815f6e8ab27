import asyncio
import functools
from collections import OrderedDict


def async_lru(maxsize):
    def decorate(function):
        kept, counts = OrderedDict(), [0, 0]

        @functools.wraps(function)
        async def wrapper(*arguments):
            if arguments in kept:
                counts[0] += 1
                kept.move_to_end(arguments)
            else:
                counts[1] += 1
                kept[arguments] = asyncio.ensure_future(function(*arguments))
                if len(kept) > maxsize:
                    kept.popitem(last=False)
            return await asyncio.shield(kept[arguments])

        wrapper.cache_info = lambda: (*counts, len(kept))
        return wrapper

    return decorate
