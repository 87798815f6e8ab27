"""Cycles of objects are looked for in one place, not in the midst of whatever allocates.

Up to Python 3.11 any allocation can set the search off, also the one that setting a context
variable makes. Where the garbage is a forgotten coroutine whose end sets another one, what is being
read is freed and the process dies (python/cpython#148891): of LiteLLM's proxy, once in some 4,500
streams.
"""

import asyncio
import gc
from itertools import count

SECONDS = 1.0
ALL = 10  # among what has outlived a search, every so many searches; else among what is new


async def collect() -> None:
    """Search once in a while, until cancelled; what is there at the start is taken to stay."""
    gc.freeze()
    gc.disable()
    for number in count(1):
        await asyncio.sleep(SECONDS)
        gc.collect(1 if number % ALL else 2)
