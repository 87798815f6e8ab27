import asyncio


class PriorityPool:
    def __init__(self, workers):
        self.queue, self.workers, self.tasks, self.closed = (
            asyncio.PriorityQueue(),
            workers,
            [],
            False,
        )

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(self._work()) for _ in range(self.workers)]
        return self

    def submit(self, priority, function):
        if self.closed:
            raise RuntimeError
        future = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((priority, id(future), function, future))
        return future

    async def _work(self):
        while True:
            _, _, function, future = await self.queue.get()
            try:
                future.set_result(await function())
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            self.queue.task_done()

    async def __aexit__(self, *_):
        await self.queue.join()
        self.closed = True
        for task in self.tasks:
            task.cancel()
