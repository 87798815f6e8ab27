import asyncio
import contextvars
import functools
from concurrent.futures import ThreadPoolExecutor


class Offload:
    def __init__(self, threads):
        self.pool = ThreadPoolExecutor(threads)

    async def __aenter__(self):
        return self

    async def run(self, function, *args, **kwargs):
        call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self.pool, call)

    async def __aexit__(self, *_):
        await asyncio.to_thread(self.pool.shutdown)
