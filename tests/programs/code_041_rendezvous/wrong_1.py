import asyncio


class Rendezvous:
    def __init__(self, parties):
        self.parties, self.values, self.complete = parties, [], asyncio.Event()

    async def arrive(self, value):
        self.values.append(value)
        if len(self.values) == self.parties:
            self.complete.set()
        await self.complete.wait()
        values = list(self.values)
        self.values.clear()
        self.complete.clear()
        return values
