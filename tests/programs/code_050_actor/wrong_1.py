import asyncio


class Actor:
    def __init__(self, handler, state):
        self.handler, self.state, self.errors, self.stopped = handler, state, [], False
        self.lock, self.tasks = asyncio.Lock(), set()

    async def ask(self, message):
        if self.stopped:
            raise RuntimeError
        async with self.lock:
            self.state, reply = await self.handler(self.state, message)
            return reply

    def tell(self, message):
        if self.stopped:
            raise RuntimeError
        self.tasks.add(asyncio.create_task(self.ask(message)))

    async def stop(self):
        self.stopped = True
        await asyncio.gather(*self.tasks, return_exceptions=True)
