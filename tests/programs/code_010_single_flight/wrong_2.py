import asyncio


class SingleFlight:
    def __init__(self):
        self.runs = {}

    async def do(self, key, function):
        if key not in self.runs:
            task = self.runs[key] = asyncio.create_task(function())
            task.add_done_callback(lambda _: self.runs.pop(key, None))
        return await asyncio.shield(self.runs[key])
