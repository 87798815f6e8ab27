import asyncio


class Conflict(Exception):
    pass


class Idempotency:
    def __init__(self, keep, clock):
        self.keep, self.clock, self.results, self.locks = keep, clock, {}, {}

    async def execute(self, key, request, operation):
        async with self.locks.setdefault(key, asyncio.Lock()):
            if key in self.results and self.clock() < self.results[key][2]:
                if self.results[key][0] != request:
                    raise Conflict(key)
                return self.results[key][1]
            result = await operation()
            self.results[key] = request, result, self.clock() + self.keep
            return result
