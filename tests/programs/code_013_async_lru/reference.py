import asyncio
import functools
from collections import OrderedDict


def async_lru(maxsize):
    def decorate(function):
        kept, running, counts = OrderedDict(), {}, [0, 0]

        async def run(arguments):
            try:
                result = await function(*arguments)
            finally:
                del running[arguments]
            kept[arguments] = result
            if len(kept) > maxsize:
                kept.popitem(last=False)
            return result

        @functools.wraps(function)
        async def wrapper(*arguments):
            if arguments in kept:
                counts[0] += 1
                kept.move_to_end(arguments)
                return kept[arguments]
            if arguments in running:
                counts[0] += 1
            else:
                counts[1] += 1
                running[arguments] = asyncio.create_task(run(arguments))
            return await asyncio.shield(running[arguments])

        wrapper.cache_info = lambda: (counts[0], counts[1], len(kept))
        return wrapper

    return decorate
