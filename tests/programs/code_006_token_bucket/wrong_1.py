class TokenBucket:
    def __init__(self, rate, capacity, clock, sleep):
        self.rate, self.capacity, self.clock, self.sleep = rate, capacity, clock, sleep
        self.tokens, self.filled = capacity, clock()

    def try_take(self, amount=1):
        if amount > self.capacity:
            raise ValueError(amount)
        now = self.clock()
        self.tokens = min(self.capacity, self.tokens + (now - self.filled) * self.rate)
        self.filled = now
        if self.tokens < amount:
            return False
        self.tokens -= amount
        return True

    async def take(self, amount=1):
        while not self.try_take(amount):
            await self.sleep((amount - self.tokens) / self.rate)
