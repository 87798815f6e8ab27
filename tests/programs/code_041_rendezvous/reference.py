import asyncio


class Rendezvous:
    def __init__(self, parties):
        self.parties, self.waiting = parties, {}

    async def arrive(self, value):
        turn = asyncio.get_running_loop().create_future()
        self.waiting[turn] = value
        if len(self.waiting) == self.parties:
            group, self.waiting = self.waiting, {}
            for other in group:
                other.set_result(list(group.values()))
        try:
            return await turn
        finally:
            self.waiting.pop(turn, None)
