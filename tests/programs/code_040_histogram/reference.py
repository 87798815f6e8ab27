import asyncio
import math
from collections import Counter
from contextlib import asynccontextmanager


class Histogram:
    def __init__(self):
        self.buckets, self.count = Counter(), 0  # the bucket of 0 has the index -inf

    def observe(self, value):
        if value < 0:
            raise ValueError("a negative value")
        self.buckets[math.frexp(value)[1] - 1 if value else -math.inf] += 1
        self.count += 1

    def quantile(self, q):
        left = math.ceil(q * self.count)
        for index in sorted(self.buckets):
            left -= self.buckets[index]
            if left <= 0:
                return 0 if index == -math.inf else 2.0 ** (index + 1)
        return None

    def merge(self, other):
        self.buckets.update(other.buckets)
        self.count += other.count

    @asynccontextmanager
    async def time(self, clock):
        begun = clock()
        try:
            yield
        except asyncio.CancelledError:
            raise
        except BaseException:
            self.observe(clock() - begun)
            raise
        else:
            self.observe(clock() - begun)
