import asyncio


class CircuitOpen(Exception):
    pass


class Breaker:
    def __init__(self, threshold, cooldown, clock):
        self.threshold, self.cooldown, self.clock = threshold, cooldown, clock
        self.failures, self.opened, self.trial = 0, None, False

    @property
    def state(self):
        if self.opened is None:
            return "closed"
        return "half-open" if self.clock() >= self.opened + self.cooldown else "open"

    async def call(self, function):
        state = self.state
        if state == "open" or self.trial:
            raise CircuitOpen
        self.trial = state == "half-open"
        try:
            result = await function()
        except asyncio.CancelledError:
            raise
        except BaseException:
            self.failures += 1
            if state == "half-open" or self.failures >= self.threshold:
                self.opened = self.clock()
            raise
        else:
            self.failures, self.opened = 0, None
            return result
        finally:
            if state == "half-open":
                self.trial = False
