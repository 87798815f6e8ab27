import asyncio


class Rendezvous:
    def __init__(self, parties):
        self.parties, self.group = parties, ([], asyncio.Event())

    async def arrive(self, value):
        values, complete = self.group
        values.append(value)
        if len(values) == self.parties:
            self.group = ([], asyncio.Event())
            complete.set()
        await complete.wait()
        return values
