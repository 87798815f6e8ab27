class Deduplicator:
    def __init__(self, handle, remember):
        self.handle, self.remember, self.seen = handle, remember, {}

    def __len__(self):
        return len(self.seen)

    async def deliver(self, message_id, body):
        if message_id in self.seen:
            return False
        self.seen[message_id] = True
        try:
            await self.handle(body)
        except BaseException:
            del self.seen[message_id]
            raise
        while len(self.seen) > self.remember:
            del self.seen[next(iter(self.seen))]
        return True
