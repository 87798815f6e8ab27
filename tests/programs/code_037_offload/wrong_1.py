import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor


class Offload:
    def __init__(self, threads):
        self.pool = ThreadPoolExecutor(threads)

    async def __aenter__(self):
        return self

    async def run(self, function, *args, **kwargs):
        return await asyncio.get_running_loop().run_in_executor(
            self.pool, functools.partial(function, *args, **kwargs)
        )

    async def __aexit__(self, *_):
        self.pool.shutdown(wait=True)
