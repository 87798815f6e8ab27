import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar

_due = ContextVar("due", default=None)


def remaining():
    due = _due.get()
    return None if due is None else max(0, due - asyncio.get_running_loop().time())


@asynccontextmanager
async def deadline(seconds):
    outer, own = _due.get(), asyncio.get_running_loop().time() + seconds
    token = _due.set(own if outer is None else min(own, outer))
    try:
        async with asyncio.timeout_at(own):  # the outer one has its own timer
            yield
    finally:
        _due.reset(token)
