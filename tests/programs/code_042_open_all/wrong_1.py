from contextlib import AsyncExitStack, asynccontextmanager


@asynccontextmanager
async def open_all(managers):
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(manager) for manager in managers]
