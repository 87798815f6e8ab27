import asyncio


class KeyedExecutor:
    def __init__(self, limit):
        self.gate, self.locks, self.tasks = asyncio.Semaphore(limit), {}, set()

    def __len__(self):
        return sum(lock.locked() for lock in self.locks.values())

    def submit(self, key, function):
        task = asyncio.create_task(self._run(key, function))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _run(self, key, function):
        async with self.gate, self.locks.setdefault(key, asyncio.Lock()):
            return await function()

    async def join(self):
        while self.tasks:
            await asyncio.wait(self.tasks)
