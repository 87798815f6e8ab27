class CircuitOpen(Exception):
    pass


class Breaker:
    def __init__(self, threshold, cooldown, clock):
        self.threshold, self.cooldown, self.clock = threshold, cooldown, clock
        self.failures, self.opened = 0, None

    @property
    def state(self):
        if self.opened is None:
            return "closed"
        return "half-open" if self.clock() - self.opened >= self.cooldown else "open"

    async def call(self, function):
        if self.state == "open":
            raise CircuitOpen
        try:
            result = await function()
        except Exception:
            self.failures += 1
            if self.failures >= self.threshold:
                self.opened = self.clock()
            raise
        self.failures, self.opened = 0, None
        return result
