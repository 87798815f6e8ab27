import asyncio


class Bridge:
    def __init__(self):
        self.closed = False

    def call(self, function, *args, timeout=None):
        if self.closed:
            raise RuntimeError("closed")
        return asyncio.run(asyncio.wait_for(function(*args), timeout))

    def close(self):
        self.closed = True
