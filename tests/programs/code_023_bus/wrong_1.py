import asyncio


class Subscription:
    END = object()

    def __init__(self, capacity):
        self.queue, self.dropped = asyncio.Queue(capacity), 0

    def _put(self, item):
        if self.queue.full():
            self.queue.get_nowait()
            self.dropped += 1
        self.queue.put_nowait(item)

    def cancel(self):
        self._put(self.END)

    def __aiter__(self):
        return self

    async def __anext__(self):
        item = await self.queue.get()
        if item is self.END:
            raise StopAsyncIteration
        return item


class Bus:
    def __init__(self, capacity):
        self.capacity, self.subscriptions, self.closed = capacity, [], False

    def publish(self, item):
        if self.closed:
            raise RuntimeError
        for subscription in self.subscriptions:
            subscription._put(item)

    def subscribe(self):
        subscription = Subscription(self.capacity)
        self.subscriptions.append(subscription)
        if self.closed:
            subscription.cancel()
        return subscription

    def close(self):
        self.closed = True
        for subscription in self.subscriptions:
            subscription.cancel()
