import asyncio


class SingleFlight:
    def __init__(self):
        self.runs = {}  # key -> [task, callers]

    async def do(self, key, function):
        run = self.runs.get(key)
        if run is None or run[0].done():
            run = self.runs[key] = [asyncio.create_task(function()), 0]
        run[1] += 1
        try:
            return await asyncio.shield(run[0])
        finally:
            run[1] -= 1
            if not run[1]:
                run[0].cancel()  # no effect on one that is done
                if self.runs.get(key) is run:
                    del self.runs[key]
