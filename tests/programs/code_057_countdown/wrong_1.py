import asyncio


class Countdown:
    def __init__(self, count):
        self.left, self.over = count, asyncio.get_running_loop().create_future()
        if not count:
            self.over.set_result(None)

    def down(self):
        if not self.left:
            raise ValueError("the count is 0 already")
        self.left -= 1
        if not self.left:
            self.over.set_result(None)

    async def wait(self):
        await self.over

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        self.down()
