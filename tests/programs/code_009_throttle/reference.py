import asyncio


class Throttle:
    def __init__(self, interval, callback):
        self.interval, self.callback = interval, callback
        self.last, self.timer, self.value = None, None, None

    def call(self, value):
        loop = asyncio.get_running_loop()
        self.value = value
        if self.timer:
            return
        if self.last is None or loop.time() >= self.last + self.interval:
            self._fire()
        else:
            self.timer = loop.call_at(self.last + self.interval, self._fire)

    def _fire(self):
        self.timer, self.last = None, asyncio.get_running_loop().time()
        value, self.value = self.value, None
        self.callback(value)
