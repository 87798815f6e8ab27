import asyncio


class Offload:
    def __init__(self, threads):
        self.gate = asyncio.Semaphore(threads)

    async def __aenter__(self):
        return self

    async def run(self, function, *args, **kwargs):
        async with self.gate:
            return function(*args, **kwargs)

    async def __aexit__(self, *_):
        pass
