import asyncio


class TokenBucket:
    def __init__(self, rate, capacity, clock, sleep):
        self.rate, self.capacity, self.clock, self.sleep = rate, capacity, clock, sleep
        self.tokens, self.filled = capacity, clock()
        self.turn, self.waiting = asyncio.Lock(), 0

    def _missing(self, amount):
        if amount > self.capacity:
            raise ValueError("more than the bucket can hold")
        now = self.clock()
        self.tokens = min(self.capacity, self.tokens + (now - self.filled) * self.rate)
        self.filled = now
        return amount - self.tokens

    def try_take(self, amount=1):
        if self._missing(amount) > 0 or self.waiting:
            return False
        self.tokens -= amount
        return True

    async def take(self, amount=1):
        self._missing(amount)
        self.waiting += 1
        try:
            async with self.turn:  # asyncio.Lock is fair
                while (missing := self._missing(amount)) > 1e-9:
                    await self.sleep(missing / self.rate)
                self.tokens -= amount
        finally:
            self.waiting -= 1
