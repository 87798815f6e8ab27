import asyncio


class Batcher:
    def __init__(self, handler, size, delay):
        self.handler, self.size, self.delay = handler, size, delay
        self.waiting, self.timer, self.running = {}, None, set()

    async def submit(self, item):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self.waiting:
            self.timer = loop.call_later(self.delay, self._hand_over)
        self.waiting[future] = item
        if len(self.waiting) == self.size:
            self._hand_over()
        try:
            return await future
        except asyncio.CancelledError:
            if self.waiting.pop(future, self) is not self and not self.waiting:
                self.timer.cancel()
            raise

    def _hand_over(self):
        self.timer.cancel()
        batch, self.waiting = self.waiting, {}
        task = asyncio.create_task(self._run(batch))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _run(self, batch):
        try:
            results = await self.handler(list(batch.values()))
            if len(results) != len(batch):
                raise ValueError("the handler returned another number of results")
        except Exception as error:
            for future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for future, result in zip(batch, results):
                if not future.done():
                    future.set_result(result)
