import asyncio
from collections import deque


class Subscription:
    def __init__(self, capacity):
        self.held, self.news, self.ended, self.dropped = (
            deque(maxlen=capacity),
            asyncio.Event(),
            False,
            0,
        )

    def _put(self, item):
        self.dropped += len(self.held) == self.held.maxlen
        self.held.append(item)
        self.news.set()

    def _end(self):
        self.ended = True
        self.news.set()

    def cancel(self):
        self.held.clear()
        self._end()

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self.held:
            if self.ended:
                raise StopAsyncIteration
            self.news.clear()
            await self.news.wait()
        return self.held.popleft()


class Bus:
    def __init__(self, capacity):
        self.capacity, self.subscriptions, self.closed = capacity, [], False

    def publish(self, item):
        if self.closed:
            raise RuntimeError("the bus is closed")
        self.subscriptions = [one for one in self.subscriptions if not one.ended]
        for subscription in self.subscriptions:
            subscription._put(item)

    def subscribe(self):
        subscription = Subscription(self.capacity)
        if self.closed:
            subscription._end()
        else:
            self.subscriptions.append(subscription)
        return subscription

    def close(self):
        self.closed = True
        for subscription in self.subscriptions:
            subscription._end()
