import asyncio


class Batcher:
    def __init__(self, handler, size, delay):
        self.handler, self.size, self.delay = handler, size, delay
        self.waiting, self.timer = [], None

    async def submit(self, item):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((item, future))
        if len(self.waiting) == self.size:
            self._start()
        elif len(self.waiting) == 1:
            self.timer = asyncio.create_task(self._later())
        return await future

    async def _later(self):
        await asyncio.sleep(self.delay)
        self.timer = None
        self._start()

    def _start(self):
        if self.timer:
            self.timer.cancel()
            self.timer = None
        batch, self.waiting = self.waiting, []
        asyncio.create_task(self._run(batch))

    async def _run(self, batch):
        try:
            results = await self.handler([item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
