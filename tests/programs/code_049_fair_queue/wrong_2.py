import asyncio


class FairQueue:
    def __init__(self):
        self.queue = asyncio.Queue()

    def __len__(self):
        return self.queue.qsize()

    def put(self, tenant, item):
        self.queue.put_nowait((tenant, item))

    async def get(self):
        return await self.queue.get()
