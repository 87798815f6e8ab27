import asyncio


class Countdown:
    def __init__(self, count):
        self.left, self.failure, self.over = count, None, asyncio.Event()
        if not count:
            self.over.set()

    def down(self):
        if not self.left:
            raise ValueError("the count is 0 already")
        self.left -= 1
        if not self.left:
            self.over.set()

    async def wait(self):
        await self.over.wait()
        if self.failure is not None:
            raise RuntimeError("a part has failed") from self.failure

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        if error is None:
            self.down()
        else:
            self.failure = self.failure or error
            self.over.set()
