import asyncio
from contextlib import AsyncExitStack, asynccontextmanager


@asynccontextmanager
async def open_all(managers):
    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(manager.__aenter__()) for manager in managers]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for manager, task in zip(managers, tasks):
                if not task.cancelled() and task.exception() is None:
                    stack.push_async_exit(manager)
        yield [task.result() for task in tasks]
