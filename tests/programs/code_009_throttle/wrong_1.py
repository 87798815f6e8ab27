import asyncio


class Throttle:
    def __init__(self, interval, callback):
        self.interval, self.callback, self.last, self.timer = interval, callback, None, None

    def call(self, value):
        loop = asyncio.get_running_loop()
        if self.timer:
            self.timer.cancel()
            self.timer = None
        if self.last is None or loop.time() - self.last >= self.interval:
            self.last = loop.time()
            self.callback(value)
        else:
            self.timer = loop.call_later(
                self.last + self.interval - loop.time(), self.callback, value
            )
