import asyncio
from contextlib import asynccontextmanager

_due = []


def remaining():
    return max(0, min(_due) - asyncio.get_running_loop().time()) if _due else None


@asynccontextmanager
async def deadline(seconds):
    _due.append(asyncio.get_running_loop().time() + seconds)
    try:
        async with asyncio.timeout_at(min(_due)):
            yield
    finally:
        _due.pop()
