import asyncio


class KeyedExecutor:
    def __init__(self, limit):
        self.limit, self.waiting, self.busy, self.tasks = limit, [], set(), set()
        self.idle = asyncio.Event()
        self.idle.set()

    def __len__(self):
        return len(self.busy | {key for key, _, _ in self.waiting})

    def submit(self, key, function):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((key, function, future))
        self.idle.clear()
        asyncio.get_running_loop().call_soon(self._start)
        return future

    def _start(self):
        left, blocked = [], set(self.busy)
        for key, function, future in self.waiting:
            if future.cancelled():
                continue
            if key in blocked or len(self.busy) == self.limit:
                left.append((key, function, future))
            else:
                self.busy.add(key)
                task = asyncio.create_task(self._run(key, function, future))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            blocked.add(key)
        self.waiting = left
        if not self.busy and not self.waiting:
            self.idle.set()

    async def _run(self, key, function, future):
        try:
            result = await function()
        except Exception as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)
        finally:
            self.busy.discard(key)
            self._start()

    async def join(self):
        await self.idle.wait()
