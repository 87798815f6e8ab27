import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar

_due = ContextVar("due", default=None)


def remaining():
    due = _due.get()
    return None if due is None else due - asyncio.get_running_loop().time()


@asynccontextmanager
async def deadline(seconds):
    due = asyncio.get_running_loop().time() + seconds
    token = _due.set(due)
    try:
        async with asyncio.timeout_at(due):
            yield
    finally:
        _due.reset(token)
