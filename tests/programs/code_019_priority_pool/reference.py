import asyncio
import heapq
import itertools


class PriorityPool:
    def __init__(self, workers):
        self.workers, self.heap, self.count = workers, [], itertools.count()
        self.running, self.closed = set(), False

    async def __aenter__(self):
        return self

    def submit(self, priority, function):
        if self.closed:
            raise RuntimeError("the pool is closed")
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self.heap, (priority, next(self.count), function, future))
        asyncio.get_running_loop().call_soon(self._start)
        return future

    def _start(self):
        while self.heap and len(self.running) < self.workers:
            _, _, function, future = heapq.heappop(self.heap)
            if not future.cancelled():
                task = asyncio.create_task(self._run(function, future))
                self.running.add(task)
                task.add_done_callback(self._ended)

    async def _run(self, function, future):
        try:
            result = await function()
        except Exception as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)

    def _ended(self, task):
        self.running.discard(task)
        self._start()

    async def __aexit__(self, *_):
        self._start()
        while self.running:
            await asyncio.wait(self.running)
            await asyncio.sleep(0)
        self.closed = True
